"""Counts at each point by itself."""

from dataclasses import dataclass
from typing import Any, ClassVar, final

from torch import Tensor
from torch.nn import functional as F

from quickstudy import predictive

LARGEST = 30.0  # bound on |log mean|, so that no mean overflows; exp(30) = 1e13
LEAST = 1e-6  # smallest overdispersion; the Poisson distribution has 0


@final
@dataclass(frozen=True)
class CountHead:
    """y ~ NegativeBinomial(mean m, variance m + a m^2), with log m and a from the outputs of the network.

    log m = 30 tanh(o_1 / 30), which is o_1 for the means of most data and keeps others below 1e13; the overdispersion
    is a = 1e-6 + softplus(o_2). `y` holds whole numbers of at least 0, as floats `[T, N, dy]`; any other value raises a
    ValueError. The encoder takes log(1 + y), so that large counts do not dominate.

    >>> import torch
    >>> CountHead()(torch.zeros(1, 1, 2), 1).mean
    tensor([[[1.]]])
    """

    joint: ClassVar[bool] = False
    marginal: ClassVar[bool] = True
    expects: ClassVar[str] = "whole numbers of at least 0"

    def config(self) -> dict[str, Any]:
        """Constructor arguments: none."""
        return {}

    def size(self, dy: int) -> int:
        """The network has two outputs for each outcome."""
        return 2 * dy

    def encoded_size(self, dy: int) -> int:
        """As many as outcomes."""
        return dy

    def encode(self, y: Tensor) -> Tensor:
        """log(1 + y)."""
        return y.log1p()

    def possible(self, y: Tensor) -> Tensor:
        """Whether each value is a whole number of at least 0."""
        return (y >= 0) & (y == y.floor())

    def __call__(self, output: Tensor, dy: int) -> predictive.NegativeBinomial:
        """The belief for `output [T, M, 2 dy]`."""
        raw, spread = output.chunk(2, -1)
        return predictive.NegativeBinomial(LARGEST * (raw / LARGEST).tanh(), LEAST + F.softplus(spread))
