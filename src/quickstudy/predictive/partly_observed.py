"""A belief about outcomes of which some outputs were not observed."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from quickstudy.predictive.outcomes import Mask, check_outcome


class PartlyObserved(NamedTuple):
    """A belief about outcomes in which NaN stands for an output that was not observed.

    `log_prob` is the density of the observed outputs, with the others marginalised: log p(y_observed). It is 0 at a
    point without any observed output. All else is as in the belief about complete outcomes.

    Args:
        belief: the belief, whose `log_prob` takes a mask `[T, M, dy]` of outputs.

    >>> from quickstudy.predictive import Gaussian
    >>> belief = PartlyObserved(Gaussian(torch.zeros(1, 1, 2), torch.ones(1, 1, 2)))
    >>> belief.log_prob(torch.tensor([[[0.0, torch.nan]]]))
    tensor([[-0.9189]])
    """

    belief: Any

    @property
    def mean(self) -> Tensor:
        """`[T, M, dy]`."""
        mean: Tensor = self.belief.mean
        return mean

    @property
    def variance(self) -> Tensor:
        """The variance of an observation, `[T, M, dy]`."""
        variance: Tensor = self.belief.variance
        return variance

    def sample(self, n: int, generator: torch.Generator | None = None, noise: bool = True) -> Tensor:
        """`n` draws `[n, T, M, dy]` of all outputs."""
        draws: Tensor = self.belief.sample(n, generator, noise)
        return draws

    def log_prob(self, y: Tensor, mask: Mask = None, joint: bool = False) -> Tensor:
        """Log density of the observed outputs: `[T, M]` of each point (0 where masked), or `[T]` of all jointly."""
        check_outcome(y, self.mean, mask)
        observed = self.observed(y) if mask is None else self.observed(y) & mask.unsqueeze(-1)
        density: Tensor = self.belief.log_prob(y, observed, joint)
        return density

    @property
    def cdf(self) -> Any:
        """`cdf(y)`: the probability of an outcome of at most `y`, for each output; NaN where `y` is."""
        return self.belief.cdf

    @property
    def quantile(self) -> Any:
        """`quantile(p)`, of all outputs."""
        return self.belief.quantile

    @property
    def interval(self) -> Any:
        """`interval(level)`, of all outputs."""
        return self.belief.interval

    @property
    def discrete(self) -> bool:
        """Whether outcomes are whole numbers."""
        return getattr(self.belief, "discrete", False)

    def observed(self, y: Tensor) -> Tensor:
        """Whether each output was observed, bool `[T, M, dy]`."""
        return ~y.isnan()

    def rescale(self, shift: Tensor | float, scale: Any) -> "PartlyObserved":
        """The belief about `shift + scale * y`."""
        return PartlyObserved(self.belief.rescale(shift, scale))
