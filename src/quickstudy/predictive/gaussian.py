"""Independent normal outputs."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from quickstudy.learner import Interval
from quickstudy.predictive.outcomes import (
    Mask,
    check_draws,
    check_outcome,
    filled,
    normal,
    normal_log_prob,
    summed,
)
from quickstudy.predictive.quantiles import Probability, central, normal_cdf, normal_quantile


class Gaussian(NamedTuple):
    """Independent normal outputs; the whole variance counts as observation noise.

    Args:
        mean: `[T, M, *dy]`.
        variance: `[T, M, *dy]`, positive.

    >>> belief = Gaussian(torch.zeros(1, 2, 1), torch.ones(1, 2, 1))
    >>> belief.log_prob(torch.zeros(1, 2, 1), joint=True)
    tensor([-1.8379])
    >>> lower, upper = belief.interval(0.95)
    >>> lower.flatten(), upper.flatten()
    (tensor([-1.9600, -1.9600]), tensor([1.9600, 1.9600]))
    """

    mean: Float[Tensor, "T M *dy"]
    variance: Float[Tensor, "T M *dy"]

    def sample(
        self, n: int, generator: torch.Generator | None = None, noise: bool = True
    ) -> Float[Tensor, "n T M *dy"]:
        """`n` draws; without `noise`, each draw is the mean."""
        check_draws(n, generator, self.mean.device)
        if not noise:
            return self.mean.expand(n, *self.mean.shape).clone()
        return self.mean + self.variance.sqrt() * normal((n, *self.mean.shape), self.mean, generator)

    def log_prob(self, y: Float[Tensor, "T M *dy"], mask: Mask = None, joint: bool = False) -> Tensor:
        """Log density `[T, M]` of each point (0 where masked), or `[T]` of all points jointly.

        A mask `[T, M, *dy]` marginalises the outputs where it is False.
        """
        check_outcome(y, self.mean, mask, outputs=True)
        return summed(normal_log_prob(filled(y, self.mean, mask), self.mean, self.variance), mask, joint)

    def cdf(self, y: Tensor | float) -> Tensor:
        """The probability of an outcome of at most `y [T, M, *dy]`, or a number, for each output by itself."""
        return normal_cdf(y, self.mean, self.variance)

    def quantile(self, p: Probability) -> Tensor:
        """The `p`-quantile of each point and output by itself; for several `p`, with an axis in front."""
        return normal_quantile(p, self.mean, self.variance)

    def interval(self, level: Probability) -> Interval:
        """The central interval of probability `level`, for each point and output by itself."""
        return central(self.quantile, level, self.mean)

    def rescale(self, shift: Tensor | float, scale: Tensor | float) -> "Gaussian":
        """The belief about `shift + scale * y`."""
        return Gaussian(shift + scale * self.mean, scale**2 * self.variance)
