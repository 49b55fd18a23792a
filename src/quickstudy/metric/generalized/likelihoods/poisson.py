"""Poisson counts with a logarithmic link."""

from typing import NamedTuple

import torch
from torch import Tensor

from quickstudy.metric.generalized.likelihoods.likelihood import LARGEST, Moments


class PoissonRows(NamedTuple):
    """p(y | eta) = exp(y eta - e^eta) / y!, whose mean is e^eta.

    >>> PoissonRows().log_prob(torch.tensor(2.0), torch.tensor(0.0)).exp()
    tensor(0.1839)
    """

    @property
    def discrete(self) -> bool:
        """True."""
        return True

    @property
    def expects(self) -> str:
        """What outcomes are."""
        return "whole numbers of at least 0"

    def possible(self, y: Tensor) -> Tensor:
        """Whether each is a whole number of at least 0."""
        return (y >= 0) & (y == y.floor())

    def log_prob(self, y: Tensor, eta: Tensor) -> Tensor:
        """log p(y | eta)."""
        return y * eta - self.inverse_link(eta) - (y + 1).lgamma()

    def slope(self, y: Tensor, eta: Tensor) -> Tensor:
        """y - e^eta."""
        return y - self.inverse_link(eta)

    def curvature(self, y: Tensor, eta: Tensor) -> Tensor:
        """e^eta."""
        return self.inverse_link(eta)

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
        """Those of a Poisson number whose rate is log-normal."""
        rate = (mean + variance / 2).exp()
        return Moments(rate, rate + rate.square() * variance.expm1())

    def cdf(self, y: Tensor, eta: Tensor) -> Tensor:
        """The probability of at most y."""
        rate, count = self.inverse_link(eta), y.floor()
        return torch.where(count < 0, 0.0, torch.special.gammaincc(count.clamp_min(0) + 1, rate))

    def sharpness(self, y: Tensor) -> Tensor:
        """y + 1."""
        return y.clamp_min(0) + 1

    def draw(self, eta: Tensor, generator: torch.Generator | None) -> Tensor:
        """Counts."""
        return torch.poisson(self.inverse_link(eta), generator=generator)
