"""A belief about outcomes whose linear predictor is normal."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from quickstudy.data import aligned, at_least_float32
from quickstudy.learner import Interval
from quickstudy.metric.generalized.laplace import Rows, laplace
from quickstudy.metric.generalized.quadrature import average_cdf, log_average
from quickstudy.predictive.outcomes import Mask, check_draws, check_outcome, check_possible, normal, summed
from quickstudy.predictive.parts.bisection import smallest_whole
from quickstudy.predictive.quantiles import Probability, central, outcomes, probabilities

DOUBLINGS = 60  # largest number of steps to an upper bound of a quantile


class GeneralizedLinear(NamedTuple):
    """Outcomes with a likelihood p(y | eta), where eta = link + factor u with a standard normal u for each output.

    The probability of a single outcome is an average over its eta, by quadrature to about nine digits. A joint density
    is an integral over u, by Laplace's approximation; draws are exact. Everything is computed in float64.

    Args:
        likelihood: p(y | eta), with parameters `[dy]`; see `metric.generalized.likelihoods`.
        link: the mean of eta, `[T, M, dy]`.
        factor: `[T, M, dy, R]`.

    >>> from quickstudy.metric.generalized.likelihoods import PoissonRows
    >>> belief = GeneralizedLinear(PoissonRows(), torch.zeros(1, 1, 1), torch.ones(1, 1, 1, 1))
    >>> belief.mean, belief.quantile(0.9)
    (tensor([[[1.6487]]]), tensor([[[4.]]]))
    """

    likelihood: Any
    link: Tensor
    factor: Tensor

    @property
    def mean(self) -> Tensor:
        """The mean, `[T, M, dy]`; of binary outcomes the probability of 1."""
        mean: Tensor = self._wide().moments(*self._eta()).mean.to(self.link)
        return mean

    @property
    def variance(self) -> Tensor:
        """The variance of an outcome, `[T, M, dy]`."""
        variance: Tensor = self._wide().moments(*self._eta()).variance.to(self.link)
        return variance

    @property
    def discrete(self) -> bool:
        """Whether outcomes are whole numbers."""
        return bool(self.likelihood.discrete)

    def sample(self, n: int, generator: torch.Generator | None = None, noise: bool = True) -> Tensor:
        """`n` joint draws `[n, T, M, dy]`; without `noise`, of the mean given eta."""
        check_draws(n, generator, self.link.device)
        tasks, _, outputs, rank = self.factor.shape
        u = normal((n, tasks, 1, outputs, rank), self.link.double(), generator)
        eta = self.link.double() + (self.factor.double() * u).sum(-1)
        drawn: Tensor = self._wide().draw(eta, generator) if noise else self._wide().inverse_link(eta)
        return drawn.to(self.link)

    def log_prob(self, y: Tensor, mask: Mask = None, joint: bool = False) -> Tensor:
        """Log density or probability `[T, M]` of each point (0 where masked), or `[T]` of all points jointly.

        A mask `[T, M, dy]` leaves out the outputs where it is False.

        Raises:
            ValueError: for an outcome that the likelihood does not allow.
        """
        check_outcome(y, self.link, mask, outputs=True)
        y = check_possible(y, self.likelihood.possible(y), mask, self.likelihood.expects).double()
        found = self._jointly(y, mask) if joint else summed(self._each(y), mask, joint=False)
        return found.to(at_least_float32(self.link))

    def cdf(self, y: Any) -> Tensor:
        """The probability of an outcome of at most `y [T, M, dy]`, or a number, for each point and output by itself."""
        y = outcomes(y, self.link).double()
        if self.discrete:
            found = average_cdf(self._wide(), y, *self._eta())
        else:
            found = self._wide().mixed(*self._eta()).cdf(y.flatten(-2).unsqueeze(-1)).view_as(y)
        return torch.where(y.isnan(), torch.nan, found).to(self.link)

    def quantile(self, p: Probability) -> Tensor:
        """The smallest outcome whose `cdf` is at least `p`; for several `p`, with an axis in front."""
        if not self.discrete:
            found: Tensor = self._wide().mixed(*self._eta()).quantile(p)
            return found.view(*found.shape[:-3], *self.link.shape).to(self.link)
        with torch.no_grad():
            levels = probabilities(p, self.link)
            enough = levels - 8 * torch.finfo(at_least_float32(self.link)).eps * torch.minimum(levels, 1 - levels)

            def reached(y: Tensor) -> Tensor:
                return average_cdf(self._wide(), y, *self._eta()) >= enough

            high = torch.zeros(torch.broadcast_shapes(levels.shape, self.link.shape), dtype=torch.float64)
            high = high.to(self.link.device)
            for _ in range(DOUBLINGS):
                below = ~reached(high) & (levels < 1)
                if not bool(below.any()):
                    break
                high = torch.where(below, 2 * high + 1, high)
            found = smallest_whole(reached, (high - 1) / 2, high)
            return torch.where(levels == 1, torch.inf, torch.where(levels == 0, 0.0, found)).to(self.link)

    def interval(self, level: Probability) -> Interval:
        """The central interval of probability `level`, of whole numbers at least, for each outcome by itself."""
        return central(self.quantile, level, self.link)

    @property
    def rescale(self) -> Callable[[Any, Any], "GeneralizedLinear"]:
        """`rescale(shift, scale)`: the belief about `shift + scale * y`, of real outcomes."""
        if self.discrete:
            raise AttributeError("whole numbers have no units, so that this belief has no rescale")
        return self._rescaled

    def _rescaled(self, shift: Any, scale: Any) -> "GeneralizedLinear":
        size = torch.as_tensor(scale, dtype=self.link.dtype, device=self.link.device)
        likelihood = self.likelihood._replace(log_scale=self.likelihood.log_scale + size.abs().log())
        return GeneralizedLinear(likelihood, shift + size * self.link, size.unsqueeze(-1) * self.factor)

    def _wide(self) -> Any:
        """The likelihood in float64."""
        return type(self.likelihood)(*(part.double() for part in self.likelihood))

    def _eta(self) -> tuple[Tensor, Tensor]:
        """Mean and variance of eta, `[T, M, dy]`."""
        return self.link.double(), self.factor.double().square().sum(-1)

    def _each(self, y: Tensor) -> Tensor:
        """The log density of each outcome by itself, `[T, M, dy]`."""
        if self.discrete:
            return log_average(self._wide(), y, *self._eta())
        mixed = self._wide().mixed(*self._eta())
        found: Tensor = mixed.log_prob(y.flatten(1).unsqueeze(2))
        return found.view_as(y)

    def _jointly(self, y: Tensor, mask: Mask) -> Tensor:
        """The joint log density, `[T]`."""
        real = torch.ones_like(y, dtype=torch.bool) if mask is None else aligned(mask, y).expand_as(y)
        y = torch.where(real, y, 0.0)
        parts = (y, real, self.link.double(), self.factor.double())
        rows = Rows(*(part.transpose(1, 2).flatten(0, 1) for part in parts))
        own = type(self.likelihood)(*(part.repeat(len(y)).unsqueeze(1) for part in self._wide()))
        return laplace(own, rows).log_marginal.view(len(y), -1).sum(1)
