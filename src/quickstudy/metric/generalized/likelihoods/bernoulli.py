"""Binary outcomes with a logistic link."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from quickstudy.metric.generalized.likelihoods.likelihood import Moments
from quickstudy.metric.generalized.quadrature import log_average


class BernoulliRows(NamedTuple):
    """p(y = 1 | eta) = 1 / (1 + e^-eta).

    >>> BernoulliRows().log_prob(torch.tensor(1.0), torch.tensor(0.0)).exp()
    tensor(0.5000)
    """

    @property
    def discrete(self) -> bool:
        """True."""
        return True

    @property
    def expects(self) -> str:
        """What outcomes are."""
        return "0 or 1"

    def possible(self, y: Tensor) -> Tensor:
        """Whether each is 0 or 1."""
        return (y == 0) | (y == 1)

    def log_prob(self, y: Tensor, eta: Tensor) -> Tensor:
        """log p(y | eta)."""
        return y * F.logsigmoid(eta) + (1 - y) * F.logsigmoid(-eta)

    def slope(self, y: Tensor, eta: Tensor) -> Tensor:
        """y - p."""
        return y - eta.sigmoid()

    def curvature(self, y: Tensor, eta: Tensor) -> Tensor:
        """p (1 - p)."""
        return eta.sigmoid() * (-eta).sigmoid()

    def bound(self, y: Tensor, eta: Tensor) -> Tensor:
        """The curvature."""
        return self.curvature(y, eta)

    def precision(self, y: Tensor, eta: Tensor) -> Tensor:
        """The curvature."""
        return self.curvature(y, eta)

    def inverse_link(self, eta: Tensor) -> Tensor:
        """p."""
        return eta.sigmoid()

    def moments(self, mean: Tensor, variance: Tensor) -> Moments:
        """Those where the log-odds are normal."""
        one, zero = (log_average(self, torch.full_like(mean, y), mean, variance).exp() for y in (1.0, 0.0))
        return Moments(one, one * zero)

    def cdf(self, y: Tensor, eta: Tensor) -> Tensor:
        """The probability of at most y."""
        return torch.where(y < 0, 0.0, torch.where(y < 1, (-eta).sigmoid(), 1.0))

    def sharpness(self, y: Tensor) -> Tensor:
        """1."""
        return torch.ones_like(y)

    def draw(self, eta: Tensor, generator: torch.Generator | None) -> Tensor:
        """0 or 1."""
        return torch.bernoulli(eta.sigmoid(), generator=generator)
