"""Real outcomes whose noise has heavy tails, so that single rows that are far off do little harm."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from quickstudy.metric.generalized.likelihoods.likelihood import Moments
from quickstudy.predictive import PointMixture

NODES = 61  # of the mixture of normal distributions
REACH = 4.0  # of its nodes, in the argument of sinh
LEAST = 2.1  # smallest degrees of freedom, so that the variance is finite
MOST = 14.0  # largest log_freedom that counts: beyond it, noise is normal to 1e-6


class StudentRows(NamedTuple):
    """y = eta + s t, where t has Student's distribution with f = 2.1 + exp(log_freedom) degrees of freedom.

    The curvature of log p is negative where |y - eta| > s f^1/2, so that Laplace's approximation may have no variance,
    or any. `precision` takes in its place the expected information (f + 1) / (f + 3) / s^2 (Vanhatalo, Jylanki and
    Vehtari 2009), times the weight (f + 1) / (f + (y - eta)^2 / s^2) of the row, whose mean is 1 and which is small for
    rows that are far off (Lange, Little and Taylor 1989).

    Args:
        log_scale: log s; one number, or one for each output.
        log_freedom: log (f - 2.1).

    >>> StudentRows(torch.tensor(0.0), torch.tensor(0.0)).log_prob(torch.tensor(0.0), torch.tensor(0.0)).exp()
    tensor(0.3685)
    """

    log_scale: Tensor
    log_freedom: Tensor

    @property
    def discrete(self) -> bool:
        """False."""
        return False

    @property
    def expects(self) -> str:
        """What outcomes are."""
        return "numbers"

    @property
    def freedom(self) -> Tensor:
        """f."""
        return LEAST + self.log_freedom.clamp_max(MOST).exp()

    @property
    def variance(self) -> Tensor:
        """That of the noise, s^2 f / (f - 2)."""
        return (2 * self.log_scale).exp() * self.freedom / (self.freedom - 2)

    def possible(self, y: Tensor) -> Tensor:
        """Whether each is a number."""
        return ~y.isnan()

    def log_prob(self, y: Tensor, eta: Tensor) -> Tensor:
        """log p(y | eta)."""
        freedom = self.freedom
        front = ((freedom + 1) / 2).lgamma() - (freedom / 2).lgamma() - (freedom * math.pi).log() / 2 - self.log_scale
        return front - (freedom + 1) / 2 * (self._square(y, eta) / freedom).log1p()

    def slope(self, y: Tensor, eta: Tensor) -> Tensor:
        """w (y - eta) / s^2, with w the weight of the row."""
        return self.weight(y, eta) * (y - eta)

    def curvature(self, y: Tensor, eta: Tensor) -> Tensor:
        """(f + 1) (f - z^2) / (f + z^2)^2 / s^2, with z = (y - eta) / s."""
        freedom, square = self.freedom, self._square(y, eta)
        return (freedom + 1) * (freedom - square) / (freedom + square).square() * (-2 * self.log_scale).exp()

    def weight(self, y: Tensor, eta: Tensor) -> Tensor:
        """The weight of the row, divided by s^2: steps with it are those of the EM algorithm."""
        freedom = self.freedom
        return (freedom + 1) / (freedom + self._square(y, eta)) * (-2 * self.log_scale).exp()

    def bound(self, y: Tensor, eta: Tensor) -> Tensor:
        """The curvature, and of rows that are far off a tenth of the weight: steps are nearly those of Newton."""
        return torch.maximum(self.curvature(y, eta), 0.1 * self.weight(y, eta))

    def precision(self, y: Tensor, eta: Tensor) -> Tensor:
        """The expected information times the weight of the row."""
        freedom = self.freedom
        return (freedom + 1) / (freedom + 3) * self.weight(y, eta)

    def inverse_link(self, eta: Tensor) -> Tensor:
        """eta."""
        return eta

    def moments(self, mean: Tensor, variance: Tensor) -> Moments:
        """The mean of eta, and its variance plus that of the noise."""
        return Moments(mean, variance + self.variance)

    def draw(self, eta: Tensor, generator: torch.Generator | None) -> Tensor:
        """Outcomes, as normal numbers whose precision is Gamma distributed."""
        half = (self.freedom / 2).expand_as(eta).contiguous()
        precision = torch._standard_gamma(half, generator=generator) / half
        normal = torch.randn(eta.shape, dtype=eta.dtype, device=eta.device, generator=generator)
        return eta + self.log_scale.exp() * normal / precision.sqrt()

    def mixed(self, mean: Tensor, variance: Tensor) -> PointMixture:
        """The belief about y where eta is normal with these moments `[T, M, dy]`, as a mixture of 61 normal ones.

        Student's distribution is that of s n / g^1/2 with a normal n and a Gamma distributed g of mean 1. The nodes
        are sinh-spaced in log g; the sum of the integrand there has the digits of the integral (trapezoidal rule).

        Returns:
            The belief about `[T, M dy, 1]`, as each output has weights of its own.
        """
        half = self.freedom.unsqueeze(-1) / 2  # [dy, 1]
        t = torch.linspace(-REACH, REACH, NODES, dtype=mean.dtype, device=mean.device)
        u = t.sinh() / half.sqrt()
        log_weights = half * (u - u.clamp_max(50).exp()) + t.cosh().log()  # [dy, K]
        scales = (2 * self.log_scale.unsqueeze(-1) - u).exp()
        wide = variance.unsqueeze(-1) + scales  # [T, M, dy, K]
        parts = (log_weights.expand_as(wide), mean.unsqueeze(-1).expand_as(wide), wide)
        logits, means, variances = (part.flatten(1, 2) for part in parts)
        return PointMixture(logits, means.unsqueeze(3), variances.unsqueeze(3))

    def _square(self, y: Tensor, eta: Tensor) -> Tensor:
        return ((y - eta) * (-self.log_scale).exp()).square()
