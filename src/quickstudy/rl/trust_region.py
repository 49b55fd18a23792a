"""A natural-gradient step of bounded size: conjugate gradients, then a line search (TRPO)."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from quickstudy.checks import check_number, check_whole
from quickstudy.rl.conjugate import conjugate_gradient, flat, hessian_vector_product

Product = Callable[[Tensor], Tensor]


class TrustRegionStep(NamedTuple):
    """The outcome of `trust_region_step`.

    Args:
        accepted: whether the parameters moved; otherwise they are as before, bit for bit.
        reason: why the step was accepted or not.
        kl: KL divergence of the accepted step, or of the last one tried; NaN if none was tried.
        improvement: decrease of the loss by that step; NaN if none was tried.
        backtracks: how often the step was shortened.
        gradient_norm: norm of the loss's gradient.
    """

    accepted: bool
    reason: str
    kl: float
    improvement: float
    backtracks: int
    gradient_norm: float


class Linearised(NamedTuple):
    """A loss and a KL divergence near the present parameters.

    Args:
        loss: the loss, a scalar.
        gradient: its gradient, a flat vector.
        hessian: a function `v -> H v` of flat vectors, where H is the Hessian of the KL divergence.
    """

    loss: Tensor
    gradient: Tensor
    hessian: Product


def trust_region_step(
    parameters: Iterable[Tensor],
    loss: Callable[[], Tensor],
    kl: Callable[[], Tensor],
    *,
    linearise: Callable[[list[Tensor]], Linearised] | None = None,
    max_kl: float = 0.01,
    iterations: int = 10,
    damping: float = 1e-5,
    backtrack: float = 0.8,
    max_backtracks: int = 15,
) -> TrustRegionStep:
    """Move the parameters down the natural gradient of the loss, within `kl <= max_kl` (Schulman et al. 2015, app. C).

        d = -(H + damping)^-1 g,     step = sqrt(2 max_kl / d'(H + damping)d) d * backtrack^k,     k = 0, 1, ...

    with g the gradient of the loss and H the Hessian of kl, both at the present parameters. The step with the first k
    that lowers the loss and keeps kl <= max_kl is taken. If there is none, the parameters stay as they are.

    Args:
        parameters: tensors that are moved in place.
        loss: function of no arguments that returns the loss at the present parameters, a scalar with a graph.
        kl: function of no arguments that returns the KL divergence from the initial policy at the present parameters,
            a scalar with a graph; it is 0 now, with gradient 0, and is differentiated twice.
        linearise: parameters -> `Linearised`, where this is faster than a backward pass through the loss and a second
            one through kl; see `gauss_newton`. `loss` and `kl` are then needed for their values only.
        max_kl: bound on kl; 0.01 as in Finn et al. 2017, as are all defaults.
        iterations: iterations of conjugate gradients.
        damping: number added to the diagonal of the Hessian.
        backtrack: factor by which the step is shortened.
        max_backtracks: the number of step lengths that are tried.

    Raises:
        ValueError: for options out of range, or if the loss or kl does not depend on the parameters.

    >>> w = torch.zeros(2, requires_grad=True)
    >>> step = trust_region_step([w], lambda: (w - 1).square().sum(), lambda: w.square().sum(), max_kl=0.02)
    >>> step.accepted, w.detach()
    (True, tensor([0.1000, 0.1000]))
    """
    _check(max_kl, iterations, backtrack, max_backtracks)
    check_number("damping", damping)
    parameters = [p for p in parameters if p.requires_grad]
    here = linearise(parameters) if linearise is not None else _plainly(parameters, loss, kl)
    gradient, before, norm = here.gradient, float(here.loss.detach()), float(here.gradient.norm())
    if not (math.isfinite(before) and math.isfinite(norm)):
        return TrustRegionStep(False, "the loss or its gradient is not finite", math.nan, math.nan, 0, norm)
    if norm == 0:
        return TrustRegionStep(False, "the gradient is 0", math.nan, math.nan, 0, norm)

    def product(vector: Tensor) -> Tensor:
        return here.hessian(vector) + damping * vector

    direction, image = conjugate_gradient(product, -gradient, iterations=iterations)
    bend = float(direction.dot(image))
    del product, here  # frees their graphs before the line search builds its own
    if not (math.isfinite(bend) and bend > 0 and bool(direction.isfinite().all())):
        return TrustRegionStep(False, f"kl has curvature {bend:g} along the step", math.nan, math.nan, 0, norm)
    full = direction * math.sqrt(2 * max_kl / bend)

    def measure() -> tuple[float, float]:
        with torch.no_grad():  # only values are needed; an inner loop still computes its own gradients
            return before - float(loss()), float(kl())

    step = TrustRegionStep(*_line_search(parameters, full, measure, max_kl, backtrack, max_backtracks), norm)
    if not step.accepted and (still := measure()[1]) > 0.01 * max_kl:
        reason = f"kl is {still:.3g} without any step: the policy's outputs are random, as by dropout"
        return step._replace(reason=reason)
    return step


def _plainly(parameters: list[Tensor], loss: Callable[[], Tensor], kl: Callable[[], Tensor]) -> Linearised:
    """By a backward pass through the loss, and a second one through kl."""
    value = loss()
    gradient = flat(_gradients("loss", value, parameters, graph=False), parameters)
    hessian = hessian_vector_product(_gradients("kl", kl(), parameters, graph=True), parameters)
    return Linearised(value, gradient, hessian)


def _line_search(
    parameters: list[Tensor],
    full: Tensor,
    measure: Callable[[], tuple[float, float]],
    max_kl: float,
    backtrack: float,
    max_backtracks: int,
) -> tuple[bool, str, float, float, int]:
    """Try shorter and shorter steps along `full`; take the first one that lowers the loss and keeps kl <= max_kl.

    Args:
        parameters: tensors that are moved in place.
        full: the longest step, a flat vector.
        measure: function that returns the decrease of the loss and the KL divergence at the present parameters.
        max_kl, backtrack, max_backtracks: as in `trust_region_step`.

    Returns:
        The fields of `TrustRegionStep` except the gradient's norm.
    """
    initial = [p.detach().clone() for p in parameters]
    moves = [m.reshape(p.shape) for m, p in zip(full.split([p.numel() for p in parameters]), parameters, strict=True)]
    moved, improvement = math.nan, math.nan
    accepted = False
    try:
        for k in range(max_backtracks):
            _assign(parameters, [p + backtrack**k * m for p, m in zip(initial, moves, strict=True)])
            improvement, moved = measure()
            if math.isfinite(improvement) and improvement > 0 and math.isfinite(moved) and moved <= max_kl:
                accepted = True
                return True, "accepted", moved, improvement, k
    finally:
        if not accepted:
            _assign(parameters, initial)
    if not (math.isfinite(improvement) and math.isfinite(moved)):
        reason = "the loss or kl is not finite"
    else:
        reason = "the loss did not fall" if moved <= max_kl else "kl is over its bound"
    return False, reason, moved, improvement, max_backtracks


def _gradients(name: str, value: Tensor, parameters: list[Tensor], graph: bool) -> list[Tensor | None]:
    if value.dim():
        raise ValueError(
            f"{name} gave a tensor of shape {list(value.shape)}; expected a scalar: take the mean over tasks"
        )
    found: Sequence[Tensor | None] = [None]
    if value.requires_grad and parameters:
        found = torch.autograd.grad(value, parameters, create_graph=graph, allow_unused=True)
    if all(g is None for g in found):
        raise ValueError(f"{name} does not depend on the parameters; compute it from them at every call")
    return list(found)


@torch.no_grad()
def _assign(parameters: list[Tensor], values: list[Tensor]) -> None:
    for parameter, value in zip(parameters, values, strict=True):
        parameter.copy_(value)


def _check(max_kl: float, iterations: int, backtrack: float, max_backtracks: int) -> None:
    if not (math.isfinite(max_kl) and max_kl > 0):
        raise ValueError(f"max_kl={max_kl!r}; expected a finite number above 0")
    for name, number in (("iterations", iterations), ("max_backtracks", max_backtracks)):
        check_whole(name, number)
    if not 0 < backtrack < 1:
        raise ValueError(f"backtrack={backtrack!r}; expected a number between 0 and 1")
