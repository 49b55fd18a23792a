"""Newton's method for smooth functions of a few numbers, which may have saddle points and flat directions."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

_FLAT = 1e-10  # curvatures below this share of the largest count as flat


class Minimum(NamedTuple):
    """A point `[n]`, the function's value there, and whether the method converged."""

    point: Tensor
    value: float
    converged: bool


def minimise(
    function: Callable[[Tensor], Tensor],
    start: Tensor,
    *,
    steps: int = 100,
    tolerance: float = 1e-9,
    longest: float = 3.0,
    least: float = 0.0,
) -> Minimum:
    """A local minimum, in float64.

    A step is -|H|^-1 g, with the absolute values of the eigenvalues of the Hessian H (Dauphin et al. 2014, arXiv
    1406.2572), so that saddle points repel it. It is halved until the function falls; points at which the function is
    NaN or infinite are avoided. The method has converged when the Newton decrement g^T |H|^-1 g, twice the expected
    gain, is below the tolerance, and no curvature is negative.

    Args:
        function: maps a point `[n]` to a number, differentiable twice.
        start: the first point.
        steps: largest number of steps.
        tolerance: of the decrement, in units of the function; for a deviance, 1e-9 leaves an error of 3e-5 standard
            errors of a parameter.
        longest: largest length of a step, as a multiple of 1 + the length of the point.
        least: smallest fall of the function in a step; after a smaller one the search ends.

    >>> minimise(lambda p: ((p**2 - 2) ** 2).sum(), torch.tensor([1.0])).point
    tensor([1.4142], dtype=torch.float64)
    """
    point, before = start.detach().double(), float("inf")
    for _ in range(steps):
        value, slope, curvature = _derivatives(function, point)
        sizes, axes = torch.linalg.eigh(curvature)
        steep = sizes.abs().clamp_min(_FLAT * float(sizes.abs().max()) + 1e-300)
        along = axes.T @ slope
        decrement = float((along.square() / steep).sum())
        small = tolerance + 1e-13 * abs(value)  # the second part is rounding
        bent = float(sizes[0]) < -1e-6 * float(sizes.abs().max())
        if decrement < small and not bent:
            return Minimum(point, value, True)
        if before - value < least:
            return Minimum(point, value, decrement < 1e3 * small)
        before = value
        step = -axes @ (along / steep)
        if decrement < small:  # a saddle point: leave it where the function bends downwards
            step = 0.1 * axes[:, 0]
        step = step * min(1.0, longest * (1 + float(point.norm())) / float(step.norm()))
        found = _shorter(function, point, step, value)
        if found is None:
            return Minimum(point, value, decrement < 1e3 * small)
        point = found
    return Minimum(point, value, False)


def _shorter(function: Callable[[Tensor], Tensor], point: Tensor, step: Tensor, value: float) -> Tensor | None:
    """The first of `point + step / 2^k` at which the function is lower; None if there is none."""
    for k in range(40):
        trial = point + step / 2**k
        with torch.no_grad():
            found = float(function(trial))
        if found < value:
            return trial
    return None


def _derivatives(function: Callable[[Tensor], Tensor], point: Tensor) -> tuple[float, Tensor, Tensor]:
    """The value, the gradient `[n]` and the Hessian `[n, n]`."""
    with torch.enable_grad():
        point = point.clone().requires_grad_()
        value = function(point)
        (slope,) = torch.autograd.grad(value, point, create_graph=True)
        rows = [torch.autograd.grad(part, point, retain_graph=True)[0] for part in slope]
    curvature = torch.stack(rows)
    return value.item(), slope.detach(), (curvature + curvature.T) / 2
