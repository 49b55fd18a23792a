"""The process of each group given some of its rows, as a predictor."""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from quickstudy.checks import check_inputs, check_more
from quickstudy.data import Examples
from quickstudy.learner import Functions, check_task
from quickstudy.metric.gp.functions import GaussianDrawing
from quickstudy.metric.gp.thinning import thinned
from quickstudy.predictive import DenseGaussian
from quickstudy.predictive.outcomes import check_draws
from quickstudy.predictive.parts.covariance import cholesky
from quickstudy.predictive.parts.memory import Memory, local_generator


class GroupProcess(Protocol):
    """The Gaussian processes of unknown groups: `B = T dy` of them, output d of group t at place `t dy + d`.

    `noise [B]` is the variance of the noise. Covariances are in units of it.
    """

    @property
    def noise(self) -> Tensor:
        """The variance of the noise, `[B]`."""

    def points(self, x: Tensor, outputs: int) -> Any:
        """What mean and covariance need of the inputs `x [T, N, dx]`."""

    def mean(self, points: Any) -> Tensor:
        """The mean `[B, N, 1]`."""

    def covariance(self, one: Any, two: Any) -> Tensor:
        """The covariance `[B, N, M]` of the functions' values."""

    def first(self, count: int) -> "GroupProcess":
        """The first `count` of the B processes."""


class Seen(NamedTuple):
    """What is computed once of the rows seen: `[T dy, N, ...]`."""

    points: Any
    real: Tensor  # [T dy, N, 1]
    factor: Tensor  # the Cholesky factor of the covariance of the outputs, in units of the noise variance
    left: Tensor  # the outputs without the mean, whitened


@dataclass(frozen=True)
class GPPredictor:
    """The exact posterior of each group's function; made by `MeanAndGP.adapt` and `DeepMeanGP.adapt`."""

    process: Any  # a GroupProcess of T dy outputs
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

    def append(self, examples: Examples) -> "GPPredictor":
        """The predictor for the union. Made with `steps=0`, it stays the prior."""
        check_more(examples, self.support)
        return self if self.prior else self.given(examples)

    def given(self, examples: Examples) -> "GPPredictor":
        """`append` without the checks."""
        more = replace(self, support=self.support.append(examples))
        return replace(more, seen=more._seen())

    def functions(self, n: int, generator: torch.Generator | None = None) -> Functions:
        """`n` functions of each group, without noise; each remembers the values that it has returned.

        A value is drawn given all values before it, which costs the cube of their number: ask for all inputs at once.
        """
        check_draws(n, generator, self.support.x.device)
        memory = Memory(GaussianDrawing(self, n, local_generator(generator, self.support.x.device)))

        def evaluate(x: Tensor, members: list[int]) -> Tensor:
            check_inputs(x, self.support)
            if not x.shape[1]:
                return x.new_zeros(len(members), *x.shape[:2], len(self.center))
            with torch.no_grad():
                return memory(x)[members]

        return Functions(evaluate, n)

    def task(self, i: int) -> nn.Module:
        """Group `i`'s mean function as a plain module `[M, dx] -> [M, dy]`."""
        i = check_task(i, self.support.num_tasks)
        own = replace(self, process=self.process.first(len(self.center)), support=self.support.select(i), seen=None)
        return MeanOfGroup(own if self.prior else replace(own, seen=own._seen()))

    def _seen(self) -> Seen:
        few = thinned(self.support.clean(), self.rows)
        points = self.process.points(few.x, len(self.center))
        real = few.real().repeat_interleave(len(self.center), 0).unsqueeze(2)
        within = torch.where(real & real.mT, self.process.covariance(points, points), 0.0)
        factor = cholesky(within + torch.eye(within.shape[1], dtype=within.dtype, device=within.device))
        y = ((few.y.double() - self.center) / self.spread).transpose(1, 2).flatten(0, 1).unsqueeze(2)
        left = torch.where(real, y - self.process.mean(points), 0.0)
        return Seen(points, real, factor, torch.linalg.solve_triangular(factor, left, upper=False))

    def _belief(self, x: Tensor, seen: Seen) -> DenseGaussian:
        """Rasmussen and Williams 2006, eq. 2.25 and 2.26, with a mean function (eq. 2.38)."""
        asked = self.process.points(x, len(self.center))
        cross = torch.where(seen.real, self.process.covariance(seen.points, asked), 0.0)
        cross = torch.linalg.solve_triangular(seen.factor, cross, upper=False)
        mean = self.process.mean(asked) + cross.mT @ seen.left
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


class MeanOfGroup(nn.Module):
    """The mean function of one group.

    Args:
        predictor: of this group alone.
    """

    def __init__(self, predictor: GPPredictor):
        super().__init__()
        self.predictor = predictor

    def forward(self, x: Tensor) -> Tensor:
        """The means `[M, dy]` at `x [M, dx]`."""
        return self.predictor(x.unsqueeze(0)).mean[0]
