"""Shared parts of the environments: their tasks, the state of their episodes, random numbers, argument checks."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, NoReturn, Self, TypeVar, final, overload

import numpy as np
import torch
from torch import Tensor

from quickstudy.checks import check_whole, values_are_readable
from quickstudy.learner import Split, check_generator
from quickstudy.rl.environment import EnvironmentTasks
from quickstudy.rl.envs.checks import Actions, check_action, check_tasks
from quickstudy.rl.envs.failure import failure
from quickstudy.tasks.sampling import split_generator

Value = TypeVar("Value")


@final
class Stage:
    """The bookkeeping of `E` environments of each of `T` tasks: tasks, running episodes, time, random numbers.

    Every environment class here holds one as `_stage`.

    Args:
        name: name of the environment, for messages.
        num_envs: E.
        horizon: steps until an episode is truncated.
        action_space: action space of one environment.
        device: device of tasks, observations and rewards; None is torch's default device.

    Raises:
        ValueError: unless `num_envs` and `horizon` are whole numbers of at least 1.
    """

    def __init__(self, name: str, *, num_envs: int, horizon: int, action_space: Actions, device: Any = None):
        check_whole("num_envs", num_envs)
        check_whole("horizon", horizon)
        self.name, self.num_envs, self.horizon, self.action_space = name, num_envs, horizon, action_space
        self.device = torch.get_default_device() if device is None else torch.device(device)
        self.dtype = torch.get_default_dtype()
        self.generator: torch.Generator | None = None
        self.forget()

    def forget(self) -> None:
        """Drop all tasks and episodes, as before the first `set_tasks`."""
        self.tasks: EnvironmentTasks = {}
        self.num_tasks = 0
        self._now = 0  # steps since all were reset; the start of each episode is stored, not a count for each
        self._began: Tensor | None = None
        self._terminated: Tensor | None = None
        self._running = torch.empty(0)

    def set_tasks(
        self,
        tasks: EnvironmentTasks,
        shapes: Mapping[str, tuple[int, ...]],
        positive: Iterable[str] = (),
        *,
        not_negative: Iterable[str] = (),
    ) -> EnvironmentTasks:
        """Check `tasks`, keep a copy of them and return the copy.

        Args:
            tasks: one tensor `[T, *shape]` for each name.
            shapes: the shape of one task's value, by name.
            positive: names of the values that must be above 0.
            not_negative: names of the values that must be at least 0.

        Raises:
            TypeError: unless `tasks` is a dictionary of tensors.
            ValueError: for missing or unknown names, other shapes, and values that are not finite or not above 0.
        """
        check_tasks(self.name, tasks, shapes, positive, not_negative=not_negative)
        self.tasks = {k: tasks[k].detach().to(self.device, self.dtype, copy=True) for k in shapes}
        self.num_tasks = len(next(iter(self.tasks.values())))
        self._began = self._terminated = None
        return self.tasks

    def start(self, mask: Tensor | None, generator: torch.Generator | None) -> Tensor:
        """Start episodes where `mask [T, E]` is True (everywhere for None), and return the mask.

        If `generator` is given, random numbers are drawn from it from now on.
        """
        shape = (self.num_tasks, self.num_envs)
        check_generator(generator)
        if not self.num_tasks:
            raise RuntimeError(
                f"{self.name}.reset before set_tasks: the environment has no tasks yet; "
                "call env.set_tasks(env.sample_tasks(num_tasks)) first"
            )
        if generator is not None:
            self.generator = generator
        if mask is None:
            self._now = 0
            self._began = torch.zeros(shape, dtype=torch.long, device=self.device)
            self._running = torch.ones(shape, dtype=torch.bool, device=self.device)
            self._terminated = ~self._running
            return self._running.clone()
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool or mask.shape != shape:
            given = f"{mask.dtype} {list(mask.shape)}" if isinstance(mask, Tensor) else type(mask).__name__
            raise ValueError(f"{self.name}.reset: mask is {given}; expected a bool tensor [T, E] = {list(shape)}")
        if self._began is None or self._terminated is None:
            raise RuntimeError(f"{self.name}.reset(mask) after set_tasks: call reset() without a mask first")
        mask = mask.to(self.device)
        self._began, self._terminated = self._began.masked_fill(mask, self._now), self._terminated & ~mask
        self._running = self._running | mask
        return mask

    def running(self) -> Tensor:
        """`[T, E]` bool: True where an episode is neither terminated nor truncated."""
        if self._began is None:
            what = "reset() after set_tasks" if self.num_tasks else "set_tasks(...) and reset()"
            raise RuntimeError(f"{self.name}: no episode has begun before reset; call {what} first")
        return self._running

    def tick(self, ended: Tensor, cut: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Count one step of the running episodes; return which are terminated and which are truncated, `[T, E]`.

        Args:
            ended: `[T, E]` bool: running episodes that terminate with this step.
            cut: `[T, E]` bool: running episodes that are truncated before the horizon.
        """
        assert self._began is not None and self._terminated is not None
        self._now += 1
        terminated = (ended & self._running).logical_or_(self._terminated)
        going = ~terminated
        if cut is not None:
            self._began = self._began.masked_fill(cut & self._running, self._now - self.horizon)
        if cut is None and self._now < self.horizon:  # no episode can have reached the horizon
            truncated = torch.zeros_like(terminated)
        else:
            truncated = (self._began <= self._now - self.horizon).logical_and_(going)
            going = going.logical_and_(~truncated)
        self._terminated, self._running = terminated, going
        return terminated.clone(), truncated

    def check_action(self, action: Tensor) -> Tensor:
        """Check `action`; return it detached, on the environments' device, and in their dtype if it is real.

        Raises:
            TypeError: unless it is a tensor of real numbers, or of integers for discrete actions.
            ValueError: for another shape, and integers outside the action space.
            EnvironmentFailure: for NaN.
        """
        self.running()
        check_action(self.name, action, self.num_tasks, self.num_envs, self.action_space)
        action = action.detach().to(self.device)
        if not action.is_floating_point():
            return action
        # one pass over the values: their sum is NaN if one of them is, or if there are infinities of both signs
        if values_are_readable(action) and math.isnan(float(action.sum())) and bool(action.isnan().any()):
            task, environment = action.isnan().any(-1).nonzero()[0].tolist()
            raise failure(
                f"the action is {action[task, environment].tolist()}; look at the policy's output and its parameters",
                name=self.name,
                task=task,
                environment=environment,
                step=self.step_of(task, environment),
                seed=self.seed,
            )
        return action.to(self.dtype)

    def step_of(self, task: int, environment: int) -> int:
        """The number of steps in the current episode of one environment."""
        return 0 if self._began is None else self._now - int(self._began[task, environment])

    @property
    def seed(self) -> int | None:
        """The seed of the generator; None without a generator."""
        return None if self.generator is None else self.generator.initial_seed()

    def uniform(self, *shape: int) -> Tensor:
        """Uniform draws from [0, 1), `[T, E, *shape]`; drawn on the generator's device, so that all devices agree."""
        where = self.device if self.generator is None else self.generator.device
        full = (self.num_tasks, self.num_envs, *shape)
        return torch.rand(full, generator=self.generator, device=where, dtype=self.dtype).to(self.device)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal draws `[T, E, *shape]`."""
        return standard_normal((self.num_tasks, self.num_envs, *shape), self.generator, self.device, self.dtype)


@final
class FromStage(Generic[Value]):
    """A read-only attribute of an environment class, whose value is read from its `_stage`.

    Args:
        read: stage -> value.
        doc: the attribute's documentation.
    """

    def __init__(self, read: Callable[[Stage], Value], doc: str):
        self._read, self.__doc__ = read, doc

    @overload
    def __get__(self, environment: None, owner: type) -> Self: ...
    @overload
    def __get__(self, environment: object, owner: type) -> Value: ...
    def __get__(self, environment: Any, owner: type) -> Any:
        return self if environment is None else self._read(environment._stage)

    def __set__(self, environment: object, value: Any) -> NoReturn:
        raise AttributeError("this attribute is read-only; set_tasks(...) sets the tasks")


NUM_TASKS = FromStage(lambda stage: stage.num_tasks, "`T`, the number of tasks; 0 before `set_tasks`.")
DEVICE = FromStage(lambda stage: stage.device, "The device of observations and rewards.")
TASKS = FromStage(lambda stage: dict(stage.tasks), "The tasks set by `set_tasks`, `[T, ...]` each, by name.")


def task_generator(num_tasks: int, split: Split, generator: torch.Generator | None) -> torch.Generator | None:
    """Check the arguments of `sample_tasks` and return the generator to draw from; see `split_generator`."""
    return split_generator(num_tasks, 0, 1, split, generator)


def standard_normal(
    shape: tuple[int, ...], generator: torch.Generator | None, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """Standard normal draws on `device`, drawn on the generator's device."""
    where = device if generator is None else generator.device
    return torch.randn(shape, generator=generator, device=where, dtype=dtype).to(device)


def per_task(value: Tensor, axes: int) -> Tensor:
    """`value [T, *rest]` as `[T, 1, ..., *rest]`, to broadcast with tensors that have `axes` axes before `rest`."""
    return value.reshape(len(value), *[1] * (axes - 1), *value.shape[1:])


def by_component(value: Tensor) -> Tensor:
    """`value [..., d]` with each component contiguous in memory: operations on one component are then faster."""
    return value.movedim(-1, 0).contiguous().movedim(0, -1)


def numpy_dtype() -> type[np.floating[Any]]:
    """The numpy type for spaces that corresponds to torch's default dtype."""
    return np.float64 if torch.get_default_dtype() == torch.float64 else np.float32
