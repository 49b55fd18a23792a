"""The contract of environments: `T` tasks, `E` environments of each, stepped together on torch tensors."""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from gymnasium import Space
from torch import Tensor

from quickstudy.learner import Split

EnvironmentTasks = dict[str, Tensor]
"""What tells tasks apart, `[T, ...]` each: goals, masses. Any dictionary of tensors will do."""


class Step(NamedTuple):
    """What one step of all environments gave, in gymnasium's order.

    Args:
        observation: `[T, E, *do]`, after the step and before any reset.
        reward: `[T, E]`.
        terminated: `[T, E]` bool: the episode reached an end of its own; nothing of value comes after.
        truncated: `[T, E]` bool: it was cut off at the horizon; value goes on, and is bootstrapped.
        info: what the environment knows besides.
    """

    observation: Tensor
    reward: Tensor
    terminated: Tensor
    truncated: Tensor
    info: dict[str, Any]


@runtime_checkable
class Environment(Protocol):
    """Environments of many tasks at once. A class of your own fits by having these, without inheriting anything.

    Nothing resets by itself: an environment that is done stays done (its observation as it was, reward 0) until `reset`
    names it. Everything random is drawn from the generator of the last `reset` that gave one.
    """

    num_envs: int
    """`E`, of each task."""
    horizon: int
    """Steps until an episode is truncated."""

    @property
    def observation_space(self) -> Space:
        """Of one environment."""

    @property
    def action_space(self) -> Space:
        """Of one environment: a Box, or Discrete."""

    @property
    def num_tasks(self) -> int:
        """`T`; set by `set_tasks`."""

    def sample_tasks(
        self, num_tasks: int, *, split: Split = "train", generator: torch.Generator | None = None
    ) -> EnvironmentTasks:
        """Draw tasks; equal seeds give different ones in different splits."""

    def set_tasks(self, tasks: EnvironmentTasks) -> None:
        """Environments of these tasks from now on; `reset` before the next step."""

    def reset(
        self, mask: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, dict[str, Any]]:
        """Start new episodes, in the environments where `mask [T, E]` is True (all if None).

        Returns:
            The observations `[T, E, *do]` of all environments, and what is known besides.
        """

    def step(self, action: Tensor) -> Step:
        """One step of every environment: `action [T, E, *da]`, or integers `[T, E]` where actions are discrete."""


def home(environment: Environment) -> torch.device | None:
    """Where its observations are: what it says of its `device`; None if it says nothing."""
    place = getattr(environment, "device", None)
    return None if place is None else torch.device(place)


@runtime_checkable
class Simulator(Environment, Protocol):
    """An environment whose physics is also there as a function: the true model, for planning and for tests."""

    def dynamics(
        self, tasks: EnvironmentTasks, state: Tensor, action: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """`(next state, reward, terminated)` from any `state [T, ..., ds]` and `action [T, ..., *da]`."""
