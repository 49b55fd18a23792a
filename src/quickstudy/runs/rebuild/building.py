"""Building the learner that a file describes, which may be anybody's: at first without memory, and within bounds."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

CALLS, CALLS_PER_WEIGHT = 10_000, 100  # of torch, in building a learner; those of quickstudy make 30 a weight

FILLS = {"normal_", "uniform_", "zero_", "fill_", "erfinv_", "clamp_", "mul_", "add_"}


def build_described(build: Callable[[], nn.Module], weights: Mapping[str, Any]) -> nn.Module:
    """What `build` makes, if it has these weights; ValueError otherwise, and whatever its constructor raises.

    It is first built on torch's "meta" device, where a tensor has a shape and no memory, and within a number of calls:
    a file of a few bytes can describe a network of any width and depth. What passes needs no more than its weights.

    Args:
        build: makes the learner.
        weights: by name, as read from the file.
    """
    with torch.device("meta"), _Budget(CALLS + CALLS_PER_WEIGHT * len(weights)):
        described = build().state_dict()
    for name in (*described, *weights):
        here, there = described.get(name), weights.get(name)
        if isinstance(here, Tensor) != isinstance(there, Tensor) or _shape(here) != _shape(there):
            raise ValueError(f"{name} is not the same in the description and in the weights")
    return build()


def _shape(value: Any) -> tuple[int, ...] | None:
    return tuple(value.shape) if isinstance(value, Tensor) else None


class _Budget(TorchFunctionMode):
    """Allows so many calls of torch's functions."""

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
            return filled  # there is nothing to fill, and torch would import for a second what says so
        return function(*args, **(kwargs or {}))
