"""The meta-gradient of an inner problem's solution by implicit differentiation; memory is independent of the steps.

At the solution, dG/dw = 0 with G(w) = L(w) + lambda/2 |w - w0|^2, and the implicit function theorem gives

    dV/dw0 = lambda u,      dV/dz = - d/dz (u . dL/dw),      (H + (lambda + damping) I) u = dV/dw,

with H the Hessian of L at the solution, and one linear system for every task (iMAML, Rajeswaran et al. 2019, arXiv
1909.04630, eq. 6; Lorraine et al. 2020, arXiv 1911.02590). The gradient is exact if the inner problem and the system
are solved exactly. It cannot be differentiated again.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from quickstudy.checks import check_choice, check_number, check_whole
from quickstudy.inner.transforms import in_transform

Product = Callable[[list[Tensor]], list[Tensor]]


@dataclass(frozen=True, kw_only=True)
class Implicit:
    """Options for solving the linear system.

    Args:
        solver: "cg" (conjugate gradient) or "neumann" (a truncated series). Both require H + lambda to be positive
            definite. At a direction of negative curvature, conjugate gradient stops for that task and keeps its
            solution so far, as in truncated Newton methods (Dembo and Steihaug 1983); in the first iteration it treats
            H as 0.
        iterations: of the solver; 5 in iMAML.
        damping: a number added to the diagonal of the Hessian.
        rate: of the Neumann series; it must be below 2 / (largest eigenvalue).
        tolerance: conjugate gradient stops when the ratio of residual to right-hand side is below it for every task.

    >>> Implicit(solver="cg", iterations=10).iterations
    10
    """

    solver: Literal["cg", "neumann"] = "cg"
    iterations: int = 5
    damping: float = 0.0
    rate: float = 0.1
    tolerance: float = 1e-12

    def __post_init__(self) -> None:
        check_choice("solver", self.solver, ("cg", "neumann"))
        check_whole("iterations", self.iterations)
        for name in ("damping", "rate", "tolerance"):
            check_number(name, getattr(self, name))

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return asdict(self)

    def solve(self, product: Product, vector: list[Tensor], shift: float) -> list[Tensor]:
        """`u` with `product(u) = vector`, for every task (the first axis) separately.

        Args:
            product: multiplies by H + `shift`.
            vector: the right-hand sides.
            shift: lambda plus damping.
        """
        return self._conjugate(product, vector, shift) if self.solver == "cg" else self._neumann(product, vector)

    def _conjugate(self, product: Product, vector: list[Tensor], shift: float) -> list[Tensor]:
        solution = [torch.zeros_like(v) for v in vector]
        residual, direction = list(vector), list(vector)
        size = start = _dot(residual, residual)
        going = ~(size <= 0)  # a task with NaN continues, so that its result shows NaN
        for iteration in range(self.iterations):
            if not bool((going & ~(size <= self.tolerance**2 * start)).any()):
                break
            image = product(direction)
            curvature = _dot(direction, image)
            if iteration == 0:
                flat = torch.where(going & (curvature <= 0), 1 / shift, 0.0) if shift else torch.zeros_like(size)
                solution = _axpy(flat, vector, solution)
            going = going & ~(size <= 0) & ~(curvature <= 0)
            step = torch.where(going, size / torch.where(going, curvature, 1.0), 0.0)
            solution = _axpy(step, direction, solution)
            residual = _axpy(-step, image, residual)
            fresh = _dot(residual, residual)
            direction = _axpy(torch.where(going, fresh / torch.where(going, size, 1.0), 0.0), direction, residual)
            size = fresh
        return solution

    def _neumann(self, product: Product, vector: list[Tensor]) -> list[Tensor]:
        term = [v * self.rate for v in vector]
        solution = list(term)
        for _ in range(self.iterations - 1):
            term = [t - self.rate * p for t, p in zip(term, product(term), strict=True)]
            solution = [s + t for s, t in zip(solution, term, strict=True)]
        return solution


def refuse_unsymmetric(gradient: list[Tensor], solved: list[Tensor]) -> None:
    """Raise RuntimeError if the derivative of the gradient is not symmetric, as with a hook that changes gradients."""
    chance = torch.Generator().manual_seed(0)
    one, other = ([torch.randn(s.shape, generator=chance).to(s) for s in solved] for _ in range(2))
    forth, back = (_dot(a, _along(gradient, solved, b)) for a, b in ((one, other), (other, one)))
    if not torch.allclose(forth, back, rtol=1e-3, atol=1e-6 * float(forth.abs().max())):
        raise RuntimeError(
            "implicit= needs a symmetric Hessian, and a hook or an autograd.Function changes gradients here; "
            "remove it, or leave out implicit= and differentiate the steps"
        )


def refuse_transforms() -> None:
    """Raise NotImplementedError inside transforms of `torch.func`."""
    if in_transform():
        raise NotImplementedError(
            "an implicit gradient cannot be taken inside a transform of torch.func or torch.compile; use "
            "torch.autograd (loss.backward()), or leave out implicit= and differentiate the steps"
        )


def attach(
    solved: list[Tensor], start: list[Tensor], gradient: list[Tensor], *, how: Implicit, proximal: float
) -> list[Tensor]:
    """`solved` with implicit gradients to `start` and to everything else that the loss depends on.

    Args:
        solved: the adapted weights `[T, ...]`, without a graph.
        start: the initial weights, `[T, ...]`.
        gradient: dL/dw at `solved`, with a graph to `solved` and to everything else that L depends on.
        how: options of the solver.
        proximal: lambda.

    Raises:
        NotImplementedError: in the backward pass, if a second derivative is asked for.
    """
    return list(_Attach.apply(how, proximal, len(solved), *solved, *start, *gradient))


class _Attach(torch.autograd.Function):
    """Passes dV/dw0 = lambda u to the start, and -u to dL/dw, whose graph leads to everything else L depends on."""

    @staticmethod
    def forward(ctx: Any, how: Implicit, proximal: float, n: int, *tensors: Tensor) -> Any:
        ctx.how, ctx.proximal, ctx.n = how, proximal, n
        ctx.save_for_backward(*tensors)
        return tuple(t.detach().clone() for t in tensors[:n])

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> Any:
        n, (how, proximal) = ctx.n, (ctx.how, ctx.proximal)
        solved, gradient, shift = ctx.saved_tensors[:n], ctx.saved_tensors[2 * n :], ctx.proximal + ctx.how.damping

        def product(vector: list[Tensor]) -> list[Tensor]:
            along = _along(gradient, solved, vector)
            return [h + shift * v for h, v in zip(along, vector, strict=True)]

        with torch.no_grad():
            u = how.solve(product, [v.contiguous() for v in upstream], shift)
            found = [*[proximal * v for v in u], *[-v for v in u]]
        if torch.is_grad_enabled():
            found = list(_Once.apply(len(found), *found, *upstream, *ctx.saved_tensors))
        return (None, None, None, *[None] * n, *found)


def _along(gradient: Any, solved: Any, vector: list[Tensor]) -> list[Tensor]:
    """H v, computed as v^T H since H is symmetric."""
    pairs = [(g, v) for g, v in zip(gradient, vector, strict=True) if g.requires_grad]
    if not pairs:
        return [torch.zeros_like(v) for v in vector]
    outs, along = zip(*pairs, strict=True)
    found = torch.autograd.grad(outs, solved, along, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(v) if h is None else h for h, v in zip(found, vector, strict=True)]


class _Once(torch.autograd.Function):
    """Returns gradients unchanged; raises if they are differentiated, since their derivative would seem to be zero."""

    @staticmethod
    def forward(ctx: Any, count: int, *tensors: Tensor) -> Any:
        return tuple(t.clone() for t in tensors[:count])

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> Any:
        raise NotImplementedError(
            "a second derivative is asked for (through create_graph=True), and an implicit gradient has none: it "
            "would need third derivatives of the inner loss. Leave out implicit= and differentiate the steps; "
            "mixed_mode=True and checkpoint='sqrt' save their memory"
        )


def _dot(a: list[Tensor], b: list[Tensor]) -> Tensor:
    """Each task's inner product, `[T]`."""
    return torch.stack([(x * y).reshape(len(x), -1).sum(1) for x, y in zip(a, b, strict=True)]).sum(0)


def _axpy(scale: Tensor, x: list[Tensor], y: list[Tensor]) -> list[Tensor]:
    return [b + scale.reshape(-1, *[1] * (a.dim() - 1)) * a for a, b in zip(x, y, strict=True)]
