"""Functions drawn from Gaussian processes, with the log-likelihood of the exact posterior."""

import math
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import ClassVar, Self, final

import torch
from jaxtyping import Float
from torch import Tensor

from quickstudy.data import Examples, Tasks
from quickstudy.learner import Split
from quickstudy.predictive.outcomes import LOG_2PI
from quickstudy.predictive.parts.covariance import cholesky
from quickstudy.tasks.exact_gp import ExactGP
from quickstudy.tasks.kernels import KERNELS, PERIODIC, Kernel, covariance
from quickstudy.tasks.sampling import Batch, Range, as_domain, as_range, check_fields, positive, stretch

_DRAWN = ("lengthscale", "scale", "period", "noise")


@final
@dataclass(frozen=True)
class GaussianProcess:
    """Draws of a zero-mean Gaussian process; see `quickstudy.tasks.kernels.covariance` for the kernels.

    The defaults are those of the 1-D regression of Nguyen and Grover 2022 (Transformer Neural Processes). Every
    hyperparameter is a number for all tasks, or a `(low, high)` range drawn for every task.

    Args:
        kernel: "rbf", "matern52", "periodic" or "weakly_periodic".
        lengthscale: l, in units of x.
        scale: s, standard deviation of the function, in units of y.
        period: p, in units of x; used by the periodic kernels only.
        noise: standard deviation of the observation noise.
        domain: the interval from which every feature of x is drawn.
        dx: number of input features.

    Raises:
        ValueError: for an unknown kernel, a hyperparameter that is not positive, a negative noise, an empty domain.

    >>> family = GaussianProcess("matern52", lengthscale=0.25, scale=1.0)
    >>> tasks = family.sample(16, support=10, query=40, generator=torch.Generator().manual_seed(0))
    >>> belief = family.oracle(tasks)(tasks.query.x)
    >>> torch.allclose(belief.log_prob(tasks.query.y).float(), tasks.info["oracle_log_prob"], atol=1e-3)
    True
    """

    kernel: Kernel = "rbf"
    _: KW_ONLY
    lengthscale: Range = (0.1, 0.6)
    scale: Range = (0.1, 1.0)
    period: Range = (0.1, 0.5)
    noise: Range = 0.02
    domain: tuple[float, float] = (-2.0, 2.0)
    dx: int = 1
    dy: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.kernel not in KERNELS:
            raise ValueError(f"unknown kernel {self.kernel!r}; choose one of {', '.join(KERNELS)}")
        check_fields(self, positive, "lengthscale", "scale", "period")
        check_fields(self, partial(as_range, least=0), "noise")
        check_fields(self, as_domain, "domain")
        if self.dx < 1:
            raise ValueError(f"dx={self.dx}; expected at least one input feature")

    @classmethod
    def fixed(cls, kernel: Kernel = "rbf", *, dx: int = 1) -> Self:
        """The processes of Bruinsma et al. 2023 (Autoregressive CNPs): fixed hyperparameters, noise variance 0.05.

        Length scale 0.25 (0.5 for "weakly_periodic") times sqrt(dx), scale 1, period 0.25.
        """
        length = (0.5 if kernel in PERIODIC else 0.25) * math.sqrt(dx)
        return cls(kernel, lengthscale=length, scale=1.0, period=0.25, noise=math.sqrt(0.05), dx=dx)

    def sample(
        self,
        num_tasks: int,
        *,
        support: int,
        query: int,
        split: Split = "train",
        generator: torch.Generator | None = None,
        grid: bool = False,
    ) -> Tasks:
        """Draw tasks; the arguments are those of `Sinusoid.sample`.

        Returns:
            Tasks with `info` lengthscale, scale, noise and, for periodic kernels, period, each `[T]`; and the
            log-densities of the query points under the exact posterior: `oracle_log_prob [T, M]`, of each point by
            itself, and `oracle_joint_log_prob [T]`, of all points jointly.
        """
        batch = Batch(num_tasks, support, query, split, generator, grid)
        draws = batch.uniform(4, self.dx)
        info = {name: stretch(draws[:, i], getattr(self, name)) for i, name in enumerate(_DRAWN)}
        if self.kernel not in PERIODIC:
            del info["period"]
        x = batch.inputs(draws[:, 4:], self.domain, self.dx)
        white = batch.noise(1, torch.float64)
        if batch.held_out:
            factor, white = _support_first(self._factor(x.roll(query, 1), info), white.roll(query, 1), query)
        else:
            factor = self._factor(x, info)
        info |= {k: v.to(x.dtype) for k, v in _oracle(factor[:, support:, support:], white[:, support:]).items()}
        return batch.tasks(x, (factor @ white).to(x.dtype), info)

    def matrix(
        self, x1: Float[Tensor, "T A dx"], x2: Float[Tensor, "T B dx"], info: Mapping[str, Tensor]
    ) -> Float[Tensor, "T A B"]:
        """The covariance of the functions between two sets of inputs, without noise; `info` as in `sample`."""
        return covariance(self.kernel, x1, x2, info)

    def posterior(self, support: Examples, info: Mapping[str, Tensor]) -> ExactGP:
        """The exact posterior given `support`, with the hyperparameters of the tasks in `info`."""
        return ExactGP(support, info, kernel=self.kernel)

    def oracle(self, tasks: Tasks) -> ExactGP:
        """The exact posterior given the support sets of `tasks`: the best possible predictor."""
        return self.posterior(tasks.support, tasks.info)

    def _factor(self, x: Tensor, info: Mapping[str, Tensor]) -> Tensor:
        """The Cholesky factor of the covariance of the outputs at `x`, noise included, in float64."""
        wide = x.double()
        joint = self.matrix(wide, wide, info)
        joint.diagonal(dim1=1, dim2=2).add_(info["noise"].double().square().unsqueeze(1))
        return cholesky(joint)


def _support_first(factor: Tensor, white: Tensor, query: int) -> tuple[Tensor, Tensor]:
    """The same draws y = L e with the support before the query, from L and e with the query before the support.

    Held-out functions are drawn with the query first, so that their values there do not depend on the support. With P
    the change of order and P L = R^T Q^T by a QR decomposition, P y = R^T (Q^T e): a triangular factor again, without
    the rounding of a second Cholesky decomposition.
    """
    q, r = torch.linalg.qr(factor.roll(-query, 1).mT)
    signs = r.diagonal(dim1=1, dim2=2).sign().unsqueeze(2)
    return (signs * r).mT, signs * (q.mT @ white)


def _oracle(factor: Tensor, white: Tensor) -> dict[str, Tensor]:
    """The exact posterior's log-densities of the query, from the query's block L22 of the joint Cholesky factor.

    The outputs are y = L e with the support first, so given the support the query has mean L21 e1 and covariance
    L22 L22^T. The residual is L22 e2, so no system has to be solved.
    """
    variance = factor.square().sum(2)
    residual = (factor @ white).squeeze(2)
    points = -0.5 * (residual.square() / variance + variance.log() + LOG_2PI)
    steps = -0.5 * (white.squeeze(2).square() + LOG_2PI) - factor.diagonal(dim1=1, dim2=2).log()
    return {"oracle_log_prob": points, "oracle_joint_log_prob": steps.sum(1)}
