"""A joint normal distribution over the points of a task, given by a factor of its covariance."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from quickstudy.data import at_least_float32
from quickstudy.learner import Interval
from quickstudy.predictive.outcomes import (
    LOG_2PI,
    Mask,
    check_draws,
    check_outcome,
    filled,
    normal,
    normal_log_prob,
    reduced,
)
from quickstudy.predictive.parts.covariance import cholesky
from quickstudy.predictive.quantiles import Probability, central, normal_cdf, normal_quantile


class LowRankGaussian(NamedTuple):
    """A joint normal distribution over the points of a task, as of a linear model with R weights; outputs independent.

    The covariance of output d is noise_d (I + F F^T) with F the factor; it is never built. Densities are computed in
    float64, from a system of size R.

    Args:
        mean: `[T, M, dy]`.
        factor: `[T, M, R]`, F: the function's covariance is F F^T in units of the noise variance.
        noise: `[T, dy]`, variance of the observation noise.

    >>> belief = LowRankGaussian(torch.zeros(1, 2, 1), torch.ones(1, 2, 1), torch.ones(1, 1))
    >>> belief.variance.flatten(), belief.log_prob(torch.zeros(1, 2, 1), joint=True)
    (tensor([2., 2.]), tensor([-2.3872]))
    """

    mean: Float[Tensor, "T M dy"]
    factor: Float[Tensor, "T M R"]
    noise: Float[Tensor, "T dy"]

    @property
    def variance(self) -> Float[Tensor, "T M dy"]:
        """The variance of an observation: that of the function plus the noise."""
        return (1 + self.factor.square().sum(2, keepdim=True)) * self.noise.unsqueeze(1)

    def sample(self, n: int, generator: torch.Generator | None = None, noise: bool = True) -> Float[Tensor, "n T M dy"]:
        """`n` joint draws of observations; without `noise`, of the function itself."""
        check_draws(n, generator, self.mean.device)
        tasks, points, outputs = self.mean.shape
        values = self.factor @ normal((n, tasks, self.factor.shape[2], outputs), self.mean, generator)
        if noise:
            values = values + normal((n, tasks, points, outputs), self.mean, generator)
        return self.mean + self.noise.sqrt().unsqueeze(1) * values

    def log_prob(self, y: Float[Tensor, "T M dy"], mask: Mask = None, joint: bool = False) -> Tensor:
        """Log density `[T, M]` of each point by itself (0 where masked), or `[T]` of all points jointly."""
        check_outcome(y, self.mean, mask)
        y = filled(y, self.mean, mask)
        if not joint:
            return reduced(normal_log_prob(y, self.mean, self.variance).sum(-1), mask, joint=False)
        factor, noise = self.factor.double(), self.noise.double()
        residual = (y - self.mean).double() / noise.sqrt().unsqueeze(1)
        count = torch.full((len(y),), float(y.shape[1]), dtype=factor.dtype, device=y.device)
        if mask is not None:  # a point with factor and residual 0 adds nothing
            factor, residual = (torch.where(mask.unsqueeze(2), part, 0.0) for part in (factor, residual))
            count = mask.sum(1).to(factor)
        root = cholesky(factor.mT @ factor + torch.eye(factor.shape[2], dtype=factor.dtype, device=y.device))
        # r^T (I + F F^T)^-1 r = min_z |r - F z|^2 + |z|^2, a sum without cancellation
        z = torch.cholesky_solve(factor.mT @ residual, root)
        squares = (residual - factor @ z).square().sum((1, 2)) + z.square().sum((1, 2))
        log_det = 2 * y.shape[2] * root.diagonal(dim1=1, dim2=2).log().sum(1) + count * noise.log().sum(1)
        return (-0.5 * (squares + log_det + LOG_2PI * count * y.shape[2])).to(at_least_float32(y))

    def cdf(self, y: Tensor | float) -> Tensor:
        """The probability of an outcome of at most `y [T, M, dy]`, or a number, for each point and output by itself."""
        return normal_cdf(y, self.mean, self.variance)

    def quantile(self, p: Probability) -> Tensor:
        """The `p`-quantile of each point and output by itself; for several `p`, with an axis in front."""
        return normal_quantile(p, self.mean, self.variance)

    def interval(self, level: Probability) -> Interval:
        """The central interval of probability `level`, for each point and output by itself."""
        return central(self.quantile, level, self.mean)

    def rescale(self, shift: Tensor | float, scale: Tensor | float) -> "LowRankGaussian":
        """The belief about `shift + scale * y`; `scale` is one number, or one per output."""
        return LowRankGaussian(shift + scale * self.mean, self.factor, scale**2 * self.noise)
