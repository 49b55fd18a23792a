"""A joint normal distribution over all outputs of a task: a covariance of low rank plus a diagonal."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from quickstudy.data import aligned, at_least_float32
from quickstudy.learner import Interval
from quickstudy.predictive.outcomes import (
    LOG_2PI,
    Mask,
    check_draws,
    check_outcome,
    filled,
    normal,
    normal_log_prob,
    summed,
)
from quickstudy.predictive.parts.covariance import cholesky
from quickstudy.predictive.quantiles import Probability, central, normal_cdf, normal_quantile


class LowRankPlusDiagonal(NamedTuple):
    """A joint normal distribution over all points and outputs of a task, with covariance F F^T + diag(noise).

    The covariance is never built. Joint densities are computed in float64, from a system of size R.

    Args:
        mean: `[T, M, dy]`.
        factor: `[T, M, dy, R]`, F: the covariance of the function is F F^T.
        noise: `[T, M, dy]`, the variance of the observation noise, positive.

    >>> belief = LowRankPlusDiagonal(torch.zeros(1, 2, 1), torch.ones(1, 2, 1, 1), torch.ones(1, 2, 1))
    >>> belief.variance.flatten(), belief.log_prob(torch.zeros(1, 2, 1), joint=True)
    (tensor([2., 2.]), tensor([-2.3872]))
    """

    mean: Float[Tensor, "T M dy"]
    factor: Float[Tensor, "T M dy R"]
    noise: Float[Tensor, "T M dy"]

    @property
    def variance(self) -> Float[Tensor, "T M dy"]:
        """The variance of an observation: that of the function plus the noise."""
        return self.factor.square().sum(-1) + self.noise

    def sample(self, n: int, generator: torch.Generator | None = None, noise: bool = True) -> Float[Tensor, "n T M dy"]:
        """`n` joint draws of observations; without `noise`, of the function itself."""
        check_draws(n, generator, self.mean.device)
        z = normal((n, len(self.mean), 1, self.factor.shape[3], 1), self.mean, generator)
        values = self.mean + (self.factor @ z).squeeze(-1)
        if noise:
            values = values + self.noise.sqrt() * normal(values.shape, values, generator)
        return values

    def log_prob(self, y: Float[Tensor, "T M dy"], mask: Mask = None, joint: bool = False) -> Tensor:
        """Log density `[T, M]` of each point by itself (0 where masked), or `[T]` of all points jointly.

        A mask `[T, M, dy]` marginalises the outputs where it is False.
        """
        check_outcome(y, self.mean, mask, outputs=True)
        y = filled(y, self.mean, mask)
        if not joint:
            return summed(normal_log_prob(y, self.mean, self.variance), mask, joint=False)
        sd, rank = self.noise.double().sqrt(), self.factor.shape[3]
        # in units of the noise: r ~ N(0, I + F F^T)
        factor, residual = self.factor.double() / sd.unsqueeze(-1), (y - self.mean).double() / sd
        diagonal = 2 * sd.log() + LOG_2PI
        if mask is not None:  # an output with factor and residual 0 adds nothing
            real = aligned(mask, y)
            factor = torch.where(real.unsqueeze(3), factor, 0.0)
            residual, diagonal = (torch.where(real, part, 0.0) for part in (residual, diagonal))
        factor, residual = factor.flatten(1, 2), residual.flatten(1).unsqueeze(2)
        root = cholesky(factor.mT @ factor + torch.eye(rank, dtype=factor.dtype, device=y.device))
        # r^T (I + F F^T)^-1 r = min_z |r - F z|^2 + |z|^2, a sum without cancellation
        z = torch.cholesky_solve(factor.mT @ residual, root)
        squares = (residual - factor @ z).square().sum((1, 2)) + z.square().sum((1, 2))
        log_det = 2 * root.diagonal(dim1=1, dim2=2).log().sum(1)
        return (-0.5 * (squares + log_det + diagonal.sum((1, 2)))).to(at_least_float32(y))

    def cdf(self, y: Tensor | float) -> Tensor:
        """The probability of an outcome of at most `y [T, M, dy]`, or a number, for each point and output by itself."""
        return normal_cdf(y, self.mean, self.variance)

    def quantile(self, p: Probability) -> Tensor:
        """The `p`-quantile of each point and output by itself; for several `p`, with an axis in front."""
        return normal_quantile(p, self.mean, self.variance)

    def interval(self, level: Probability) -> Interval:
        """The central interval of probability `level`, for each point and output by itself."""
        return central(self.quantile, level, self.mean)

    def rescale(self, shift: Tensor | float, scale: Tensor | float) -> "LowRankPlusDiagonal":
        """The belief about `shift + scale * y`; `scale` is one number, or one per output."""
        wide = scale.unsqueeze(-1) if isinstance(scale, Tensor) and scale.dim() else scale
        return LowRankPlusDiagonal(shift + scale * self.mean, wide * self.factor, scale**2 * self.noise)
