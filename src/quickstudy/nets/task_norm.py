"""TaskNorm (Bronskill, Gordon, Requeima, Nowozin and Turner 2020, arXiv 2003.03284)."""

from typing import Any, ClassVar, Literal, final

import torch
from torch import Tensor, nn

from quickstudy.checks import check_choice, check_whole
from quickstudy.nets.clock import Turn
from quickstudy.nets.moments import Moments, by_channel, mean_and_variance, scaled, support_moments

AXES: dict[str, tuple[int, ...]] = {"instance": (2,), "layer": (1, 2)}  # of [N, features, L]


@final
class TaskNorm(nn.Module):
    """Normalisation by moments of the support set, pooled with each point's own (Bronskill et al. 2020, section 4).

    mu      = alpha mu_BN + (1 - alpha) mu_+
    sigma^2 = alpha (sigma_BN^2 + (mu_BN - mu)^2) + (1 - alpha) (sigma_+^2 + (mu_+ - mu)^2)
    alpha   = sigmoid(scale N + offset)
    y       = weight * (x - mu) / sqrt(sigma^2 + eps) + bias,

    where mu_BN and sigma_BN^2 are those of each channel over the task's N support points, and mu_+ and sigma_+^2 those
    of the point itself. `scale` and `offset` are learned: they set the weight alpha of a support set of N points.

    Predictions are inductive: the prediction at a query point does not depend on the other query points. There are no
    running statistics, and training and eval mode are the same. Outside inner loops, the points of a batch count as the
    support set. Without support points alpha is 0.

    Args:
        features: number of channels, the second axis of the input `[N, features, ...]`.
        kind: the axes for a point's own moments: "instance", the places of each channel (TaskNorm-I, the authors'
            choice for images), or "layer", channels and places (TaskNorm-L). Use "layer" for vectors `[N, features]`,
            which have a single place.
        eps: added to the variance; the default is that of `torch.nn.BatchNorm2d`.
        affine: whether there are a weight and a bias, `[features]`.

    Raises:
        ValueError: for another kind; for an input of another shape.
        RuntimeError: for query points before any support points; inside `torch.utils.checkpoint`.

    >>> norm = TaskNorm(8)
    >>> norm(torch.randn(3, 8, 5, 5)).shape, sorted(name for name, _ in norm.named_parameters())
    (torch.Size([3, 8, 5, 5]), ['bias', 'offset', 'scale', 'weight'])
    """

    uses_support: ClassVar[bool] = True

    def __init__(
        self, features: int, *, kind: Literal["instance", "layer"] = "instance", eps: float = 1e-5, affine: bool = True
    ):
        super().__init__()
        check_choice("kind", kind, AXES)
        self.features, self.kind, self.eps, self.affine = check_whole("features", features, 1), kind, eps, affine
        self.weight = nn.Parameter(torch.ones(features)) if affine else None
        self.bias = nn.Parameter(torch.zeros(features)) if affine else None
        self.scale, self.offset = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))  # alpha is 1/2 at first
        self.kept: tuple[Moments, ...] = ()
        self.calls: tuple[Turn | None, int] = (None, -1)
        self.settled: int | None = None

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"features": self.features, "kind": self.kind, "eps": self.eps, "affine": self.affine}

    def forward(self, x: Tensor) -> Tensor:
        """`x [N, features, ...]`, normalised."""
        flat = by_channel(x, self.features)
        batch_mean, batch_variance, points = support_moments(self, flat)
        own_mean, own_variance = mean_and_variance(flat, AXES[self.kind])
        alpha = torch.sigmoid(self.scale * points + self.offset) if points else torch.zeros_like(self.offset)
        mean = alpha * batch_mean[:, None] + (1 - alpha) * own_mean
        from_batch = batch_variance[:, None] + (batch_mean[:, None] - mean).square()
        from_own = own_variance + (own_mean - mean).square()
        out = (flat - mean) / (alpha * from_batch + (1 - alpha) * from_own + self.eps).sqrt()
        return scaled(out, self.weight, self.bias).reshape(x.shape)
