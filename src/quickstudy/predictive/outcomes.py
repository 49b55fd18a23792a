"""Helpers of all predictive distributions: checks of outcomes, padding, normal draws, sums over points."""

import math
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from quickstudy.checks import shown, values_are_readable
from quickstudy.data import Examples, aligned, at_least_float32
from quickstudy.learner import check_generator

Mask = Tensor | None  # bool [T, M], or [T, M, dy] where a belief marginalises outputs; checked together with y
LOG_2PI = math.log(2 * math.pi)


def check_outcome(y: Any, like: Tensor, mask: Any, *, outputs: bool = False) -> None:
    """Raise TypeError or ValueError unless `y` has the shape of `like` and `mask` its first two axes.

    With `outputs`, the mask may also have the whole shape.
    """
    if not isinstance(y, Tensor):
        cure = "pass its outputs, .y" if isinstance(y, Examples) else "use torch.as_tensor(...)"
        raise TypeError(f"y must be a torch.Tensor, not {type(y).__name__}; {cure}")
    if y.shape != like.shape:
        raise ValueError(f"y has shape {list(y.shape)}; this prediction expects {list(like.shape)}")
    if mask is not None and (not isinstance(mask, Tensor) or mask.dtype != torch.bool):
        raise TypeError("mask must be a bool tensor [T, M], True for a real point; use mask.bool()")
    if mask is not None and mask.shape != like.shape[:2] and not (outputs and mask.shape == like.shape):
        also = f", or {list(like.shape)}" if outputs else ""
        raise ValueError(f"mask has shape {list(mask.shape)}; this prediction expects {list(like.shape[:2])}{also}")


def check_draws(n: Any, generator: Any, device: torch.device) -> None:
    """Raise TypeError or ValueError unless `n` is a number of draws and `generator` is on `device`, or None."""
    if not isinstance(n, Integral) or isinstance(n, bool) or n < 1:
        raise ValueError(f"n={shown(n)}; expected a whole number of draws, at least 1")
    check_generator(generator, device)


def normal(shape: tuple[int, ...], like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard normal draws with the dtype and device of `like`."""
    return torch.randn(shape, dtype=like.dtype, device=like.device, generator=generator)


def normal_log_prob(y: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """Log density of each of several independent normal outputs."""
    return -0.5 * ((y - mean).square() / variance + variance.log() + LOG_2PI)


def filled(y: Tensor, mean: Tensor, mask: Tensor | None) -> Tensor:
    """`y` with the mean in the padding, so that what the padding holds changes no value and no gradient."""
    return y if mask is None else torch.where(aligned(mask, y), y, mean.detach())


def check_possible(y: Tensor, possible: Tensor, mask: Mask, expected: str) -> Tensor:
    """`y` with 0 where masked, and NaN where it is not `possible` but cannot be read (in a graph).

    Raises:
        ValueError: if a value is not possible; NaN stays NaN.
    """
    if mask is not None:
        real = aligned(mask, y)
        y, possible = torch.where(real, y, torch.zeros_like(y)), possible | ~real
    if values_are_readable(y):
        bad = (~possible & ~y.isnan()).nonzero()
        if len(bad):
            place = tuple(bad[0].tolist())
            raise ValueError(
                f"y has {len(bad)} value{'s' * (len(bad) > 1)} that this prediction gives no probability, the first, "
                f"{y[place].item():g}, at index {list(place)}; expected {expected}"
            )
    return torch.where(possible, y, torch.nan)


def summed(outputs: Tensor, mask: Tensor | None, joint: bool) -> Tensor:
    """Values `[T, M, *dy]` of outputs, 0 where masked: their sums `[T, M]`, or `[T]` if `joint`.

    The mask is `[T, M]`, or `[T, M, *dy]`.
    """
    if mask is not None:
        outputs = torch.where(aligned(mask, outputs), outputs, torch.zeros_like(outputs))
    return reduced(outputs.flatten(2).sum(2), None, joint)


def mask_of_points(mask: Tensor) -> Tensor:
    """The mask `[T, M]` of points with an output, of a mask `[T, M]` or `[T, M, dy]`."""
    return mask if mask.dim() == 2 else mask.any(2)


def reduced(points: Tensor, mask: Tensor | None, joint: bool) -> Tensor:
    """Values `[..., T, M]` of points, 0 where masked; if `joint`, their sums `[..., T]`."""
    if mask is not None:
        points = torch.where(mask, points, torch.zeros_like(points))
    return points.sum(-1, dtype=at_least_float32(points)) if joint else points
