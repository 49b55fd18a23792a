"""A belief about positive outcomes, whose logarithms are normal."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from quickstudy.data import aligned
from quickstudy.learner import Interval
from quickstudy.predictive.outcomes import Mask, check_outcome, summed
from quickstudy.predictive.quantiles import Probability, central, outcomes


class LogTransformed(NamedTuple):
    """A belief about y = exp(z), for a belief about z that is normal at each point by itself.

    p(y) = p(z) / y with z = log y; mean exp(m + v / 2), variance (exp(v) - 1) exp(2 m + v), where m and v are those of
    z. Outcomes that are not positive have density 0.

    Args:
        belief: about z: `Gaussian`, `DenseGaussian`, `LowRankGaussian` or `LowRankPlusDiagonal`.

    >>> from quickstudy.predictive import Gaussian
    >>> belief = LogTransformed(Gaussian(torch.zeros(1, 1, 1), torch.ones(1, 1, 1)))
    >>> belief.mean, belief.quantile(0.5)
    (tensor([[[1.6487]]]), tensor([[[1.]]]))
    """

    belief: Any

    @property
    def mean(self) -> Tensor:
        """The mean of y, `[T, M, dy]`."""
        return (self.belief.mean + self.belief.variance / 2).exp()

    @property
    def variance(self) -> Tensor:
        """The variance of y, `[T, M, dy]`."""
        variance = self.belief.variance
        return variance.expm1() * (2 * self.belief.mean + variance).exp()

    def sample(self, n: int, generator: torch.Generator | None = None, noise: bool = True) -> Tensor:
        """`n` joint draws `[n, T, M, dy]`; without `noise`, exp of what the belief about z then draws."""
        draws: Tensor = self.belief.sample(n, generator, noise)
        return draws.exp()

    def log_prob(self, y: Tensor, mask: Mask = None, joint: bool = False) -> Tensor:
        """Log density `[T, M]` of each point (0 where masked), or `[T]` of all points jointly."""
        check_outcome(y, self.belief.mean, mask)
        if mask is not None:
            y = torch.where(aligned(mask, y), y, 1.0)
        positive = y > 0
        z = torch.where(positive, y, 1.0).log()
        outside = torch.where(positive, -z, -torch.inf).where(~y.isnan(), torch.nan)
        density: Tensor = self.belief.log_prob(z, mask, joint)
        return density + summed(outside, mask, joint)

    def cdf(self, y: Any) -> Tensor:
        """The probability of an outcome below `y [T, M, dy]`, for each output."""
        y = outcomes(y, self.belief.mean)
        below: Tensor = self.belief.cdf(torch.where(y > 0, y, 1.0).log())
        return torch.where(y > 0, below, torch.zeros_like(below)).where(~y.isnan(), torch.nan)

    def quantile(self, p: Probability) -> Tensor:
        """The quantiles `[T, M, dy]` at `p`, or `[P, T, M, dy]` at several probabilities."""
        found: Tensor = self.belief.quantile(p)
        return found.exp()

    def interval(self, level: Probability) -> Interval:
        """The central interval of probability `level`: a lower and an upper bound, each as of `quantile`."""
        return central(self.quantile, level, self.belief.mean)
