"""Checks of the tasks and actions that environments are given."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from gymnasium.spaces import Box, Discrete, MultiDiscrete
from torch import Tensor

from quickstudy.checks import describe, values_are_readable
from quickstudy.rl.environment import choices_of

Actions = Box | Discrete | MultiDiscrete
"""The action spaces that environments may have."""


def check_tasks(
    name: str,
    tasks: Any,
    shapes: Mapping[str, tuple[int, ...]],
    positive: Iterable[str] = (),
    *,
    not_negative: Iterable[str] = (),
) -> None:
    """Raise TypeError or ValueError unless `tasks` has a finite tensor `[T, *shape]` for each name in `shapes`.

    Values named in `positive` must be above 0, and those in `not_negative` at least 0.
    """
    wanted = ", ".join(f"{key} [{', '.join(['T', *map(str, shape)])}]" for key, shape in shapes.items())
    if not isinstance(tasks, Mapping) or not all(isinstance(v, Tensor) for v in tasks.values()):
        raise TypeError(f"{name}.set_tasks: expected a dictionary of tensors: {wanted}; sample_tasks() makes one")
    if not tasks or tasks.keys() != shapes.keys():
        raise ValueError(f"{name}.set_tasks: tasks hold {describe(tasks)}; expected {wanted}")
    counts = {len(v) if v.dim() else 0 for v in tasks.values()}
    if len(counts) > 1 or not min(counts) or any(v.shape[1:] != shapes[k] for k, v in tasks.items()):
        raise ValueError(f"{name}.set_tasks: tasks hold {describe(tasks)}; expected {wanted}, with one T of at least 1")
    for key, value in tasks.items():
        bad = ~value.isfinite().flatten(1).all(1) if value.dim() > 1 else ~value.isfinite()
        if bool(bad.any()):
            raise ValueError(f"{name}.set_tasks: {key} of task {int(bad.nonzero()[0])} is not finite; give finite ones")
    not_negative = frozenset(not_negative)
    for key in (*positive, *not_negative):
        lowest = tasks[key].reshape(len(tasks[key]), -1).amin(1)
        worst = int(lowest.argmin())
        value = float(lowest[worst])
        if value < 0 or (value == 0 and key not in not_negative):
            limit = "of at least 0" if key in not_negative else "above 0"
            raise ValueError(f"{name}.set_tasks: {key} of task {worst} is {value:g}; expected a value {limit}")


def check_action(name: str, action: Any, num_tasks: int, num_envs: int, space: Actions) -> None:
    """Raise TypeError or ValueError unless `action` is of `space`: real numbers `[T, E, *da]`, integers `[T, E]`.

    Those of a MultiDiscrete space are integers `[T, E, d]`.
    """
    expected = [num_tasks, num_envs, *(space.shape or ())]
    if not isinstance(action, Tensor):
        raise TypeError(f"{name}.step: action is {type(action).__name__}; expected a tensor {expected}")
    if list(action.shape) != expected:
        axes = {2: "[T, E]", 3: "[T, E, d]" if isinstance(space, MultiDiscrete) else "[T, E, da]"}
        raise ValueError(
            f"{name}.step: action has shape {list(action.shape)}; expected {axes[min(len(expected), 3)]} = {expected}"
        )
    choices = choices_of(space)
    if not choices:
        if not action.is_floating_point():
            raise TypeError(f"{name}.step: action is {action.dtype}; expected real numbers: use action.float()")
        return
    last = [number - 1 for number in choices]
    wanted = f"integers from 0 to {last[0] if isinstance(space, Discrete) else last}"
    if action.is_floating_point() or action.dtype == torch.bool or action.is_complex():
        raise TypeError(f"{name}.step: action is {action.dtype}; expected {wanted}")
    if values_are_readable(action):
        low, high = action.aminmax()
        if int(low) < 0 or int(high) > min(last):  # each component is compared with its own bound only if need be
            beyond = (action < 0) | (action > torch.as_tensor(last, device=action.device).reshape(space.shape or ()))
            for task, environment, *_ in beyond.nonzero()[:1].tolist():
                raise ValueError(
                    f"{name}.step: action {action[task, environment].tolist()} at task {task}, environment "
                    f"{environment}; expected {wanted}"
                )
