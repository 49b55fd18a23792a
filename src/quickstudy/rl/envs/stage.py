"""What all environments here share: which episodes run and for how long, where chance comes from, what is refused."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, final

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from torch import Tensor

from quickstudy.checks import check_whole, values_are_readable
from quickstudy.learner import check_generator
from quickstudy.rl.environment import EnvironmentTasks
from quickstudy.rl.envs.checks import check_action, check_tasks
from quickstudy.rl.envs.failure import failure


@final
class Stage:
    """Tasks, time and chance of `E` environments of each of `T` tasks. Every environment has one.

    Args:
        name: of the environment, for messages.
        num_envs: E.
        horizon: steps until an episode is truncated.
        action_space: of one environment.
        device: where the environments live; None is torch's default.

    Raises:
        ValueError: unless `num_envs` and `horizon` are whole numbers of at least 1.
    """

    def __init__(self, name: str, *, num_envs: int, horizon: int, action_space: Box | Discrete, device: Any = None):
        check_whole("num_envs", num_envs)
        check_whole("horizon", horizon)
        self.name, self.num_envs, self.horizon, self.action_space = name, num_envs, horizon, action_space
        self.device = torch.get_default_device() if device is None else torch.device(device)
        self.dtype = torch.get_default_dtype()
        self.generator: torch.Generator | None = None
        self.forget()

    def forget(self) -> None:
        """As in the beginning: no task is set."""
        self.tasks: EnvironmentTasks = {}
        self.num_tasks = 0
        self._now = 0  # steps since all were reset; when an episode began is kept, and need not be counted up
        self._began: Tensor | None = None
        self._terminated: Tensor | None = None
        self._running = torch.empty(0)

    def set_tasks(
        self, tasks: EnvironmentTasks, shapes: Mapping[str, tuple[int, ...]], positive: Iterable[str] = ()
    ) -> EnvironmentTasks:
        """Check `tasks` against what each of them must hold, keep a copy and give it.

        Args:
            tasks: `[T, *shape]` each.
            shapes: what one task holds, by name.
            positive: names of what must be above 0.

        Raises:
            TypeError: for what is no dictionary of tensors.
            ValueError: for missing or unknown names, other shapes, and values that are not finite or not above 0.
        """
        check_tasks(self.name, tasks, shapes, positive)
        self.tasks = {k: tasks[k].detach().to(self.device, self.dtype, copy=True) for k in shapes}
        self.num_tasks = len(next(iter(self.tasks.values())))
        self._began = self._terminated = None
        return self.tasks

    def start(self, mask: Tensor | None, generator: torch.Generator | None) -> Tensor:
        """Begin episodes where `mask [T, E]` is True, or all; the mask. Chance comes from `generator`, if given."""
        shape = (self.num_tasks, self.num_envs)
        check_generator(generator)
        if not self.num_tasks:
            raise RuntimeError(
                f"{self.name}.reset before set_tasks: there is nothing to reset; "
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
        """`[T, E]` bool: episodes that are neither terminated nor truncated."""
        if self._began is None:
            what = "reset() after set_tasks" if self.num_tasks else "set_tasks(...) and reset()"
            raise RuntimeError(f"{self.name}: no episode has begun before reset; call {what} first")
        return self._running

    def tick(self, ended: Tensor, cut: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """A step of those that run: which are terminated, which truncated, `[T, E]`, never both.

        Args:
            ended: `[T, E]` bool; those that terminate, if they run.
            cut: those that are truncated before the horizon.
        """
        assert self._began is not None and self._terminated is not None
        self._now += 1
        terminated = (ended & self._running).logical_or_(self._terminated)
        going = ~terminated
        if cut is not None:
            self._began = self._began.masked_fill(cut & self._running, self._now - self.horizon)
        if cut is None and self._now < self.horizon:  # none has gone on for so long
            truncated = torch.zeros_like(terminated)
        else:
            truncated = (self._began <= self._now - self.horizon).logical_and_(going)
            going = going.logical_and_(~truncated)
        self._terminated, self._running = terminated, going
        return terminated.clone(), truncated

    def check_action(self, action: Tensor) -> Tensor:
        """`action` in the environments' dtype, without its graph; refused with a reason if it cannot be one.

        Raises:
            TypeError: for what is no tensor, or real numbers where integers are expected.
            ValueError: for another shape, and integers that name no action.
            EnvironmentFailure: for NaN.
        """
        self.running()
        check_action(self.name, action, self.num_tasks, self.num_envs, self.action_space)
        action = action.detach().to(self.device)
        if not action.is_floating_point():
            return action
        # the sum is one pass; where it is NaN, infinities of both signs may be why
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
        """How many steps the episode of one environment has had."""
        return 0 if self._began is None else self._now - int(self._began[task, environment])

    @property
    def seed(self) -> int | None:
        """With which the generator began, if there is one."""
        return None if self.generator is None else self.generator.initial_seed()

    def uniform(self, *shape: int) -> Tensor:
        """Draws from [0, 1), `[T, E, *shape]`; made where the generator lives, so that devices agree."""
        where = self.device if self.generator is None else self.generator.device
        full = (self.num_tasks, self.num_envs, *shape)
        return torch.rand(full, generator=self.generator, device=where, dtype=self.dtype).to(self.device)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal draws `[T, E, *shape]`."""
        return standard_normal((self.num_tasks, self.num_envs, *shape), self.generator, self.device, self.dtype)


def standard_normal(
    shape: tuple[int, ...], generator: torch.Generator | None, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """Standard normal draws, made where the generator lives."""
    where = device if generator is None else generator.device
    return torch.randn(shape, generator=generator, device=where, dtype=dtype).to(device)


def per_task(value: Tensor, axes: int) -> Tensor:
    """`value [T, *rest]` as `[T, 1, ..., *rest]`, to be put beside tensors with `axes` axes before `rest`."""
    return value.reshape(len(value), *[1] * (axes - 1), *value.shape[1:])


def by_component(value: Tensor) -> Tensor:
    """`value [..., d]` with each component's numbers side by side in memory: what is done to one is then faster."""
    return value.movedim(-1, 0).contiguous().movedim(0, -1)


def numpy_dtype() -> type[np.floating[Any]]:
    """What spaces of the default dtype are made of."""
    return np.float64 if torch.get_default_dtype() == torch.float64 else np.float32
