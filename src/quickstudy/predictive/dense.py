"""A joint normal distribution over the points of a task, given by its covariance."""

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
from quickstudy.predictive.parts.covariance import alone_where_masked, cholesky
from quickstudy.predictive.quantiles import Probability, central, normal_cdf, normal_quantile


class DenseGaussian(NamedTuple):
    """A joint normal distribution over the points of a task, as of an exact Gaussian process; outputs are independent.

    Joint densities and samples are computed in float64. The covariance and the noise may be in float64 while the mean
    is not, as near points make a covariance nearly singular; variances and samples have the dtype of the mean.

    Args:
        mean: `[T, M, dy]`.
        covariance: `[T, dy, M, M]`, of the function's values without observation noise.
        noise: variance of the observation noise, `[T]`, or `[T, M, dy]` if it differs between points and outputs.
    """

    mean: Float[Tensor, "T M dy"]
    covariance: Float[Tensor, "T dy M M"]
    noise: Float[Tensor, " T"] | Float[Tensor, "T M dy"]

    @property
    def variance(self) -> Float[Tensor, "T M dy"]:
        """The variance of an observation: that of the function plus the noise."""
        diagonal = self.covariance.diagonal(dim1=-2, dim2=-1).transpose(1, 2)
        return (diagonal.clamp_min(0) + aligned(self.noise, self.mean)).to(self.mean)

    def sample(self, n: int, generator: torch.Generator | None = None, noise: bool = True) -> Float[Tensor, "n T M dy"]:
        """`n` joint draws of observations; without `noise`, of the function itself."""
        check_draws(n, generator, self.mean.device)
        draw = normal((n, *self.covariance.shape[:-1]), self.mean, generator)
        factor = cholesky(self._covariance(noise)).to(draw)
        return self.mean + (factor @ draw.unsqueeze(-1)).squeeze(-1).transpose(-2, -1)

    def log_prob(self, y: Float[Tensor, "T M dy"], mask: Mask = None, joint: bool = False) -> Tensor:
        """Log density `[T, M]` of each point by itself (0 where masked), or `[T]` of all points jointly.

        A mask `[T, M, dy]` marginalises the outputs where it is False.
        """
        check_outcome(y, self.mean, mask, outputs=True)
        y = filled(y, self.mean, mask)
        if not joint:
            return summed(normal_log_prob(y, self.mean, self.variance), mask, joint=False)
        real = torch.ones_like(y, dtype=torch.bool) if mask is None else aligned(mask, y).expand_as(y)
        real = real.transpose(1, 2)  # [T, dy, M]
        factor = cholesky(alone_where_masked(self._covariance(noise=True), real))
        residual = (y.double() - self.mean.double()).transpose(1, 2).unsqueeze(-1)
        white = torch.linalg.solve_triangular(factor, residual, upper=False).squeeze(-1)
        steps = -0.5 * (white.square() + LOG_2PI) - factor.diagonal(dim1=-2, dim2=-1).log()  # [T, dy, M]
        return torch.where(real, steps, 0.0).sum((1, 2)).to(at_least_float32(y - self.mean))

    def cdf(self, y: Tensor | float) -> Tensor:
        """The probability of an outcome of at most `y [T, M, dy]`, or a number, for each point and output by itself."""
        return normal_cdf(y, self.mean, self.variance)

    def quantile(self, p: Probability) -> Tensor:
        """The `p`-quantile of each point and output by itself; for several `p`, with an axis in front."""
        return normal_quantile(p, self.mean, self.variance)

    def interval(self, level: Probability) -> Interval:
        """The central interval of probability `level`, for each point and output by itself."""
        return central(self.quantile, level, self.mean)

    def rescale(self, shift: Tensor | float, scale: Tensor | float) -> "DenseGaussian":
        """The belief about `shift + scale * y`; `scale` is one number, or one per output `[dy]`."""
        if not isinstance(scale, Tensor) or not scale.dim():
            return DenseGaussian(shift + scale * self.mean, scale**2 * self.covariance, scale**2 * self.noise)
        square = scale.square()
        noise = square * aligned(self.noise, self.mean)
        covariance = square[:, None, None] * self.covariance
        return DenseGaussian(shift + scale * self.mean, covariance, noise.expand_as(self.mean))

    def _covariance(self, noise: bool) -> Tensor:
        if not noise:
            return self.covariance
        noise_of_points = aligned(self.noise, self.mean).expand_as(self.mean).transpose(1, 2)
        return self.covariance + torch.diag_embed(noise_of_points)
