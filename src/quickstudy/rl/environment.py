"""The contract of environments: `T` tasks, `E` environments of each, stepped together on torch tensors."""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from gymnasium import Space
from gymnasium.spaces import Discrete, MultiDiscrete
from torch import Tensor

from quickstudy.learner import Split

EnvironmentTasks = dict[str, Tensor]
"""The tasks: tensors `[T, ...]` by name, for example goals or masses."""


class Step(NamedTuple):
    """The result of one step of all environments, in gymnasium's order.

    Args:
        observation: `[T, E, *do]`, after the step and before any reset.
        reward: `[T, E]`.
        terminated: `[T, E]` bool: the episode reached a terminal state, whose value is 0.
        truncated: `[T, E]` bool: the episode was cut off at the horizon; its last state still has a value.
        info: further information from the environment.
    """

    observation: Tensor
    reward: Tensor
    terminated: Tensor
    truncated: Tensor
    info: dict[str, Any]


@runtime_checkable
class Environment(Protocol):
    """Environments of many tasks, stepped together.

    A class fits the contract if it has these methods; it need not inherit.

    There are no automatic resets: an environment whose episode is over keeps its observation and gives reward 0 until
    it is reset. All random numbers are drawn from the last generator that was given to `reset`.

    Tensors that `reset` and `step` return belong to the caller: the environment neither changes nor reads them later.
    Tensors that it is given belong to the caller, too: it copies tasks and does not write into actions. The package's
    own loops copy what they record before every call, so that an environment that hands out its own buffers (as many
    simulators on a GPU do) trains rightly as well; code that keeps such a tensor must do the same.
    """

    num_envs: int
    """`E`, the number of environments of each task."""
    horizon: int
    """Steps until an episode is truncated."""

    @property
    def observation_space(self) -> Space:
        """The observation space of one environment."""

    @property
    def action_space(self) -> Space:
        """The action space of one environment: a Box; or a Discrete, or MultiDiscrete of one axis, that starts at 0."""

    @property
    def num_tasks(self) -> int:
        """`T`, the number of tasks that were set by `set_tasks`."""

    def sample_tasks(
        self, num_tasks: int, *, split: Split = "train", generator: torch.Generator | None = None
    ) -> EnvironmentTasks:
        """Draw tasks; equal seeds give different tasks in different splits."""

    def set_tasks(self, tasks: EnvironmentTasks) -> None:
        """Set the tasks of the environments; `reset` must be called before the next step."""

    def reset(
        self, mask: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, dict[str, Any]]:
        """Start new episodes in the environments where `mask [T, E]` is True (in all for None).

        Returns:
            The observations `[T, E, *do]` of all environments, and further information.
        """

    def step(self, action: Tensor) -> Step:
        """One step of every environment: `action [T, E, *da]`, or integers `[T, E]` (MultiDiscrete: `[T, E, d]`)."""


def choices_of(space: Space) -> list[int]:
    """How many choices each component of a discrete action has: one number for Discrete, `d` for MultiDiscrete.

    Empty for real actions.

    >>> choices_of(Discrete(4)), choices_of(MultiDiscrete([3, 2]))
    ([4], [3, 2])
    """
    if isinstance(space, Discrete):
        return [int(space.n)]
    return [int(number) for number in space.nvec.flatten()] if isinstance(space, MultiDiscrete) else []


def home(environment: Environment) -> torch.device | None:
    """The device of the environment's observations, by its attribute `device`; None if it has none."""
    place = getattr(environment, "device", None)
    return None if place is None else torch.device(place)


@runtime_checkable
class Simulator(Environment, Protocol):
    """An environment whose dynamics are also available as a function: the true model, for planning and tests."""

    def dynamics(
        self, tasks: EnvironmentTasks, state: Tensor, action: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """`(next state, reward, terminated)` from any `state [T, ..., ds]` and `action [T, ..., *da]`: new tensors."""
