"""A mixture of Student's t distributions with weights, one for each draw of a person's parameters."""

from typing import NamedTuple

import torch
from torch import Tensor

from quickstudy.learner import Interval
from quickstudy.metric.compartments import student
from quickstudy.predictive.outcomes import Mask, check_draws, check_outcome, filled, mask_of_points, reduced
from quickstudy.predictive.parts.bisection import smallest
from quickstudy.predictive.quantiles import Probability, central, outcomes, probabilities


class StudentMixture(NamedTuple):
    """A mixture of `K` beliefs, each of independent points with Student's t errors of 5 degrees of freedom.

    The points are independent within a component, but not in the mixture: with `joint=True`, `log_prob` is
    log sum_k w_k prod_m t(y_m; k).

    Args:
        log_weights: `[T, K]`, of the components, which add up to 1.
        centers: `[T, K, M]`.
        scales: `[T, K, M]`, positive; a component's variance is 5/3 of the square.

    >>> belief = StudentMixture(torch.zeros(1, 1), torch.zeros(1, 1, 2), torch.ones(1, 1, 2))
    >>> belief.interval(0.9).upper.flatten()
    tensor([2.0150, 2.0150])
    """

    log_weights: Tensor
    centers: Tensor
    scales: Tensor

    @property
    def mean(self) -> Tensor:
        """`[T, M, 1]`."""
        return self._average(self.centers)

    @property
    def variance(self) -> Tensor:
        """The mean variance within components plus the variance between their centers, `[T, M, 1]`."""
        off = self.centers - self.mean.mT
        return self._average(student.INFLATION * self.scales.square() + off.square())

    def sample(self, n: int, generator: torch.Generator | None = None, noise: bool = True) -> Tensor:
        """`n` draws `[n, T, M, 1]`. All points of a task share a component in a draw; without `noise`, its centers."""
        check_draws(n, generator, self.centers.device)
        drawn = torch.multinomial(self.log_weights.exp(), n, replacement=True, generator=generator)  # [T, n]
        pick = drawn.unsqueeze(2).expand(-1, -1, self.centers.shape[2])
        center, scale = (part.gather(1, pick).transpose(0, 1).unsqueeze(3) for part in (self.centers, self.scales))
        return center + scale * student.sample(tuple(center.shape), center, generator) if noise else center

    def log_prob(self, y: Tensor, mask: Mask = None, joint: bool = False) -> Tensor:
        """Log density `[T, M]` of each point (0 where masked), or `[T]` of all points jointly."""
        check_outcome(y, self.mean, mask, outputs=True)
        y = filled(y, self.mean, mask).mT
        points = student.log_density((y - self.centers) / self.scales) - self.scales.log()  # [T, K, M]
        real = None if mask is None else mask_of_points(mask)
        if joint:
            points = points if real is None else torch.where(real.unsqueeze(1), points, 0.0)
            return (points.sum(2) + self.log_weights).logsumexp(1)
        return reduced((points + self.log_weights.unsqueeze(2)).logsumexp(1), real, joint=False)

    def cdf(self, y: Tensor | float) -> Tensor:
        """The probability of an outcome of at most `y [..., T, M, 1]`, or a number, for each point by itself."""
        white = (outcomes(y, self.mean).mT - self.centers) / self.scales
        return (self.log_weights.exp().unsqueeze(2) * student.cdf(white)).sum(-2).unsqueeze(-1)

    def quantile(self, p: Probability) -> Tensor:
        """The `p`-quantile of each point by itself, by bisection; for several `p`, with an axis in front."""
        with torch.no_grad():
            mean = self.mean
            levels = probabilities(p, mean).to(mean)
            wide = levels.expand(torch.broadcast_shapes(levels.shape, mean.shape))
            reach = (self.scales.amax(1, keepdim=True) * 1e9 + 1).mT
            low, high = self.centers.amin(1, keepdim=True).mT - reach, self.centers.amax(1, keepdim=True).mT + reach
            found = smallest(lambda y: self.cdf(y) >= wide, low.expand_as(wide).clone(), high.expand_as(wide).clone())
        found = torch.where(wide <= 0, -torch.inf, found)
        return torch.where(wide >= 1, torch.inf, found)

    def interval(self, level: Probability) -> Interval:
        """The central interval of probability `level`, for each point by itself."""
        return central(self.quantile, level, self.mean)

    def rescale(self, shift: Tensor | float, scale: Tensor | float) -> "StudentMixture":
        """The belief about `shift + scale * y`."""
        shift, scale = (torch.as_tensor(part).to(self.centers) for part in (shift, scale))
        shift, scale = (part.mT if part.dim() > 1 else part for part in (shift, scale))
        return StudentMixture(self.log_weights, shift + scale * self.centers, scale.abs() * self.scales)

    def _average(self, parts: Tensor) -> Tensor:
        """The mean `[T, M, 1]` of `parts [T, K, M]`."""
        return (self.log_weights.exp().unsqueeze(2) * parts).sum(1).unsqueeze(2)
