"""An even mixture of factorised Gaussians."""

import math
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
    normal,
    normal_log_prob,
    reduced,
)
from quickstudy.predictive.quantiles import Probability, below, central, mixture_quantile, outcomes


class GaussianMixture(NamedTuple):
    """A mixture of `S` factorised Gaussians with equal weights, one for each latent sample.

    The points are independent within a component, but not in the mixture. So `log_prob` of a point is
    log (1/S) sum_s N(y_m; s), and with `joint=True` it is log (1/S) sum_s prod_m N(y_m; s).

    Args:
        means: `[S, T, M, dy]`.
        variances: `[S, T, M, dy]`, positive.
    """

    means: Float[Tensor, "S T M *dy"]
    variances: Float[Tensor, "S T M *dy"]

    @property
    def mean(self) -> Float[Tensor, "T M *dy"]:
        """The mixture's mean."""
        return self.means.mean(0)

    @property
    def variance(self) -> Float[Tensor, "T M *dy"]:
        """The mixture's variance: the mean variance within components plus the variance between their means."""
        return self.variances.mean(0) + (self.means - self.mean).square().mean(0)

    def sample(
        self, n: int, generator: torch.Generator | None = None, noise: bool = True
    ) -> Float[Tensor, "n T M *dy"]:
        """`n` draws. All points of a task share one component in a draw; without `noise`, the draw is its mean."""
        check_draws(n, generator, self.means.device)
        count, tasks = self.means.shape[:2]
        pick = torch.randint(count, (n, tasks), generator=generator, device=self.means.device)
        chosen = aligned(pick, self.means).expand(n, *self.means.shape[1:])
        mean = self.means.gather(0, chosen)
        if not noise:
            return mean
        return mean + self.variances.gather(0, chosen).sqrt() * normal(mean.shape, mean, generator)

    def log_prob(self, y: Float[Tensor, "T M *dy"], mask: Mask = None, joint: bool = False) -> Tensor:
        """Log density `[T, M]` of each point (0 where masked), or `[T]` of all points jointly.

        A mask `[T, M, *dy]` marginalises the outputs where it is False.
        """
        check_outcome(y, self.means[0], mask, outputs=True)
        outputs = normal_log_prob(filled(y, self.mean, mask), self.means, self.variances)
        if mask is not None:
            outputs = torch.where(aligned(mask, y), outputs, torch.zeros_like(outputs))
            mask = mask.flatten(2).any(2) if mask.dim() > 2 else mask
        points = outputs.flatten(3).sum(3)
        if joint:
            points = reduced(points, mask, joint=True)
        mixed = points.logsumexp(0) - math.log(len(self.means))
        return mixed if joint else reduced(mixed, mask, joint=False)

    def cdf(self, y: Tensor | float) -> Tensor:
        """The probability of an outcome of at most `y [T, M, *dy]`, or a number, for each output by itself."""
        y = outcomes(y, self.means[0])
        means, variances = (_beside(part, y) for part in self)
        return below(y, means, variances).mean(0)

    def quantile(self, p: Probability) -> Tensor:
        """The `p`-quantile of each point and output by itself; for several `p`, with an axis in front."""
        even = self.means.new_full((len(self.means),), 1 / len(self.means), dtype=torch.float64)
        return mixture_quantile(p, even, *(part.movedim(0, -1) for part in self))

    def interval(self, level: Probability) -> Interval:
        """The central interval of probability `level`, for each point and output by itself."""
        return central(self.quantile, level, self.means)

    def rescale(self, shift: Tensor | float, scale: Tensor | float) -> "GaussianMixture":
        """The belief about `shift + scale * y`."""
        return GaussianMixture(shift + scale * self.means, scale**2 * self.variances)


def _beside(parts: Tensor, y: Tensor) -> Tensor:
    """`parts [S, T, M, *dy]` with the axes that `y [..., T, M, *dy]` has in front, after their first one."""
    return parts.reshape(len(parts), *[1] * (y.dim() - parts.dim() + 1), *parts.shape[1:])
