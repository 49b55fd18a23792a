"""A weighted mixture of beliefs of different kinds."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from quickstudy.data import at_least_float32
from quickstudy.learner import Interval
from quickstudy.predictive.outcomes import Mask, check_draws
from quickstudy.predictive.parts.bisection import smallest, smallest_whole
from quickstudy.predictive.quantiles import Probability, central, outcomes, probabilities


class Blend(NamedTuple):
    """A mixture of beliefs of any kinds about the same points, such as those of several learners.

    p(y) = sum_c w_c p_c(y). Each draw belongs to one belief at all points of a task; so `log_prob` of a point is
    log sum_c w_c p_c(y_m), and with `joint=True` it is log sum_c w_c p_c(y).

    Args:
        beliefs: beliefs about outputs `[T, M, dy]`, all of them with densities, or all of them `discrete`.
        weights: `[C]`, or `[T, C]` where they differ between tasks; those of a task add up to 1.

    >>> from quickstudy.predictive import Gaussian
    >>> one = torch.ones(1, 1, 1)
    >>> Blend((Gaussian(0 * one, one), Gaussian(one, one)), torch.tensor([0.25, 0.75])).mean
    tensor([[[0.7500]]])
    """

    beliefs: tuple[Any, ...]
    weights: Tensor

    @property
    def discrete(self) -> bool:
        """Whether outcomes are whole numbers.

        Raises:
            ValueError: if they are for some beliefs only, as a density is not comparable with a probability.
        """
        kinds = {getattr(belief, "discrete", False) for belief in self.beliefs}
        if len(kinds) > 1:
            raise ValueError(
                "a mixture of probabilities of whole numbers and of densities has no likelihood; mix one kind"
            )
        return kinds.pop()

    @property
    def mean(self) -> Tensor:
        """The mean, `[T, M, dy]`."""
        return self._average([belief.mean for belief in self.beliefs])

    @property
    def variance(self) -> Tensor:
        """The mean variance of the beliefs plus the variance between their means."""
        mean = self.mean
        return self._average([belief.variance + (belief.mean - mean).square() for belief in self.beliefs])

    def sample(self, n: int, generator: torch.Generator | None = None, noise: bool = True) -> Tensor:
        """`n` draws `[n, T, M, dy]`, each from one belief of each task. All beliefs draw, so costs add up."""
        first = self.beliefs[0].mean
        check_draws(n, generator, first.device)
        weights = self.weights.to(first.device, torch.float64).expand(n, len(first), -1).flatten(0, 1)
        pick = torch.multinomial(weights, 1, generator=generator) if len(weights) else weights.new_zeros(0, 1).long()
        pick = pick.view(n, len(first), *[1] * (first.dim() - 1))
        draws = first.new_zeros(n, *first.shape)
        for c, belief in enumerate(self.beliefs):
            draws = torch.where(pick == c, belief.sample(n, generator, noise).to(draws), draws)
        return draws

    def log_prob(self, y: Tensor, mask: Mask = None, joint: bool = False) -> Tensor:
        """Log density `[T, M]` of each point (0 where masked), or `[T]` of all points jointly.

        A mask `[T, M, dy]` marginalises the outputs where it is False.
        """
        _ = self.discrete  # raises ValueError for beliefs of two kinds
        each = torch.stack([belief.log_prob(y, mask, joint) for belief in self.beliefs])
        lead = self._weights(each)
        each = torch.where(lead > 0, each + lead.log(), -torch.inf)
        mixed: Tensor = each.logsumexp(0)
        if mask is None or joint:
            return mixed
        real = mask if mask.dim() == 2 else mask.flatten(2).any(2)
        return torch.where(real, mixed, torch.zeros_like(mixed))  # the weights add up to 1 but for rounding

    def cdf(self, y: Any) -> Tensor:
        """The probability of an outcome below `y [T, M, dy]`, for each output."""
        y = outcomes(y, self.beliefs[0].mean)
        return self._average([belief.cdf(y) for belief in self.beliefs])

    def quantile(self, p: Probability) -> Tensor:
        """The quantiles `[T, M, dy]` at `p`, or `[P, T, M, dy]` at several; bisection between those of the beliefs."""
        levels = probabilities(p, self.mean)
        parts = torch.stack([belief.quantile(p).double() for belief in self.beliefs])
        used = self._weights(parts, parts.dim() - 1 - self.beliefs[0].mean.dim()) > 0
        low, high = (torch.where(used, parts, end) for end in (torch.inf, -torch.inf))
        low, high = low.amin(0), high.amax(0)

        def reached(y: Tensor) -> Tensor:
            return self.cdf(y) >= levels

        if self.discrete:
            levels = levels - 8 * torch.finfo(at_least_float32(self.mean)).eps * torch.minimum(levels, 1 - levels)
            return smallest_whole(reached, low, high).to(self.mean)
        return smallest(reached, low, high).to(self.mean)

    def interval(self, level: Probability) -> Interval:
        """The central interval of probability `level`: a lower and an upper bound, each as of `quantile`."""
        return central(self.quantile, level, self.mean)

    def rescale(self, shift: Tensor | float, scale: Any) -> "Blend":
        """The belief about `shift + scale * y`."""
        return Blend(tuple(belief.rescale(shift, scale) for belief in self.beliefs), self.weights)

    def _average(self, parts: list[Tensor]) -> Tensor:
        values = torch.stack(parts)
        weights = self._weights(values, parts[0].dim() - self.beliefs[0].mean.dim())
        # a weight of 0 leaves a belief out, even an infinite value of it
        return torch.where(weights > 0, weights * values, torch.zeros_like(values)).sum(0)

    def _weights(self, values: Tensor, before: int = 0) -> Tensor:
        """The weights, with axes for `values [C, ..., T, ...]`, where T has `before` axes between it and C."""
        weights = self.weights.T if self.weights.dim() == 2 else self.weights.unsqueeze(1)
        return weights.to(values).view(len(weights), *[1] * before, -1, *[1] * (values.dim() - 2 - before))
