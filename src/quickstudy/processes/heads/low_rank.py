"""A joint normal distribution over all points of a task, with a covariance of low rank plus a diagonal."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, final

from torch import Tensor

from quickstudy import predictive
from quickstudy.checks import check_number, check_whole
from quickstudy.processes.heads.deviation import deviation


@final
@dataclass(frozen=True)
class LowRankHead:
    """y ~ N(m, F F^T / R + diag(floor + softplus(s))^2), with m, s and F the outputs of the network at each point.

    Markou et al. 2022 (arXiv 2203.08775), the low-rank covariance of section 3.

    Args:
        rank: the rank R of the function's covariance.
        floor: the smallest standard deviation of the noise, in units of y; see `GaussianHead`.

    >>> import torch
    >>> LowRankHead(4)(torch.zeros(1, 5, 6), 1).factor.shape
    torch.Size([1, 5, 1, 4])
    """

    rank: int = 64
    floor: float = 1e-3
    joint: ClassVar[bool] = True
    marginal: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_whole("rank", self.rank)
        check_number("floor", self.floor)

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"rank": self.rank, "floor": self.floor}

    def size(self, dy: int) -> int:
        """The network has, for each outcome, a mean, a noise scale and a row of F."""
        return dy * (2 + self.rank)

    def __call__(self, output: Tensor, dy: int) -> predictive.LowRankPlusDiagonal:
        """The belief for `output [T, M, dy (2 + R)]`."""
        output = output.unflatten(-1, (dy, 2 + self.rank))
        noise = deviation(output[..., 1], self.floor).square()
        return predictive.LowRankPlusDiagonal(output[..., 0], output[..., 2:] / math.sqrt(self.rank), noise)
