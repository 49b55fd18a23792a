"""Adapted weights of linear layers as low-rank sums, so that they are never built.

After s steps of any rule that is linear in the gradients, a linear layer's weight for one task is

    W_t = scale W + sum_i c_i D_ti^T X_ti,      so      x W_t^T = scale x W^T + sum_i (x X_ti^T) c_i D_ti,

with X_ti the layer's inputs at step i, one row per point, and D_ti the loss gradients at its outputs. This is exact,
needs no tensor of size (tasks x weights), and x W^T is one matrix product shared by all tasks.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import register_pytree_node

Scalar = float | Tensor
Terms = dict[Any, tuple[Scalar, Tensor, Tensor]]


class NotLinear(ValueError):
    """Raised if a rule with `linear = True` does an operation that low-rank weights do not support."""


class LowRank:
    """One layer's weights for `T` tasks, or a gradient or velocity of them. The rules treat it as a vector.

    Args:
        base: W `[out, in]`, shared by all tasks; None for a gradient.
        scale: factor of the base.
        terms: key -> (coefficient, D `[T, R, out]`, X `[T, R, in]`). Terms with equal keys have equal D and X.
    """

    def __init__(self, base: Tensor | None, scale: Scalar = 1.0, terms: Terms | None = None):
        self.base, self.scale, self.terms = base, scale, {} if terms is None else terms

    def __add__(self, other: "LowRank") -> "LowRank":
        terms = dict(self.terms)
        for key, (c, d, x) in other.terms.items():
            terms[key] = (terms[key][0] + c, d, x) if key in terms else (c, d, x)
        if self.base is None:
            return LowRank(other.base, other.scale, terms)
        return LowRank(self.base, self.scale if other.base is None else self.scale + other.scale, terms)

    def __mul__(self, factor: Scalar) -> "LowRank":
        if isinstance(factor, Tensor) and factor.numel() == 1:
            factor = factor.reshape(())
        if isinstance(factor, Tensor) and factor.dim():
            raise NotLinear(
                f"a rule with linear = True multiplied by a tensor of shape {list(factor.shape)}; it can only multiply "
                "by one number for a whole parameter: set linear = False where entries have factors of their own"
            )
        terms = {key: (c * factor, d, x) for key, (c, d, x) in self.terms.items()}
        return LowRank(self.base, self.scale if self.base is None else self.scale * factor, terms)

    __rmul__ = __mul__

    def __radd__(self, zero: int) -> "LowRank":
        """`sum` begins with 0."""
        return self if isinstance(zero, int) and zero == 0 else NotImplemented

    def __neg__(self) -> "LowRank":
        return self * -1.0

    def __truediv__(self, factor: Scalar) -> "LowRank":
        return self * (1 / factor)

    def __sub__(self, other: "LowRank") -> "LowRank":
        return self + other * -1.0

    def factors(self) -> tuple[Tensor, Tensor] | None:
        """All terms as one product: (C `[T, R, out]`, X `[T, R, in]`) with W_t = scale W + C_t^T X_t."""
        if not self.terms:
            return None
        left = [d if isinstance(c, float) and c == 1.0 else d * c for c, d, _ in self.terms.values()]
        right = [x for _, _, x in self.terms.values()]
        return (left[0], right[0]) if len(left) == 1 else (torch.cat(left, 1), torch.cat(right, 1))

    def dense(self) -> Tensor:
        """The weights themselves, `[T, out, in]`."""
        factors = self.factors()
        assert factors is not None or self.base is not None, "an empty sum"
        if factors is None:
            return torch.mul(self.base, self.scale).unsqueeze(0)  # type: ignore[arg-type]
        product = factors[0].mT @ factors[1]
        return product if self.base is None else self.base * self.scale + product

    def map(self, function: Callable[[Tensor], Tensor], *, base: bool = True) -> "LowRank":
        """The same with `function` applied to every tensor; if not `base`, only to those with a task axis."""

        def each(value: Any) -> Any:
            return function(value) if isinstance(value, Tensor) and value.dim() else value

        terms = {key: (c, each(d), each(x)) for key, (c, d, x) in self.terms.items()}
        return LowRank(function(self.base) if base and self.base is not None else self.base, self.scale, terms)

    def detach(self) -> "LowRank":
        """Without a graph."""

        def each(value: Any) -> Any:
            return value.detach() if isinstance(value, Tensor) else value

        terms = {key: (each(c), each(d), each(x)) for key, (c, d, x) in self.terms.items()}
        return LowRank(each(self.base), each(self.scale), terms)


register_pytree_node(
    LowRank, lambda low: ([low.base, low.scale, low.terms], None), lambda values, context: LowRank(*values)
)


def apply(x: Tensor, out: Tensor, factors: tuple[Tensor, Tensor] | None) -> Tensor:
    """One task's output with its low-rank terms at the inputs `x [*, in]`: `out + (x X^T) C`."""
    if factors is None:
        return out
    left, right = factors
    rows = x.reshape(-1, x.shape[-1])
    return out + ((rows @ right.mT) @ left).reshape(out.shape)
