"""What a basis is, and the inputs that it chooses and standardises."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from quickstudy.checks import shown


@runtime_checkable
class Basis(Protocol):
    """An `nn.Module` that maps `x [*points, dx]` in float64 to features `[*points, features]`.

    `dx` is the number of inputs, `features` that of the features, and `terms` are their names. `place(x [rows, dx])`
    sets what depends on the data: centres, scales, knots. `to_terms() [features, features]` converts coefficients of
    the features to coefficients of the terms.
    """

    dx: int
    features: int

    @property
    def terms(self) -> tuple[str, ...]:
        """A name for each term, `features` of them."""

    def forward(self, x: Tensor) -> Tensor:
        """The features at `x`."""

    def place(self, x: Tensor) -> None:
        """Set what depends on the data to that of the rows `x`."""

    def to_terms(self) -> Tensor:
        """The matrix that maps coefficients of the features to those of the terms."""


class Standardised(nn.Module):
    """The chosen inputs with mean 0 and standard deviation 1 over the rows given to `place`.

    Args:
        dx: number of inputs.
        inputs: places of the chosen inputs; None means all.
    """

    center: Tensor
    spread: Tensor

    def __init__(self, dx: int, inputs: Sequence[int] | None):
        super().__init__()
        self.inputs = _check_inputs(inputs, dx)
        self.register_buffer("center", torch.zeros(len(self.inputs)))
        self.register_buffer("spread", torch.ones(len(self.inputs)))

    def forward(self, x: Tensor) -> Tensor:
        """`x [*points, dx]` in float64 as `[*points, chosen]`."""
        return (x[..., self.inputs] - self.center.double()) / self.spread.double()

    def place(self, x: Tensor) -> None:
        """Take center and spread from the rows `x [rows, dx]`; an input that is constant is not scaled."""
        spread, center = torch.std_mean(x[:, self.inputs], 0, correction=0)
        self.center.copy_(center)
        self.spread.copy_(torch.where(spread > 1e-12 * center.abs(), spread, 1.0))


def names_of(dx: int, inputs: Sequence[int]) -> list[str]:
    """Names for inputs: x, or x0, x1 where there are several."""
    return ["x"] if dx == 1 else [f"x{i}" for i in inputs]


def _check_inputs(inputs: Any, dx: int) -> list[int]:
    if inputs is None:
        return list(range(dx))
    given: list[Any] = list(inputs) if isinstance(inputs, Sequence) and not isinstance(inputs, str) else [None]
    whole = all(isinstance(i, Integral) and not isinstance(i, bool) and 0 <= int(i) < dx for i in given)
    if not given or not whole or len(set(given)) < len(given):
        raise ValueError(f"inputs={shown(inputs)}; expected different places of inputs, from 0 to dx - 1 = {dx - 1}")
    return [int(i) for i in given]
