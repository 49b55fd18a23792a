"""Independent counts."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from quickstudy.data import at_least_float32
from quickstudy.predictive.outcomes import Mask, check_draws, check_outcome, check_possible, summed


class NegativeBinomial(NamedTuple):
    """Independent counts: Poisson numbers whose rate is Gamma distributed, with mean m and variance m + a m^2.

    p(y) = G(y + r) / (G(r) y!) (1 - q)^r q^y, with r = 1 / a, q = m / (m + r) and G the Gamma function. Probabilities
    are computed in float64, as the logarithms of G nearly cancel. It has no `cdf`: central intervals of counts have
    other coverages than their nominal ones.

    Args:
        log_mean: log m, `[T, M, dy]`.
        dispersion: a, `[T, M, dy]`, positive; near 0 the counts are nearly Poisson.

    >>> belief = NegativeBinomial(torch.zeros(1, 2, 1), torch.ones(1, 2, 1))  # geometric, with mean 1
    >>> belief.log_prob(torch.tensor([[[0.0], [1.0]]])).exp()
    tensor([[0.5000, 0.2500]])
    """

    log_mean: Float[Tensor, "T M dy"]
    dispersion: Float[Tensor, "T M dy"]

    @property
    def mean(self) -> Float[Tensor, "T M dy"]:
        """m."""
        return self.log_mean.exp()

    @property
    def variance(self) -> Float[Tensor, "T M dy"]:
        """m + a m^2."""
        return self.mean + self.dispersion * self.mean.square()

    def sample(self, n: int, generator: torch.Generator | None = None, noise: bool = True) -> Float[Tensor, "n T M dy"]:
        """`n` draws of counts; without `noise`, each draw is the mean."""
        check_draws(n, generator, self.mean.device)
        mean = self.mean.expand(n, *self.mean.shape)
        if not noise:
            return mean.clone()
        with torch.no_grad():
            size = self.dispersion.double().reciprocal().expand_as(mean)
            rate = torch._standard_gamma(size.contiguous(), generator=generator) / size * mean
            return torch.poisson(rate, generator=generator).to(mean)

    def log_prob(self, y: Float[Tensor, "T M dy"], mask: Mask = None, joint: bool = False) -> Tensor:
        """Log probability `[T, M]` of each point (0 where masked), or `[T]` of all points jointly.

        A mask `[T, M, dy]` marginalises the outputs where it is False.

        Raises:
            ValueError: for a value that is not a whole number of at least 0.
        """
        check_outcome(y, self.log_mean, mask, outputs=True)
        y = check_possible(y, (y >= 0) & (y == y.floor()), mask, "whole numbers of at least 0").double()
        size = self.dispersion.double().reciprocal()
        log_odds = self.log_mean.double() - size.log()  # of q
        ways = (y + size).lgamma() - size.lgamma() - (y + 1).lgamma()
        outputs = ways + size * F.logsigmoid(-log_odds) + y * F.logsigmoid(log_odds)
        return summed(outputs, mask, joint).to(at_least_float32(self.log_mean))
