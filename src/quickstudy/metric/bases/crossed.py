"""A curve in the first input, lines in the others, and products."""

from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

from quickstudy.checks import check_whole
from quickstudy.metric.bases.basis import Standardised, names_of
from quickstudy.metric.bases.natural_spline import NaturalSpline
from quickstudy.metric.bases.polynomial import Polynomial


@final
class Crossed(nn.Module):
    """A curve in the first input, such as time, and lines in the others, such as treatments; some change its slope.

    The features are those of the curve, then the other inputs, standardised, and the products of the standardised first
    input with the inputs in `products`: what R writes as `ns(time) + arm + time:arm`.

    Args:
        knots: those of a natural spline of the first input, at least 3; 1 is a line.
        dx: number of inputs.
        products: places of inputs, from 1 on, whose products with the first input are features, too.

    >>> Crossed(1, dx=2, products=[1])(torch.tensor([[3.0, 2.0]]).double())
    tensor([[1., 3., 2., 6.]], dtype=torch.float64)
    """

    def __init__(self, knots: int = 4, *, dx: int = 2, products: Sequence[int] = ()):
        super().__init__()
        self.knots, self.dx = check_whole("knots", knots), check_whole("dx", dx, 2)
        if knots == 2:
            raise ValueError("knots=2; expected 1 for a line, or at least 3 knots of a natural spline")
        self.products = [int(i) for i in products]
        if not all(1 <= i < self.dx for i in self.products):
            raise ValueError(f"products={self.products}; expected places of inputs, from 1 to dx - 1 = {self.dx - 1}")
        made: Any = Polynomial(1, dx=dx, inputs=[0]) if knots == 1 else NaturalSpline(knots, dx=dx, inputs=[0])
        self.curve, self.scale = made, Standardised(self.dx, None)
        self.features = made.features + self.dx - 1 + len(self.products)

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"knots": self.knots, "dx": self.dx, "products": self.products}

    @property
    def terms(self) -> tuple[str, ...]:
        """Those of the curve, then the standardised inputs and their products."""
        names = [f"standardised({name})" for name in names_of(self.dx, range(self.dx))]
        return (*self.curve.terms, *names[1:], *(f"{names[0]}*{names[i]}" for i in self.products))

    def forward(self, x: Tensor) -> Tensor:
        """The features at `x [*points, dx]`."""
        u = self.scale(x)
        return torch.cat([self.curve(x), u[..., 1:], u[..., :1] * u[..., self.products]], -1)

    def place(self, x: Tensor) -> None:
        """Standardise the inputs as they are in the rows `x [rows, dx]`, and place the knots."""
        self.scale.place(x)
        self.curve.place(x)

    def to_terms(self) -> Tensor:
        """Those of the curve; the other terms are the features themselves."""
        rest = torch.eye(self.features - self.curve.features, dtype=torch.float64)
        return torch.block_diag(self.curve.to_terms(), rest)
