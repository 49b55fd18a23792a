"""Functions drawn from a Gaussian process."""

from collections.abc import Callable

import torch
from torch import Tensor

from quickstudy.predictive import DenseGaussian
from quickstudy.predictive.outcomes import normal
from quickstudy.predictive.parts.covariance import alone_where_masked, cholesky

_JITTER = 1e-10  # share of the variance that is added to it


class GaussianDrawing:
    """Draws values of `n` functions without noise, given those that they have: exact, by conditioning on them.

    Args:
        belief: the joint belief about any points `[T, M, dx]` of a process.
        n: number of functions.
        generator: source of the random values.
    """

    def __init__(self, belief: Callable[[Tensor], DenseGaussian], n: int, generator: torch.Generator):
        self._belief, self._n, self._generator = belief, n, generator
        self._x: Tensor | None = None  # [T, K, dx]
        self._values: Tensor | None = None  # [n, T, K, dy]
        self._real: Tensor | None = None  # [T, K]

    def draw(self, x: Tensor) -> Tensor:
        """The values `[n, T, M, dy]` at `x [T, M, dx]`."""
        if self._x is None or self._values is None or self._real is None:
            mean, covariance = _parts(self._belief(x))
            return self._drawn(mean, covariance, covariance).to(x)
        count = self._x.shape[1]
        mean, covariance = _parts(self._belief(torch.cat([self._x, x], 1)))
        real = self._real.unsqueeze(1)
        within = alone_where_masked(_lifted(covariance[..., :count, :count]), real)
        cross = torch.where(real.unsqueeze(3), covariance[..., :count, count:], 0.0)
        factor = cholesky(within)
        gain = torch.linalg.solve_triangular(factor, cross, upper=False)  # [T, dy, K, M]
        left = torch.where(real, self._values.double().transpose(2, 3) - mean[..., :count], 0.0)  # [n, T, dy, K]
        left = torch.linalg.solve_triangular(factor, left.unsqueeze(4), upper=False)
        shift = (gain.mT @ left).squeeze(4)
        asked = covariance[..., count:, count:]
        return self._drawn(mean[..., count:] + shift, asked - gain.mT @ gain, asked).to(x)

    def observe(self, x: Tensor, values: Tensor, new: Tensor) -> None:
        """Keep the new values."""
        if self._x is None or self._values is None or self._real is None:
            self._x, self._values, self._real = x, values, new
            return
        self._x = torch.cat([self._x, x], 1)
        self._values = torch.cat([self._values, values], 2)
        self._real = torch.cat([self._real, new], 1)

    def _drawn(self, mean: Tensor, covariance: Tensor, prior: Tensor) -> Tensor:
        """Draws `[n, T, M, dy]`; `prior` has the variances before conditioning, which say what is tiny."""
        factor = cholesky(_lifted(covariance, prior))
        draw = normal((self._n, *covariance.shape[:-1]), covariance, self._generator)
        return (mean + (factor @ draw.unsqueeze(-1)).squeeze(-1)).transpose(2, 3)


def _parts(belief: DenseGaussian) -> tuple[Tensor, Tensor]:
    """Mean `[T, dy, M]` and covariance `[T, dy, M, M]`, in float64."""
    return belief.mean.double().transpose(1, 2), belief.covariance.double()


def _lifted(covariance: Tensor, like: Tensor | None = None) -> Tensor:
    """The covariance with a tiny share of the variances of `like`, by default its own, added to its diagonal."""
    tiny = _JITTER * (covariance if like is None else like).diagonal(dim1=-2, dim2=-1).clamp_min(0)
    return covariance + tiny.diag_embed()
