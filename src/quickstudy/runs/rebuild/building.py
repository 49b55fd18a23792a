"""Builds the learner that a file of unknown origin describes: first without memory, and within bounds."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

# the length of these parts of a state varies; and earlier versions saved processes without the first
LATER = tuple(f"{part}._extra_state" for part in ("experience", "formula", "baseline", "trials", "replay"))

CALLS, CALLS_PER_WEIGHT = 10_000, 100  # bounds on calls of torch; learners of quickstudy make 30 for each weight

FILLS = {"normal_", "uniform_", "zero_", "fill_", "erfinv_", "clamp_", "mul_", "add_"}


def build_described(build: Callable[[], nn.Module], weights: Mapping[str, Any]) -> nn.Module:
    """The result of `build`, if its parameters and buffers have the shapes of `weights`; otherwise ValueError.

    A file of a few bytes can describe a network of any width and depth. So the learner is first built on torch's "meta"
    device, where tensors have no memory, with a bounded number of calls, and its shapes are compared with the weights.

    Args:
        build: builds the learner; its errors are passed on.
        weights: by name, as read from the file.
    """
    with torch.device("meta"), _Budget(CALLS + CALLS_PER_WEIGHT * len(weights)):
        described = build().state_dict()
    for name in (*described, *weights):
        if name.endswith(LATER):
            continue
        here, there = described.get(name), weights.get(name)
        if isinstance(here, Tensor) != isinstance(there, Tensor) or _shape(here) != _shape(there):
            raise ValueError(f"{name} differs between the description and the weights")
    return build()


def _shape(value: Any) -> tuple[int, ...] | None:
    return tuple(value.shape) if isinstance(value, Tensor) else None


class _Budget(TorchFunctionMode):
    """Raises ValueError after a number of calls of torch's functions."""

    def __init__(self, calls: int):
        super().__init__()
        self._left = calls

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self._left -= 1
        if self._left < 0:
            raise ValueError("it has many more parts than weights")
        filled = args[0] if args else (kwargs or {}).get("tensor")
        if getattr(function, "__name__", "") in FILLS and isinstance(filled, Tensor) and filled.is_meta:
            return filled  # has no values; torch would import modules for a second
        return function(*args, **(kwargs or {}))
