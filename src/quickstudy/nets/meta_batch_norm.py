"""Batch normalisation with the statistics of a task's support set."""

from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn

from quickstudy.checks import check_whole
from quickstudy.nets.clock import Turn
from quickstudy.nets.moments import Moments, by_channel, scaled, support_moments


@final
class MetaBatchNorm(nn.Module):
    """Batch normalisation of support and query points with the mean and variance of the support points.

    y = weight * (x - mu) / sqrt(sigma^2 + eps) + bias,  mu and sigma^2 of each channel over the task's support points
    (MetaBN in Bronskill et al. 2020, arXiv 2003.03284, section 4).

    Predictions are inductive: the prediction at a query point does not depend on the other query points. There are no
    running statistics, and training and eval mode are the same. Outside inner loops, the points of a batch are
    normalised by their own mean and variance. Without support points, mean and variance are 0 and 1.

    Args:
        features: number of channels, the second axis of the input `[N, features, ...]`.
        eps: added to the variance; the default is that of `torch.nn.BatchNorm2d`.
        affine: whether there are a weight and a bias, `[features]`.

    Raises:
        ValueError: for an input of another shape; for support points with a single value per channel in total, which
            have no variance.
        RuntimeError: for query points before any support points; inside `torch.utils.checkpoint`.

    >>> norm = MetaBatchNorm(8)
    >>> norm(3 + torch.randn(500, 8)).mean().abs() < 0.01
    tensor(True)
    """

    uses_support: ClassVar[bool] = True

    def __init__(self, features: int, *, eps: float = 1e-5, affine: bool = True):
        super().__init__()
        self.features, self.eps, self.affine = check_whole("features", features, 1), eps, affine
        self.weight = nn.Parameter(torch.ones(features)) if affine else None
        self.bias = nn.Parameter(torch.zeros(features)) if affine else None
        self.kept: tuple[Moments, ...] = ()
        self.calls: tuple[Turn | None, int] = (None, -1)
        self.settled: int | None = None

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"features": self.features, "eps": self.eps, "affine": self.affine}

    def forward(self, x: Tensor) -> Tensor:
        """`x [N, features, ...]`, normalised."""
        flat = by_channel(x, self.features)
        mean, variance, points = support_moments(self, flat)
        if points * flat.shape[2] == 1:
            raise ValueError(
                "MetaBatchNorm has one value a channel, which has no variance; give more than one support point, or "
                "use TaskNorm(features, kind='layer'), which also uses the other channels of a point"
            )
        out = (flat - mean[:, None]) / (variance[:, None] + self.eps).sqrt()
        return scaled(out, self.weight, self.bias).reshape(x.shape)
