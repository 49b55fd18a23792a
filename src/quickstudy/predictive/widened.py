"""A belief whose spread is multiplied."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from quickstudy.data import aligned
from quickstudy.learner import Interval
from quickstudy.predictive.outcomes import Mask, check_outcome, summed
from quickstudy.predictive.quantiles import Probability, central, outcomes


class Widened(NamedTuple):
    """A belief about y = m + c (z - m), where z has another belief with the mean m: c times the spread around the mean.

    p(y) = p_z(m + (y - m) / c) / c for each output. It corrects a belief that is known to be too narrow (c > 1) or too
    wide, as by held-out data.

    Args:
        belief: about z; its outcomes are real numbers, with densities.
        factor: c of each task and output, positive, `[T, dy]`.

    >>> from quickstudy.predictive import Gaussian
    >>> Widened(Gaussian(torch.zeros(1, 1, 1), torch.ones(1, 1, 1)), torch.tensor([[2.0]])).variance
    tensor([[[4.]]])
    """

    belief: Any
    factor: Tensor

    @property
    def mean(self) -> Tensor:
        """m, `[T, M, dy]`."""
        mean: Tensor = self.belief.mean
        return mean

    @property
    def variance(self) -> Tensor:
        """c^2 times that of z."""
        variance: Tensor = self.belief.variance
        return variance * self._scale(variance).square()

    def sample(self, n: int, generator: torch.Generator | None = None, noise: bool = True) -> Tensor:
        """`n` joint draws `[n, T, M, dy]`; without `noise`, of what the belief about z then draws."""
        return self._wide(self.belief.sample(n, generator, noise))

    def log_prob(self, y: Tensor, mask: Mask = None, joint: bool = False) -> Tensor:
        """Log density `[T, M]` of each point (0 where masked), or `[T]` of all points jointly."""
        check_outcome(y, self.mean, mask, outputs=True)
        if mask is not None:
            y = torch.where(aligned(mask, y), y, self.mean.detach())
        density: Tensor = self.belief.log_prob(self._narrow(y), mask, joint)
        return density - summed(self._scale(y).log().expand_as(y), mask, joint)

    def cdf(self, y: Any) -> Tensor:
        """The probability of an outcome below `y [T, M, dy]`, for each output."""
        below: Tensor = self.belief.cdf(self._narrow(outcomes(y, self.mean)))
        return below

    def quantile(self, p: Probability) -> Tensor:
        """The quantiles `[T, M, dy]` at `p`, or `[P, T, M, dy]` at several probabilities."""
        return self._wide(self.belief.quantile(p))

    def interval(self, level: Probability) -> Interval:
        """The central interval of probability `level`: a lower and an upper bound, each as of `quantile`."""
        return central(self.quantile, level, self.mean)

    def rescale(self, shift: Tensor | float, scale: Any) -> "Widened":
        """The belief about `shift + scale * y`."""
        return Widened(self.belief.rescale(shift, scale), self.factor)

    def _scale(self, like: Tensor) -> Tensor:
        return self.factor.unsqueeze(1).to(like)

    def _wide(self, z: Tensor) -> Tensor:
        return self.mean + self._scale(z) * (z - self.mean)

    def _narrow(self, y: Tensor) -> Tensor:
        return self.mean + (y - self.mean) / self._scale(y)
