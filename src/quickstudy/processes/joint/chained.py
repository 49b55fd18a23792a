"""A belief about several points whose joint density is a product along their given order."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from quickstudy.learner import Interval, Predictive
from quickstudy.predictive.outcomes import Mask
from quickstudy.predictive.rescaled import Rescaled, rescaled
from quickstudy.processes.joint.autoregressive import Autoregressive, AutoregressiveBelief


@dataclass(frozen=True)
class ChainedBelief:
    """A belief about the outputs at `M` points of `T` tasks.

    `mean`, `variance`, `log_prob(y)`, and `cdf`, `quantile` and `interval`, or `probs` and `logits`, where the belief
    about a point has them, are those of each point by itself. `sample` and `log_prob(y, joint=True)` predict the points
    one after another, in the order in which they were given.

    Args:
        alone: the belief about each point by itself.
        chain: the joint belief in the given order.
    """

    alone: Any
    chain: AutoregressiveBelief

    @property
    def mean(self) -> Tensor:
        """`[T, M, dy]`; of labels the class probabilities, `[T, M, C]`."""
        mean: Tensor = self.alone.mean
        return mean

    @property
    def variance(self) -> Tensor:
        """The variance of an observation, `[T, M, dy]`."""
        variance: Tensor = self.alone.variance
        return variance

    @property
    def cdf(self) -> Callable[[Any], Tensor]:
        """`cdf(y)`: the probability of an outcome of at most `y [T, M, dy]`, for each point and output by itself."""
        below: Callable[[Any], Tensor] = self.alone.cdf
        return below

    @property
    def quantile(self) -> Callable[[Any], Tensor]:
        """`quantile(p)` of each point and output by itself."""
        quantile: Callable[[Any], Tensor] = self.alone.quantile
        return quantile

    @property
    def interval(self) -> Callable[[Any], Interval]:
        """`interval(level)` of each point and output by itself."""
        interval: Callable[[Any], Interval] = self.alone.interval
        return interval

    @property
    def discrete(self) -> bool:
        """Whether outcomes are whole numbers."""
        return getattr(self.alone, "discrete", False)

    @property
    def observed(self) -> Callable[[Tensor], Tensor]:
        """`observed(y)`: whether each output was observed, if NaN stands for a missing one."""
        observed: Callable[[Tensor], Tensor] = self.alone.observed
        return observed

    @property
    def probs(self) -> Tensor:
        """The class probabilities `[T, M, C]` of each point by itself."""
        probs: Tensor = self.alone.probs
        return probs

    @property
    def logits(self) -> Tensor:
        """The unnormalised logarithms `[T, M, C]` of the class probabilities of each point by itself."""
        logits: Tensor = self.alone.logits
        return logits

    def log_prob(self, y: Tensor, mask: Mask = None, joint: bool = False) -> Tensor:
        """Log density `[T, M]` of each point by itself (0 where masked), or `[T]` of all points jointly."""
        belief: Predictive = self.chain if joint else self.alone
        return belief.log_prob(y, mask, joint)

    def sample(self, n: int, generator: torch.Generator | None = None, noise: bool = True) -> Tensor:
        """`n` joint draws `[n, T, M, dy]`; without `noise`, the means of the beliefs that they are drawn from."""
        return self.chain.sample(n, generator, noise)

    @property
    def rescale(self) -> Callable[[Any, Any], Rescaled]:
        """`rescale(shift, scale)`: the belief about `shift + scale * y`, for real outcomes."""
        _ = self.alone.rescale  # raises AttributeError for others
        return lambda shift, scale: rescaled(self, shift, scale)


def chained_belief(process: Any, state: Any, x: Tensor) -> ChainedBelief:
    """The belief at `x [T, M, dx]` of a process that has `outputs`, `chained` and `stream`."""
    alone = process.head(process.outputs(state, x), process.dy)
    graph = any(parameter.requires_grad for parameter in process.parameters())
    return ChainedBelief(alone, Autoregressive(process, state, "given", 1, 0, graph)(x))
