"""A mixture of Gaussians at each point by itself."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from quickstudy.data import aligned
from quickstudy.learner import Interval
from quickstudy.predictive.outcomes import (
    Mask,
    check_draws,
    check_outcome,
    filled,
    mask_of_points,
    normal,
    normal_log_prob,
    reduced,
)
from quickstudy.predictive.quantiles import Probability, below, central, mixture_quantile, outcomes


class PointMixture(NamedTuple):
    """A mixture of `K` Gaussians with its own weights at each point; the points are independent.

    All outputs of a point come from the same component, and are independent given it.

    Args:
        logits: `[T, M, K]`, unnormalised log-weights of the components.
        means: `[T, M, K, dy]`.
        variances: `[T, M, K, dy]`, positive.

    >>> belief = PointMixture(torch.zeros(1, 2, 3), torch.zeros(1, 2, 3, 1), torch.ones(1, 2, 3, 1))
    >>> belief.log_prob(torch.zeros(1, 2, 1), joint=True)
    tensor([-1.8379])
    """

    logits: Float[Tensor, "T M K"]
    means: Float[Tensor, "T M K dy"]
    variances: Float[Tensor, "T M K dy"]

    @property
    def weights(self) -> Float[Tensor, "T M K"]:
        """The probabilities of the components."""
        return self.logits.softmax(-1)

    @property
    def mean(self) -> Float[Tensor, "T M dy"]:
        """The mixture's mean."""
        return (self.weights.unsqueeze(-1) * self.means).sum(2)

    @property
    def variance(self) -> Float[Tensor, "T M dy"]:
        """The mixture's variance: the mean variance within components plus the variance between their means."""
        spread = (self.means - self.mean.unsqueeze(2)).square()
        return (self.weights.unsqueeze(-1) * (self.variances + spread)).sum(2)

    def sample(self, n: int, generator: torch.Generator | None = None, noise: bool = True) -> Float[Tensor, "n T M dy"]:
        """`n` draws; without `noise`, each draw is the mean of the component that was drawn."""
        check_draws(n, generator, self.means.device)
        rows = self.weights.flatten(0, 1)
        drawn = torch.multinomial(rows, n, replacement=True, generator=generator) if len(rows) else rows.new_zeros(0, n)
        pick = drawn.T.reshape(n, *self.logits.shape[:2], 1, 1).long().expand(-1, -1, -1, 1, self.means.shape[3])
        mean, variance = (
            part.expand(n, *part.shape).gather(3, pick).squeeze(3) for part in (self.means, self.variances)
        )
        return mean + variance.sqrt() * normal(mean.shape, mean, generator) if noise else mean

    def log_prob(self, y: Float[Tensor, "T M dy"], mask: Mask = None, joint: bool = False) -> Tensor:
        """Log density `[T, M]` of each point (0 where masked), or `[T]` of all points jointly.

        A mask `[T, M, dy]` marginalises the outputs where it is False.
        """
        check_outcome(y, self.means[:, :, 0], mask, outputs=True)
        parts = normal_log_prob(filled(y, self.mean, mask).unsqueeze(2), self.means, self.variances)
        if mask is not None:
            parts = torch.where(aligned(mask, y).unsqueeze(2), parts, torch.zeros_like(parts))
            mask = mask_of_points(mask)
        return reduced((parts.sum(-1) + self.logits.log_softmax(-1)).logsumexp(-1), mask, joint)

    def cdf(self, y: Tensor | float) -> Tensor:
        """The probability of an outcome of at most `y [T, M, dy]`, or a number, for each point and output by itself."""
        y = outcomes(y, self.means[:, :, 0]).unsqueeze(-2)
        return (self.weights.unsqueeze(-1) * below(y, self.means, self.variances)).sum(-2)

    def quantile(self, p: Probability) -> Tensor:
        """The `p`-quantile of each point and output by itself; for several `p`, with an axis in front."""
        weights = self.logits.softmax(-1, dtype=torch.float64).unsqueeze(2)
        return mixture_quantile(p, weights, *(part.movedim(2, -1) for part in (self.means, self.variances)))

    def interval(self, level: Probability) -> Interval:
        """The central interval of probability `level`, for each point and output by itself."""
        return central(self.quantile, level, self.means)

    def rescale(self, shift: Tensor | float, scale: Tensor | float) -> "PointMixture":
        """The belief about `shift + scale * y`."""
        return PointMixture(self.logits, shift + scale * self.means, scale**2 * self.variances)
