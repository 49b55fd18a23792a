"""The interaction of an agent with an environment, episode after episode, with learning at test time."""

import time
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from quickstudy.decide.moment import Moment
from quickstudy.rl.environment import Environment, choices_of
from quickstudy.rl.envs.stepping import advance, begin


class Agent(Protocol):
    """Acts in one environment of each of `T` tasks, and learns about each task from that task alone."""

    def act(self, state: Tensor) -> Tensor:
        """Actions in the states `[T, ds]`: integers `[T]` (MultiDiscrete: `[T, d]`), or real numbers `[T, *da]`."""

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
        ValueError: unless `env` has one environment of each task, for observations that are not finite, and for actions
            that do not fit the environment's action space.
        EnvironmentFailure: if the environment raises, or returns other shapes or types than its contract says.

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
        observation = begin(env, generator=generator)
        state, total = observation[:, 0].clone(), observation.new_zeros(env.num_tasks)
        mask = torch.ones(len(state), dtype=torch.bool, device=state.device)
        while bool(mask.any()):
            action = agent.act(state).clone()
            _check_action(env, action)
            step = advance(env, action.unsqueeze(1).clone(), observation, step=decisions, seed=_seed(generator))
            # agents keep what they see, and an environment may hand out the same tensors at every step
            following, reward, terminated, truncated = (part[:, 0].clone() for part in step[:4])
            decisions += int(mask.sum())
            _check_observation(following, decisions)
            total = total + reward * mask
            agent.see(Moment(state, action, reward, following, terminated, mask))
            mask, state = mask & ~(terminated | truncated), following
        agent.rest()
        returns.append(total)
        seconds.append(time.perf_counter() - start)
    return Life(torch.stack(returns), torch.tensor(seconds), decisions)


def _seed(generator: torch.Generator | None) -> int | None:
    return None if generator is None else generator.initial_seed()


def _check_action(env: Environment, action: Tensor) -> None:
    """Raise ValueError unless the agent's action fits the action space: integers, or real numbers, `[T, *da]`."""
    space = env.action_space
    discrete, expected = bool(choices_of(space)), [env.num_tasks, *(space.shape or ())]
    if list(action.shape) != expected or action.is_floating_point() == discrete or action.dtype == torch.bool:
        kind = "integers" if discrete else "real numbers"
        raise ValueError(
            f"the agent's action is {action.dtype} {list(action.shape)}; the environment's actions are {space}: "
            f"expected {kind} {expected}"
        )


def _check_observation(state: Tensor, decisions: int) -> None:
    wrong = ~state.isfinite().all(1)
    if wrong.any():
        task = int(wrong.nonzero()[0])
        raise ValueError(
            f"the environment of task {task} gave the observation {state[task].tolist()} after {decisions} decisions; "
            "expected finite numbers: check its dynamics"
        )
