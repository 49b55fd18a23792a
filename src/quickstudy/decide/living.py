"""The interaction of an agent with an environment, episode after episode, with learning at test time."""

import time
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from quickstudy.decide.moment import Moment
from quickstudy.rl.environment import Environment


class Agent(Protocol):
    """Acts in one environment of each of `T` tasks, and learns about each task from that task alone."""

    def act(self, state: Tensor) -> Tensor:
        """Actions `[T]` in the states `[T, ds]`."""

    def see(self, moment: Moment) -> None:
        """Receive the result of the last action."""

    def rest(self) -> None:
        """Called when the episodes of all tasks have ended; the agent may train here."""


class Life(NamedTuple):
    """The result of `live`.

    Args:
        returns: `[episodes, T]`, the undiscounted return of each episode.
        seconds: `[episodes]`, the time from the start of `live` to the end of each episode, for all tasks together,
            including the agent's training.
        decisions: the number of actions.
    """

    returns: Tensor
    seconds: Tensor
    decisions: int


def live(env: Environment, agent: Agent, *, episodes: int, generator: torch.Generator | None = None) -> Life:
    """Let `agent` act for `episodes` episodes of every task of `env`.

    Args:
        env: an environment with one environment of each task, and its tasks set.
        agent: the agent.
        episodes: the number of episodes.
        generator: random numbers of the environment.

    Raises:
        ValueError: unless `env` has one environment of each task, and for observations that are not finite.

    >>> import quickstudy as qs
    >>> from quickstudy.decide.control import Control, Known
    >>> from quickstudy.decide.models import Simulated
    >>> from quickstudy.decide.objective import Balance
    >>> from quickstudy.decide.planning import cross_entropy
    >>> env = qs.rl.CartPole(num_envs=1, horizon=10)
    >>> env.set_tasks(env.sample_tasks(2))
    >>> knowledge = Known(Simulated(env, env.tasks))
    >>> agent = Control(knowledge, cross_entropy(horizon=8, candidates=30), Balance.cartpole())
    >>> live(env, agent, episodes=1).returns
    tensor([[10., 10.]])
    """
    if env.num_envs != 1:
        raise ValueError(
            f"the environment has num_envs={env.num_envs}; live needs one environment of each task: num_envs=1"
        )
    returns, seconds, decisions = [], [], 0
    start = time.perf_counter()
    for _ in range(episodes):
        observation, _ = env.reset(generator=generator)
        state, total = observation[:, 0], observation.new_zeros(env.num_tasks)
        mask = torch.ones(len(state), dtype=torch.bool, device=state.device)
        while bool(mask.any()):
            action = agent.act(state)
            decisions += int(mask.sum())
            step = env.step(action.long().unsqueeze(1))
            following = step.observation[:, 0]
            _check_observation(following, decisions)
            total = total + step.reward[:, 0] * mask
            agent.see(Moment(state, action, step.reward[:, 0], following, step.terminated[:, 0], mask))
            mask = mask & ~(step.terminated | step.truncated)[:, 0]
            state = following
        agent.rest()
        returns.append(total)
        seconds.append(time.perf_counter() - start)
    return Life(torch.stack(returns), torch.tensor(seconds), decisions)


def _check_observation(state: Tensor, decisions: int) -> None:
    wrong = ~state.isfinite().all(1)
    if wrong.any():
        task = int(wrong.nonzero()[0])
        raise ValueError(
            f"the environment of task {task} gave the observation {state[task].tolist()} after {decisions} decisions; "
            "expected finite numbers: check its dynamics"
        )
