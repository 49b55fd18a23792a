"""A step of natural gradient that never moves too far: conjugate gradients, then a line search (TRPO)."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from quickstudy.checks import check_number, check_whole
from quickstudy.rl.conjugate import conjugate_gradient, flat, hessian_vector_product

Product = Callable[[Tensor], Tensor]


class TrustRegionStep(NamedTuple):
    """What happened.

    Args:
        accepted: the parameters moved; otherwise they are what they were, bit for bit.
        reason: why it ended so.
        kl: of the step taken, or of the last one tried; NaN if none was.
        improvement: by how much the loss fell, there.
        backtracks: how often the step was shortened.
        gradient_norm: of the loss.
    """

    accepted: bool
    reason: str
    kl: float
    improvement: float
    backtracks: int
    gradient_norm: float


def trust_region_step(
    parameters: Iterable[Tensor],
    loss: Callable[[], Tensor],
    kl: Callable[[], Tensor],
    *,
    curvature: Callable[[list[Tensor]], Product] | None = None,
    max_kl: float = 0.01,
    iterations: int = 10,
    damping: float = 1e-5,
    backtrack: float = 0.8,
    max_backtracks: int = 15,
) -> TrustRegionStep:
    """Move the parameters down the natural gradient of the loss, within `kl <= max_kl` (Schulman et al. 2015, app. C).

        d = -(H + damping)^-1 g,     step = sqrt(2 max_kl / d'(H + damping)d) d * backtrack^k,     k = 0, 1, ...

    with g the gradient of the loss and H the Hessian of kl, both at the parameters as they are; the first k is taken at
    which the loss has fallen and kl is within its bound. Everything else leaves the parameters as they were.

    Args:
        parameters: moved in place.
        loss: a scalar that depends on the parameters as they are when it is called; with a graph.
        kl: likewise, the distance from where they began: 0 now, with gradient 0. Differentiated twice.
        curvature: parameters -> `v -> H v`, where there is a faster way than a second backward pass through kl; see
            `gauss_newton_product`.
        max_kl: its bound; 0.01 as in Finn et al. 2017, like all defaults.
        iterations: of conjugate gradients.
        damping: added to the Hessian.
        backtrack: by what the step is shortened.
        max_backtracks: how many lengths are tried.

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
    value = loss()
    gradient = flat(_gradients("loss", value, parameters, graph=False), parameters)
    before, norm = float(value.detach()), float(gradient.norm())
    if not (math.isfinite(before) and math.isfinite(norm)):
        return TrustRegionStep(False, "the loss or its gradient is not finite", math.nan, math.nan, 0, norm)
    if norm == 0:
        return TrustRegionStep(False, "the gradient is 0", math.nan, math.nan, 0, norm)
    if curvature is None:
        hessian = hessian_vector_product(_gradients("kl", kl(), parameters, graph=True), parameters)
    else:
        hessian = curvature(parameters)

    def product(vector: Tensor) -> Tensor:
        return hessian(vector) + damping * vector

    direction, image = conjugate_gradient(product, -gradient, iterations=iterations)
    bend = float(direction.dot(image))
    del product, hessian, value  # and their graphs, before the line search builds its own
    if not (math.isfinite(bend) and bend > 0 and bool(direction.isfinite().all())):
        return TrustRegionStep(False, f"kl has curvature {bend:g} along the step", math.nan, math.nan, 0, norm)
    full = direction * math.sqrt(2 * max_kl / bend)
    return _line_search(parameters, full, loss, kl, before, max_kl, backtrack, max_backtracks, norm)


def _line_search(
    parameters: list[Tensor],
    full: Tensor,
    loss: Callable[[], Tensor],
    kl: Callable[[], Tensor],
    before: float,
    max_kl: float,
    backtrack: float,
    tries: int,
    norm: float,
) -> TrustRegionStep:
    began = [p.detach().clone() for p in parameters]
    moves = [m.reshape(p.shape) for m, p in zip(full.split([p.numel() for p in parameters]), parameters, strict=True)]
    moved, improvement = math.nan, math.nan
    accepted = False
    try:
        for k in range(tries):
            _assign(parameters, [b + backtrack**k * m for b, m in zip(began, moves, strict=True)])
            with torch.no_grad():  # values alone: an inner loop takes its own gradients all the same
                improvement, moved = before - float(loss()), float(kl())
            if math.isfinite(improvement) and improvement > 0 and math.isfinite(moved) and moved <= max_kl:
                accepted = True
                return TrustRegionStep(True, "accepted", moved, improvement, k, norm)
    finally:
        if not accepted:
            _assign(parameters, began)
    finite = math.isfinite(improvement) and math.isfinite(moved)
    reason = "the loss did not fall" if finite and moved <= max_kl else "kl is over its bound"
    return TrustRegionStep(False, reason if finite else "nothing finite", moved, improvement, tries, norm)


def _gradients(name: str, value: Tensor, parameters: list[Tensor], graph: bool) -> list[Tensor | None]:
    if value.dim():
        raise ValueError(
            f"{name} gave a tensor of shape {list(value.shape)}; expected a scalar: take the mean over tasks"
        )
    found: Sequence[Tensor | None] = [None]
    if value.requires_grad and parameters:
        found = torch.autograd.grad(value, parameters, create_graph=graph, allow_unused=True)
    if all(g is None for g in found):
        raise ValueError(f"{name} does not depend on the parameters; compute it from them anew at every call")
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
