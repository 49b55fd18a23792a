"""Powers of the inputs."""

import math
from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

from quickstudy.checks import check_whole
from quickstudy.metric.bases.basis import Standardised, names_of


@final
class Polynomial(nn.Module):
    """1 and the powers u, ..., u^degree of each chosen input, where u is the standardised input; there are no products.

    Its terms are the powers of the input itself, so coefficients are reported in the units of the data.

    Args:
        degree: the highest power; 0 is a constant.
        dx: number of inputs.
        inputs: places of the inputs to use; None means all.

    >>> basis = Polynomial(2)
    >>> basis(torch.tensor([[3.0]]).double()), basis.terms
    (tensor([[1., 3., 9.]], dtype=torch.float64), ('1', 'x', 'x^2'))
    """

    def __init__(self, degree: int = 1, *, dx: int = 1, inputs: Sequence[int] | None = None):
        super().__init__()
        self.degree, self.dx = check_whole("degree", degree, 0), check_whole("dx", dx)
        self.scale = Standardised(self.dx, inputs)
        self.features = 1 + self.degree * len(self.scale.inputs)

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"degree": self.degree, "dx": self.dx, "inputs": self.scale.inputs}

    @property
    def terms(self) -> tuple[str, ...]:
        """ "1", then the powers of the first input, of the second, and so on."""
        names = names_of(self.dx, self.scale.inputs)
        powers = [f"{name}^{k}" if k > 1 else name for name in names for k in range(1, self.degree + 1)]
        return ("1", *powers)

    def forward(self, x: Tensor) -> Tensor:
        """The features at `x [*points, dx]`."""
        u = self.scale(x)
        powers = [u[..., i, None] ** k for i in range(u.shape[-1]) for k in range(1, self.degree + 1)]
        return torch.cat([torch.ones_like(u[..., :1]), *powers], -1)

    def place(self, x: Tensor) -> None:
        """Standardise the inputs as they are in the rows `x [rows, dx]`."""
        self.scale.place(x)

    def to_terms(self) -> Tensor:
        """u^k = sum_j binom(k, j) x^j (-c)^(k-j) / s^k, with center c and spread s of the input."""
        found = torch.zeros(self.features, self.features, dtype=torch.float64)
        found[0, 0] = 1
        pairs = zip(self.scale.center.tolist(), self.scale.spread.tolist(), strict=True)
        for i, (center, spread) in enumerate(pairs):
            first = i * self.degree
            for k in range(1, self.degree + 1):
                for j in range(k + 1):
                    row = first + j if j else 0
                    found[row, first + k] += math.comb(k, j) * (-center) ** (k - j) / spread**k
        return found
