"""Independent counts."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from quickstudy.data import at_least_float32
from quickstudy.learner import Interval
from quickstudy.predictive.outcomes import Mask, check_draws, check_outcome, check_possible, summed
from quickstudy.predictive.parts.bisection import smallest_whole
from quickstudy.predictive.parts.incomplete_beta import Shares, incomplete_beta
from quickstudy.predictive.quantiles import Probability, central, outcomes, probabilities

PRECISION = 1e-11  # of the distribution function


class NegativeBinomial(NamedTuple):
    """Independent counts: Poisson numbers whose rate is Gamma distributed, with mean m and variance m + a m^2.

    p(y) = G(y + r) / (G(r) y!) (1 - q)^r q^y, with r = 1 / a, q = m / (m + r) and G the Gamma function. Probabilities
    are computed in float64, as the logarithms of G nearly cancel. Quantiles are whole numbers, so that a central
    interval has at least its nominal probability, and mostly more.

    Args:
        log_mean: log m, `[T, M, dy]`.
        dispersion: a, `[T, M, dy]`, positive; near 0 the counts are nearly Poisson.

    >>> belief = NegativeBinomial(torch.zeros(1, 2, 1), torch.ones(1, 2, 1))  # geometric, with mean 1
    >>> belief.log_prob(torch.tensor([[[0.0], [1.0]]])).exp()
    tensor([[0.5000, 0.2500]])
    >>> belief.quantile([0.05, 0.5, 0.95])[..., 0, 0]
    tensor([[0.],
            [0.],
            [4.]])
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

    @property
    def discrete(self) -> bool:
        """True: outcomes are whole numbers."""
        return True

    def cdf(self, y: Tensor | float) -> Tensor:
        """The probability of an outcome of at most `y [T, M, dy]`, or a number, for each point and output by itself."""
        y = outcomes(y, self.log_mean)
        return torch.where(y.isnan(), torch.nan, self._shares(y.double()).lower.to(at_least_float32(self.log_mean)))

    def quantile(self, p: Probability) -> Tensor:
        """The smallest count whose `cdf` is at least `p`, up to rounding; for several `p`, with an axis in front.

        It is found by bisection between bounds of Cantelli's inequality. That of 0 is 0, and that of 1 infinite.
        """
        with torch.no_grad():
            level = probabilities(p, self.log_mean)
            real = level.clamp(1e-300, 1 - 1e-16)
            mean, sd = self.log_mean.double().exp(), self.variance.double().sqrt()
            low = (mean - sd * (1 / real - 1).sqrt()).floor().clamp_min(0)
            high = (mean + sd * (real / (1 - real)).sqrt()).ceil()
            found = smallest_whole(lambda count: self._reached(count, real), low, high)
            return torch.where(level == 1, torch.inf, torch.where(level == 0, 0.0, found)).to(self.log_mean)

    def interval(self, level: Probability) -> Interval:
        """The central interval of probability `level`, or more, for each point and output by itself."""
        return central(self.quantile, level, self.log_mean)

    def _reached(self, count: Tensor, level: Tensor) -> Tensor:
        """Whether the distribution function has reached the level, up to the rounding of the belief's own type."""
        lower, upper = self._shares(count)
        slack = max(8 * torch.finfo(at_least_float32(self.log_mean)).eps, PRECISION)
        rest = (1 - level) * (1 + slack) + torch.finfo(torch.float64).eps  # the spacing of probabilities near 1
        return torch.where(level > 0.5, upper <= rest, lower >= level * (1 - slack))

    def _shares(self, y: Tensor) -> Shares:
        """The probabilities of at most `y`, and of more: I_(1-q)(r, floor(y) + 1), and the rest."""
        size = self.dispersion.double().reciprocal()
        log_odds = self.log_mean.double() - size.log()  # of q
        count = y.floor().clamp(0, 1e300)
        found = incomplete_beta(size, count + 1, (-log_odds).sigmoid(), log_odds.sigmoid())
        inside, beyond = y >= 0, y == torch.inf
        lower = torch.where(beyond, 1.0, torch.where(inside, found.lower, 0.0))
        return Shares(lower, torch.where(beyond, 0.0, torch.where(inside, found.upper, 1.0)))
