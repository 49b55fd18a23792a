"""The meta-gradient at the end of the road: implicit differentiation, whose memory does not know the number of steps.

Where the inner problem is solved, dG/dw = 0 with G(w) = L(w) + lambda/2 |w - w0|^2, the implicit function theorem gives

    dV/dw0 = lambda u,      dV/dz = - d/dz (u . dL/dw),      (H + (lambda + damping) I) u = dV/dw,

with H the Hessian of L at the solution, one system for every task (iMAML, Rajeswaran et al. 2019, arXiv 1909.04630,
eq. 6; Lorraine et al. 2020, arXiv 1911.02590). It is as exact as the inner problem and the system are solved, and has
no derivative of its own.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from quickstudy.checks import check_number
from quickstudy.inner.fast.engines import in_transform, prepared
from quickstudy.inner.fast.mixed_mode import random_state, replayed

Product = Callable[[list[Tensor]], list[Tensor]]


@dataclass(frozen=True, kw_only=True)
class Implicit:
    """How the linear system is solved.

    Args:
        solver: "cg" (conjugate gradient) or "neumann" (a truncated series). Both ask that H + lambda be positive
            definite. Where a task's is not, its conjugate gradient ends before the direction that shows it, with what
            it has, as in truncated Newton methods (Dembo and Steihaug 1983); at the very first, as if H were 0.
        iterations: of it; 5 in iMAML.
        damping: added to the Hessian.
        rate: of the Neumann series, below 2 / (largest eigenvalue).
        tolerance: conjugate gradient stops when every task's residual is so small beside its right-hand side.

    >>> Implicit(solver="cg", iterations=10).iterations
    10
    """

    solver: Literal["cg", "neumann"] = "cg"
    iterations: int = 5
    damping: float = 0.0
    rate: float = 0.1
    tolerance: float = 1e-12

    def __post_init__(self) -> None:
        if self.solver not in ("cg", "neumann"):
            raise ValueError(f"solver={self.solver!r}; choose cg or neumann")
        if not isinstance(self.iterations, int) or self.iterations < 1:
            raise ValueError(f"iterations={self.iterations!r}; expected a whole number of at least 1")
        for name in ("damping", "rate", "tolerance"):
            check_number(name, getattr(self, name))

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return asdict(self)

    def solve(self, product: Product, vector: list[Tensor], shift: float) -> list[Tensor]:
        """`u` with `product(u) = vector`, for every task (the first axis) by itself.

        Args:
            product: with H + `shift`.
            vector: the right-hand sides.
            shift: lambda and all damping.
        """
        return self._conjugate(product, vector, shift) if self.solver == "cg" else self._neumann(product, vector)

    def _conjugate(self, product: Product, vector: list[Tensor], shift: float) -> list[Tensor]:
        solution = [torch.zeros_like(v) for v in vector]
        residual, direction = list(vector), list(vector)
        size = start = _dot(residual, residual)
        going = ~(size <= 0)  # what is not a number goes on, and is seen at the end
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


def attach(
    judged: Callable[..., Any], solved: list[Tensor], start: list[Tensor], *, how: Implicit, proximal: float
) -> list[Tensor]:
    """`solved`, with a gradient to `start` and to whatever else the loss reads.

    Args:
        judged: a pass, `(weights, judged.rest) -> (each task's loss, ...)`.
        solved: the adapted weights `[T, ...]`.
        start: where they began, `[T, ...]`.
        proximal: lambda.

    Raises:
        NotImplementedError: inside transforms of `torch.func`, and where a second derivative is asked for.
    """
    if in_transform():
        raise NotImplementedError(
            "an implicit gradient inside a transform of torch.func or torch.compile; take it with torch.autograd "
            "(loss.backward()), or leave out implicit= and differentiate the steps"
        )
    flat, spec = tree_flatten(judged.rest)  # type: ignore[attr-defined]
    wanted = [i for i, t in enumerate(flat) if isinstance(t, Tensor) and t.requires_grad]
    fixed = [t.detach() if isinstance(t, Tensor) else t for t in flat]

    def loss(weights: list[Tensor], rest: list[Tensor]) -> Tensor:
        filled = list(fixed)
        for i, value in zip(wanted, rest, strict=True):
            filled[i] = value
        return judged(weights, tree_unflatten(filled, spec))[0].sum()

    return list(_Attach.apply(loss, how, proximal, len(solved), *solved, *start, *(flat[i] for i in wanted)))


class _Attach(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, loss: Any, how: Implicit, proximal: float, n: int, *tensors: Tensor) -> Any:
        ctx.loss, ctx.how, ctx.proximal, ctx.n = loss, how, proximal, n
        ctx.random = random_state(tensors)
        ctx.save_for_backward(*tensors)
        return tuple(t.detach().clone() for t in tensors[:n])

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> Any:
        with torch.no_grad():
            found = _gradients(ctx, upstream)
        if torch.is_grad_enabled():
            found = list(_Once.apply(len(found), *found, *upstream, *ctx.saved_tensors))
        return (None, None, None, None, *[None] * ctx.n, *found)


def _gradients(ctx: Any, upstream: Sequence[Tensor]) -> list[Tensor]:
    """With respect to where the weights began, and to all else that the loss reads."""
    n, loss, shift = ctx.n, ctx.loss, ctx.proximal + ctx.how.damping
    solved = [t.detach().contiguous() for t in ctx.saved_tensors[:n]]
    rest = [t.detach().contiguous() for t in ctx.saved_tensors[2 * n :]]

    def gradient(weights: list[Tensor], others: list[Tensor]) -> list[Tensor]:
        return torch.func.grad(loss)(weights, others)

    def product(vector: list[Tensor]) -> list[Tensor]:
        return [h + shift * v for h, v in zip(along(vector)[0], vector, strict=True)]

    with prepared():
        with replayed(ctx.random):  # one system: every product sees the same dropout masks
            pulled: Any = torch.func.vjp(gradient, solved, rest)
        along = pulled[1]  # v -> H v, as H is symmetric, and d/dz (v . dL/dw)
        u = ctx.how.solve(product, [v.contiguous() for v in upstream], shift)
        mixed = along(u)[1] if rest else []
    return [*[ctx.proximal * v for v in u], *[-m for m in mixed]]


class _Once(torch.autograd.Function):
    """Gradients as they are; a derivative of theirs is refused, where it might pass for zero."""

    @staticmethod
    def forward(ctx: Any, count: int, *tensors: Tensor) -> Any:
        return tuple(t.clone() for t in tensors[:count])

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> Any:
        raise NotImplementedError(
            "a second derivative is asked for (through create_graph=True) of an implicit gradient, which has none: it "
            "would need the third derivatives of the inner loss. Leave out implicit= and differentiate the steps; "
            "mixed_mode=True and checkpoint='sqrt' save their memory"
        )


def _dot(a: list[Tensor], b: list[Tensor]) -> Tensor:
    """Each task's inner product, `[T]`."""
    return torch.stack([(x * y).flatten(1).sum(1) for x, y in zip(a, b, strict=True)]).sum(0)


def _axpy(scale: Tensor, x: list[Tensor], y: list[Tensor]) -> list[Tensor]:
    return [b + scale.reshape(-1, *[1] * (a.dim() - 1)) * a for a, b in zip(x, y, strict=True)]
