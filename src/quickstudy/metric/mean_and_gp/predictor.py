"""The process of each group given some of its rows, as a predictor."""

from dataclasses import dataclass, replace
from typing import NamedTuple, NoReturn

import torch
from torch import Tensor, nn

from quickstudy.checks import check_inputs, check_more
from quickstudy.data import Examples
from quickstudy.learner import check_task
from quickstudy.metric.bases.basis import Standardised
from quickstudy.metric.mean_and_gp.fitting import thinned
from quickstudy.metric.mean_and_gp.process import Process
from quickstudy.predictive import DenseGaussian
from quickstudy.predictive.parts.covariance import cholesky


class Seen(NamedTuple):
    """What is computed once of the rows seen: `[T dy, N, ...]`."""

    points: tuple[Tensor, Tensor]  # standardised inputs, and the features of the curve
    real: Tensor  # [T dy, N, 1]
    factor: Tensor  # the Cholesky factor of the covariance of the outputs, in units of the noise variance
    left: Tensor  # the outputs without the curve, whitened


@dataclass(frozen=True)
class MeanAndGPPredictor:
    """The exact posterior of each group's curve; made by `MeanAndGP.adapt`.

    Outputs are independent, so output d of group t is one of `T dy` processes, at place `t dy + d`.
    """

    process: Process  # of T dy outputs
    inputs: Standardised
    center: Tensor  # [dy]
    spread: Tensor  # [dy]
    rows: int  # largest number of rows of a group that are used
    support: Examples
    seen: Seen | None = None
    graph: bool = False
    prior: bool = False

    def __call__(self, x: Tensor) -> DenseGaussian:
        """The joint belief at `x [T, M, dx]`."""
        check_inputs(x, self.support)
        with torch.set_grad_enabled(torch.is_grad_enabled() and (self.graph or x.requires_grad)):
            return self._belief(x, self._seen() if self.seen is None else self.seen)

    def append(self, examples: Examples) -> "MeanAndGPPredictor":
        """The predictor for the union. Made with `steps=0`, it stays the prior."""
        check_more(examples, self.support)
        return self if self.prior else self.given(examples)

    def given(self, examples: Examples) -> "MeanAndGPPredictor":
        """`append` without the checks."""
        more = replace(self, support=self.support.append(examples))
        return replace(more, seen=more._seen())

    def functions(self, n: int, generator: torch.Generator | None = None) -> NoReturn:
        """Raises NotImplementedError."""
        raise NotImplementedError(
            "MeanAndGP has no functions that are consistent between calls; draw at all inputs at once, by "
            "predictor(x).sample(n, noise=False)"
        )

    def task(self, i: int) -> nn.Module:
        """Group `i`'s mean function as a plain module `[M, dx] -> [M, dy]`."""
        i = check_task(i, self.support.num_tasks)
        own = replace(self, process=self.process.first(len(self.center)), support=self.support.select(i), seen=None)
        return MeanOfGroup(own if self.prior else replace(own, seen=own._seen()))

    def _seen(self) -> Seen:
        few = thinned(self.support.clean(), self.rows)
        points, real = self._points(few.x), self._each(few.real()).unsqueeze(2)
        within = torch.where(real & real.mT, self.process.covariance(points, points), 0.0)
        factor = cholesky(within + torch.eye(within.shape[1], dtype=within.dtype, device=within.device))
        y = ((few.y.double() - self.center) / self.spread).transpose(1, 2).flatten(0, 1).unsqueeze(2)
        left = torch.where(real, y - points[1] @ self.process.weights, 0.0)
        return Seen(points, real, factor, torch.linalg.solve_triangular(factor, left, upper=False))

    def _belief(self, x: Tensor, seen: Seen) -> DenseGaussian:
        """Rasmussen and Williams 2006, eq. 2.22 to 2.24, with the curve's posterior as mean and part of the kernel."""
        asked = self._points(x)
        cross = torch.where(seen.real, self.process.covariance(seen.points, asked), 0.0)
        cross = torch.linalg.solve_triangular(seen.factor, cross, upper=False)
        mean = asked[1] @ self.process.weights + cross.mT @ seen.left
        covariance = self.process.covariance(asked, asked) - cross.mT @ cross
        noise = self.process.noise.unflatten(0, (-1, len(self.center)))  # [T, dy]
        mean = mean.squeeze(2).unflatten(0, noise.shape).transpose(1, 2)
        covariance = covariance.unflatten(0, noise.shape) * noise[..., None, None]
        scale = self.spread.square()
        return DenseGaussian(
            (self.center + self.spread * mean).to(x),
            covariance * scale[:, None, None],
            (noise * scale).unsqueeze(1).expand(-1, x.shape[1], -1),
        )

    def _points(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Standardised inputs `[T dy, N, dx]` of `x [T, N, dx]`, and the features of the curve."""
        u = self._each(self.inputs(x.double()))
        return u, self.process.features(u)

    def _each(self, values: Tensor) -> Tensor:
        """The same for every output: `[T dy, ...]`."""
        return values.repeat_interleave(len(self.center), 0)


class MeanOfGroup(nn.Module):
    """The mean function of one group.

    Args:
        predictor: of this group alone.
    """

    def __init__(self, predictor: MeanAndGPPredictor):
        super().__init__()
        self.predictor = predictor

    def forward(self, x: Tensor) -> Tensor:
        """The means `[M, dy]` at `x [M, dx]`."""
        return self.predictor(x.unsqueeze(0)).mean[0]
