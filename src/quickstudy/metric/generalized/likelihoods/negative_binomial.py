"""Counts with more variance than the Poisson distribution has."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from quickstudy.metric.generalized.likelihoods.likelihood import LARGEST, Moments
from quickstudy.predictive import NegativeBinomial

LEAST = 1e-6  # smallest overdispersion; the Poisson distribution has 0


class NegativeBinomialRows(NamedTuple):
    """Negative binomial counts with mean m = e^eta and variance m + a m^2, with a = 1e-6 + exp(log_dispersion).

    Args:
        log_dispersion: one number, or one for each output.

    >>> NegativeBinomialRows(torch.tensor(0.0)).log_prob(torch.tensor(0.0), torch.tensor(0.0)).exp()
    tensor(0.5000)
    """

    log_dispersion: Tensor

    @property
    def discrete(self) -> bool:
        """True."""
        return True

    @property
    def expects(self) -> str:
        """What outcomes are."""
        return "whole numbers of at least 0"

    @property
    def dispersion(self) -> Tensor:
        """a."""
        return LEAST + self.log_dispersion.exp()

    def possible(self, y: Tensor) -> Tensor:
        """Whether each is a whole number of at least 0."""
        return (y >= 0) & (y == y.floor())

    def log_prob(self, y: Tensor, eta: Tensor) -> Tensor:
        """log p(y | eta)."""
        size, odds = self._odds(eta)
        ways = (y + size).lgamma() - size.lgamma() - (y + 1).lgamma()
        return ways + size * F.logsigmoid(-odds) + y * F.logsigmoid(odds)

    def slope(self, y: Tensor, eta: Tensor) -> Tensor:
        """(y - m) / (1 + a m)."""
        size, odds = self._odds(eta)
        return y * (-odds).sigmoid() - size * odds.sigmoid()

    def curvature(self, y: Tensor, eta: Tensor) -> Tensor:
        """m (1 + a y) / (1 + a m)^2."""
        size, odds = self._odds(eta)
        return (y + size) * odds.sigmoid() * (-odds).sigmoid()

    def bound(self, y: Tensor, eta: Tensor) -> Tensor:
        """The curvature."""
        return self.curvature(y, eta)

    def precision(self, y: Tensor, eta: Tensor) -> Tensor:
        """The curvature."""
        return self.curvature(y, eta)

    def inverse_link(self, eta: Tensor) -> Tensor:
        """e^eta."""
        return eta.clamp_max(LARGEST).exp()

    def moments(self, mean: Tensor, variance: Tensor) -> Moments:
        """Those where the mean of the counts is log-normal."""
        rate = (mean + variance / 2).exp()
        return Moments(rate, rate + rate.square() * (variance.expm1() + self.dispersion * variance.exp()))

    def cdf(self, y: Tensor, eta: Tensor) -> Tensor:
        """The probability of at most y."""
        y, eta, dispersion = torch.broadcast_tensors(y, eta, self.dispersion)
        return NegativeBinomial(eta, dispersion).cdf(y)

    def sharpness(self, y: Tensor) -> Tensor:
        """1 / (1 / (y + 1) + a)."""
        return 1 / (1 / (y.clamp_min(0) + 1) + self.dispersion)

    def draw(self, eta: Tensor, generator: torch.Generator | None) -> Tensor:
        """Counts: Poisson numbers whose rate is Gamma distributed."""
        size = self.dispersion.reciprocal().expand_as(eta).contiguous()
        rate = torch._standard_gamma(size, generator=generator) / size * self.inverse_link(eta)
        return torch.poisson(rate, generator=generator)

    def _odds(self, eta: Tensor) -> tuple[Tensor, Tensor]:
        """1 / a, and log(a m)."""
        size = self.dispersion.reciprocal()
        return size, eta - size.log()
