"""Independent binary outputs."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from quickstudy.learner import Interval
from quickstudy.predictive.outcomes import Mask, check_draws, check_outcome, check_possible, summed
from quickstudy.predictive.quantiles import Probability, central, outcomes, probabilities


class Bernoulli(NamedTuple):
    """Independent binary outputs, 0 or 1. Its quantiles are 0 or 1, too.

    Args:
        logits: log-odds of the outcome 1, `[T, M, dy]`.

    >>> belief = Bernoulli(torch.zeros(1, 2, 1))
    >>> belief.log_prob(torch.ones(1, 2, 1), joint=True)
    tensor([-1.3863])
    """

    logits: Float[Tensor, "T M dy"]

    @property
    def mean(self) -> Float[Tensor, "T M dy"]:
        """The probability of the outcome 1."""
        return self.logits.sigmoid()

    @property
    def variance(self) -> Float[Tensor, "T M dy"]:
        """p (1 - p)."""
        return self.logits.sigmoid() * (-self.logits).sigmoid()

    def sample(self, n: int, generator: torch.Generator | None = None, noise: bool = True) -> Float[Tensor, "n T M dy"]:
        """`n` draws of 0 or 1; without `noise`, each draw is the mean."""
        check_draws(n, generator, self.logits.device)
        mean = self.mean.expand(n, *self.logits.shape)
        return torch.bernoulli(mean, generator=generator) if noise else mean.clone()

    def log_prob(self, y: Float[Tensor, "T M dy"], mask: Mask = None, joint: bool = False) -> Tensor:
        """Log probability `[T, M]` of each point (0 where masked), or `[T]` of all points jointly.

        A mask `[T, M, dy]` leaves out the outputs where it is False.

        Raises:
            ValueError: for a value other than 0 and 1.
        """
        check_outcome(y, self.logits, mask, outputs=True)
        y = check_possible(y, (y == 0) | (y == 1), mask, "0 or 1")
        return summed(y * F.logsigmoid(self.logits) + (1 - y) * F.logsigmoid(-self.logits), mask, joint)

    @property
    def discrete(self) -> bool:
        """True: outcomes are whole numbers."""
        return True

    def cdf(self, y: Tensor | float) -> Tensor:
        """The probability of an outcome of at most `y [T, M, dy]`, or a number, for each point and output by itself."""
        y = outcomes(y, self.logits)
        found = torch.where(y < 0, 0.0, torch.where(y < 1, (-self.logits).sigmoid(), 1.0))
        return torch.where(y.isnan(), torch.nan, found)

    def quantile(self, p: Probability) -> Tensor:
        """0 where its probability is at least `p`, and otherwise 1; for several `p`, with an axis in front."""
        return ((-self.logits.double()).sigmoid() < probabilities(p, self.logits)).to(self.logits)

    def interval(self, level: Probability) -> Interval:
        """The central interval of probability `level`, or more, for each point and output by itself."""
        return central(self.quantile, level, self.logits)
