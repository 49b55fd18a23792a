"""A normal belief about the last layers of `T` tasks, and its update by observed points."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from quickstudy.predictive import LowRankGaussian


class Weights(NamedTuple):
    """A belief about last layers `K [features, dy]`, in float64: column d is N(mean_d, Sigma_d root root^T).

    Args:
        mean: `[T, features, dy]`, or `[features, dy]` for all tasks.
        root: `[T, features, features]`, or `[features, features]` for all tasks.
    """

    mean: Tensor
    root: Tensor

    def given(self, features: Tensor, y: Tensor) -> "Weights":
        """The belief after points with `features [T, N, features]` and outputs `y [T, N, dy]`. Zeros change nothing.

        With A = Phi root and R = Y - Phi mean, the new mean is mean + root (I + A^T A)^-1 A^T R, and the new root is
        root B with B B^T = (I + A^T A)^-1: one linear system of size min(N, features). If N <= features,
        B = I - A^T L^-T (L + I)^-1 A with L L^T = I + A A^T (Andrews 1968, A square root formulation of the Kalman
        covariance equations, AIAA J. 6(6)), a form in which no variance can become negative.
        """
        mean, root = self
        white = features.double() @ root  # A: features in which the belief is standard normal
        left = y.double() - features.double() @ mean
        if features.shape[1] <= features.shape[2]:
            factor = _cholesky(white @ white.mT)
            gain = torch.linalg.solve_triangular(factor + _eye(factor), white, upper=False)
            gain = torch.linalg.solve_triangular(factor.mT, gain, upper=True)
            news = white.mT @ torch.cholesky_solve(left, factor)
            return Weights(mean + root @ news, root - (white @ root.mT).mT @ gain)
        factor = _cholesky(white.mT @ white)
        news = torch.cholesky_solve(white.mT @ left, factor)
        return Weights(mean + root @ news, torch.linalg.solve_triangular(factor, root.mT, upper=False).mT)

    def at(self, features: Tensor, variance: Tensor) -> LowRankGaussian:
        """The belief about outputs at points with `features [T, M, features]`; `variance [dy]` is that of the noise."""
        wide = features.double()
        mean, factor = (wide @ part for part in self)
        return LowRankGaussian(mean.to(features), factor.to(features), variance.expand(len(features), -1))

    def sample(self, n: int, variance: Tensor, generator: torch.Generator | None) -> Tensor:
        """`n` last layers for each task, `[n, T, features, dy]`."""
        shape = (n, *self.mean.shape)
        draw = torch.randn(shape, dtype=self.mean.dtype, device=self.mean.device, generator=generator)
        return self.mean + self.root @ draw * variance.sqrt()


def _cholesky(gram: Tensor) -> Tensor:
    """The lower Cholesky factor of I + `gram`; NaN where it does not exist in floating point."""
    factor, failed = torch.linalg.cholesky_ex(gram + _eye(gram))
    return factor.masked_fill((failed != 0)[:, None, None], math.nan)


def _eye(like: Tensor) -> Tensor:
    return torch.eye(like.shape[-1], dtype=like.dtype, device=like.device)
