"""A joint normal distribution over all points of a task, with a dense covariance that the network parametrises."""

from dataclasses import dataclass
from typing import Any, ClassVar, final

import torch
from torch import Tensor
from torch.nn import functional as F

from quickstudy import predictive
from quickstudy.checks import check_number, check_whole
from quickstudy.processes.heads.deviation import deviation


@final
@dataclass(frozen=True)
class DenseHead:
    """y ~ N(m, K + diag(floor + softplus(s))^2), K_ij = v_i v_j exp(-|g_i - g_j|^2 / 2), v = softplus(u).

    m, s, u and the features g are outputs of the network at each point. Markou et al. 2022 (arXiv 2203.08775), the
    covariance "kvv" of section 3; here the noise may differ between points. The covariance has full rank, and its
    density costs M^3 for M points; that of `LowRankHead` costs M R^2. Several outputs of a point are independent given
    the outputs of the network; those of `LowRankHead` depend on each other.

    Args:
        features: number of features g of each point and output.
        floor: the smallest standard deviation of the noise, in units of y; see `GaussianHead`.

    >>> import torch
    >>> DenseHead(4)(torch.zeros(1, 5, 7), 1).covariance.shape
    torch.Size([1, 1, 5, 5])
    """

    features: int = 64
    floor: float = 1e-3
    joint: ClassVar[bool] = True
    marginal: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_whole("features", self.features)
        check_number("floor", self.floor)

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"features": self.features, "floor": self.floor}

    def size(self, dy: int) -> int:
        """The network has, for each outcome, a mean, a noise scale, a scale of the function and features."""
        return dy * (3 + self.features)

    def __call__(self, output: Tensor, dy: int) -> predictive.DenseGaussian:
        """The belief for `output [T, M, dy (3 + features)]`, whose covariance and noise are in float64."""
        output = output.unflatten(-1, (dy, 3 + self.features))
        wide = output.double()
        noise = deviation(wide[..., 1], self.floor, output.dtype).square()
        scale = F.softplus(wide[..., 2]).transpose(1, 2)
        distance = _square_distances(wide[..., 3:].transpose(1, 2))
        covariance = scale.unsqueeze(-1) * scale.unsqueeze(-2) * torch.exp(-0.5 * distance)
        return predictive.DenseGaussian(output[..., 0], covariance, noise)


def _square_distances(places: Tensor) -> Tensor:
    """|g_i - g_j|^2 `[..., M, M]` of features `[..., M, F]`.

    The value comes from the differences, and so has no cancellation, which would make a covariance of far features not
    positive definite. The gradient comes from |g_i|^2 + |g_j|^2 - 2 g_i g_j, which keeps no `[M, M, F]` for it.
    """
    fixed = places.detach()
    exact = torch.cdist(fixed, fixed, compute_mode="donot_use_mm_for_euclid_dist").square()
    centred = places - fixed.mean(-2, keepdim=True)
    squares = centred.square().sum(-1)
    expanded = squares.unsqueeze(-1) + squares.unsqueeze(-2) - 2 * centred @ centred.mT
    return exact + (expanded - expanded.detach())
