"""A normal distribution at each point by itself."""

from dataclasses import dataclass
from typing import Any, ClassVar, final

from torch import Tensor

from quickstudy import predictive
from quickstudy.checks import check_number
from quickstudy.processes.heads.deviation import deviation


@final
@dataclass(frozen=True)
class GaussianHead:
    """y ~ N(m, (floor + softplus(s))^2), with m and s the outputs of the network.

    Args:
        floor: the smallest standard deviation, in units of y. The usual value 0.1 limits the likelihood of even the
            true process, as no log density of a point can exceed 1.38; see the docs. It may be 0: the standard
            deviation is at least 3e-10 all the same (1e-77 in float64, 1e-3 in float16), so that densities are finite.

    >>> import torch
    >>> GaussianHead()(torch.zeros(1, 1, 2), 1).variance.sqrt()
    tensor([[[0.6941]]])
    """

    floor: float = 1e-3
    joint: ClassVar[bool] = False
    marginal: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_number("floor", self.floor)

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"floor": self.floor}

    def size(self, dy: int) -> int:
        """The network has two outputs for each outcome."""
        return 2 * dy

    def __call__(self, output: Tensor, dy: int) -> predictive.Gaussian:
        """The belief for `output [T, M, 2 dy]`."""
        mean, raw = output.chunk(2, -1)
        return predictive.Gaussian(mean, deviation(raw, self.floor).square())
