"""Batch normalisation of a task's points by the statistics of its support set."""

from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn

from quickstudy.checks import check_whole
from quickstudy.nets.clock import Turn
from quickstudy.nets.moments import Moments, by_channel, scaled, support_moments


@final
class MetaBatchNorm(nn.Module):
    """Batch normalisation of support and query points alike by the moments of the support points.

    y = weight * (x - mu) / sqrt(sigma^2 + eps) + bias,  mu and sigma^2 of each channel over the task's support points
    (MetaBN in Bronskill et al. 2020, arXiv 2003.03284, section 4).

    Query points do not see each other, so predictions are inductive: they do not depend on which points are asked for
    together. There are no running statistics, and training and eval mode are the same. In a network outside of inner
    loops the points that pass together are normalised by their own moments. Without support points the moments are 0
    and 1.

    Args:
        features: channels, the second axis of the input `[N, features, ...]`.
        eps: added to the variance; the default is that of `torch.nn.BatchNorm2d`.
        affine: whether there are a weight and a bias, `[features]`.

    Raises:
        ValueError: for an input of another shape; for support points that have one value a channel in all, whose
            variance is not known.
        RuntimeError: for query points that no support points came before; inside `torch.utils.checkpoint`.

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
                "MetaBatchNorm has one value a channel to take a variance of; give more than one support point, or "
                "take TaskNorm(features, kind='layer'), which looks at the other channels of a point too"
            )
        out = (flat - mean[:, None]) / (variance[:, None] + self.eps).sqrt()
        return scaled(out, self.weight, self.bias).reshape(x.shape)
