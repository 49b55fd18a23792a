"""Any belief in other units."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from quickstudy.checks import shown
from quickstudy.data import aligned
from quickstudy.learner import Interval
from quickstudy.predictive.outcomes import Mask, reduced
from quickstudy.predictive.quantiles import Probability, central, outcomes, probabilities
from quickstudy.tracing import values_are_readable


class Rescaled(NamedTuple):
    """The belief about `shift + scale * y`, where another belief is about y; for beliefs that have no simpler form.

    log p(z) = log p_y((z - shift) / scale) - log |scale|, for each output that is real and observed.

    Args:
        belief: the belief about y, with real outputs `[T, M, dy]`.
        shift: in the new units; one number, or one per output.
        scale: new units per old one, not 0; one number, or one per output.

    >>> from quickstudy.predictive import Gaussian
    >>> belief = Rescaled(Gaussian(torch.zeros(1, 1, 1), torch.ones(1, 1, 1)), 20.0, -2.0)
    >>> belief.interval(0.95)
    Interval(lower=tensor([[[16.0801]]]), upper=tensor([[[23.9199]]]))
    """

    belief: Any
    shift: Tensor | float
    scale: Tensor | float

    @property
    def mean(self) -> Tensor:
        """The mean, `[T, M, dy]`."""
        mean: Tensor = self.shift + self.scale * self.belief.mean
        return mean

    @property
    def variance(self) -> Tensor:
        """The variance of an observation, `[T, M, dy]`."""
        variance: Tensor = self.scale**2 * self.belief.variance
        return variance

    def sample(self, n: int, generator: torch.Generator | None = None, noise: bool = True) -> Tensor:
        """`n` draws `[n, T, M, dy]`."""
        draws: Tensor = self.shift + self.scale * self.belief.sample(n, generator, noise)
        return draws

    def log_prob(self, y: Tensor, mask: Mask = None, joint: bool = False) -> Tensor:
        """Log density `[T, M]` of each point (0 where masked), or `[T]` of all points jointly."""
        density: Tensor = self.belief.log_prob(self._old(y), mask, joint)
        counted = self.belief.observed(y) if hasattr(self.belief, "observed") else torch.ones_like(y, dtype=torch.bool)
        counted = counted if mask is None else counted & aligned(mask, y)
        volume = torch.where(counted, torch.as_tensor(self.scale).to(density).abs().log(), 0.0)
        return density - reduced(volume.flatten(2).sum(2), None, joint)

    @property
    def cdf(self) -> Callable[[Any], Tensor]:
        """`cdf(y)`: the probability of an outcome of at most `y [T, M, dy]`, for each point and output by itself."""
        below = self.belief.cdf

        def cdf(y: Any) -> Tensor:
            found: Tensor = below(self._old(outcomes(y, self.belief.mean)))
            return torch.where(torch.as_tensor(self.scale, device=found.device) < 0, 1 - found, found)

        return cdf

    @property
    def quantile(self) -> Callable[[Probability], Tensor]:
        """`quantile(p)` of each point and output by itself."""
        _ = self.belief.quantile
        return self._quantile

    @property
    def interval(self) -> Callable[[Probability], Interval]:
        """`interval(level)` of each point and output by itself."""
        _ = self.belief.interval
        return lambda level: central(self._quantile, level, self.belief.mean)

    @property
    def observed(self) -> Callable[[Tensor], Tensor]:
        """`observed(y)`: whether each output was observed, if NaN stands for a missing one."""
        observed: Callable[[Tensor], Tensor] = self.belief.observed
        return observed

    def rescale(self, shift: Tensor | float, scale: Tensor | float) -> "Rescaled":
        """The belief about `shift + scale * z`, with z in these units."""
        return rescaled(self.belief, shift + scale * self.shift, scale * self.scale)

    def _quantile(self, p: Probability) -> Tensor:
        """A negative scale turns the axis around: the quantile at p is that of the belief at 1 - p."""
        scale = torch.as_tensor(self.scale, device=self.belief.mean.device)
        level = probabilities(p, scale.new_zeros(()))
        known = values_are_readable(scale)
        if known and not bool((scale < 0).any()):
            found = self.belief.quantile(level)
        elif known and bool((scale < 0).all()):
            found = self.belief.quantile(1 - level)
        else:
            found = torch.where(scale < 0, self.belief.quantile(1 - level), self.belief.quantile(level))
        turned: Tensor = self.shift + self.scale * found
        return turned

    def _old(self, y: Tensor) -> Tensor:
        """Outcomes in the units of the belief."""
        return (y - self.shift) / self.scale


def rescaled(belief: Any, shift: Tensor | float, scale: Tensor | float) -> Rescaled:
    """`Rescaled`, or ValueError for a scale that is 0 or not finite."""
    scales = torch.as_tensor(scale)
    if values_are_readable(scales) and not bool((scales.isfinite() & (scales != 0)).all()):
        raise ValueError(f"scale={shown(scale)}; expected finite numbers other than 0")
    return Rescaled(belief, shift, scale)
