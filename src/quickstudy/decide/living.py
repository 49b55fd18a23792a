"""Whatever acts lives the same life: episode after episode in the real environment, one step at a time."""

import time
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from quickstudy.decide.moment import Moment
from quickstudy.rl.environment import Environment


class Agent(Protocol):
    """Acts in `T` tasks at once, one environment each, and learns of each from that task alone."""

    def act(self, state: Tensor) -> Tensor:
        """Actions `[T]` in the states `[T, ds]`."""

    def see(self, moment: Moment) -> None:
        """What came of it."""

    def rest(self) -> None:
        """All episodes have ended: time to think before the next ones begin."""


class Life(NamedTuple):
    """What an agent achieved.

    Args:
        returns: `[episodes, T]`.
        seconds: `[episodes]`, from the beginning to the end of each, thinking included; all tasks together.
        decisions: how many actions were chosen.
    """

    returns: Tensor
    seconds: Tensor
    decisions: int


def live(env: Environment, agent: Agent, *, episodes: int, generator: torch.Generator | None = None) -> Life:
    """Let `agent` act for so many episodes of every task that `env` has, each until it ends.

    Raises:
        ValueError: unless `env` has one environment of each task, and observations are finite.

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
        raise ValueError(f"the environment has num_envs={env.num_envs}; an agent lives in one of each task: num_envs=1")
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
            "expected finite numbers: look at its physics"
        )
