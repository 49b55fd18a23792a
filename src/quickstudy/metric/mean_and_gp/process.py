"""The Gaussian process of a group: the belief about the curve of all groups, a random line, and a smooth deviation."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from quickstudy.metric.bases.basis import Standardised
from quickstudy.tasks.kernels import Kernel, covariance

_JITTER = 1e-6  # share of the variance added to that at the inducing inputs


class Hyper(NamedTuple):
    """Hyperparameters of B processes; inputs are standardised, and standard deviations are in units of the noise's.

    Args:
        curve: `[B]`, standard deviation of the curve of all groups around a line.
        curve_length: `[B, dx]`, its length scales.
        scale: `[B]`, standard deviation of a group's smooth deviation.
        length: `[B, dx]`, its length scales.
        line: `[B, 1 + dx, 1 + dx]`, a lower root of the covariance of a group's deviation in intercept and slopes.
    """

    curve: Tensor
    curve_length: Tensor
    scale: Tensor
    length: Tensor
    line: Tensor


def factor(matrix: Tensor) -> Tensor:
    """The lower Cholesky factor `[B, n, n]`; NaN where it does not exist in floating point, which optimisers avoid."""
    found, failed = torch.linalg.cholesky_ex(matrix)
    return found.masked_fill((failed != 0)[..., None, None], math.nan)


def line_features(u: Tensor) -> Tensor:
    """1 and the inputs `u [B, N, dx]`: `[B, N, 1 + dx]`."""
    return torch.cat([torch.ones_like(u[..., :1]), u], -1)


def curve_features(u: Tensor, places: Tensor, hyper: Hyper) -> Tensor:
    """Features `[B, N, 1 + dx + m]` of the curve of all groups at `u [B, N, dx]`.

    They are those of a line, and curve k(u, places) R^-T with R R^T = k(places, places) and k the RBF kernel: with
    weights w ~ N(0, I), the process of Smola and Schoelkopf 2000 (the subset of regressors).
    """
    if len(hyper.curve) == 1:  # one process for all rows
        rows = u.flatten(0, 1).unsqueeze(0)
        return torch.cat([line_features(u), _bumps(rows, places, hyper).view(*u.shape[:2], len(places))], -1)
    return torch.cat([line_features(u), _bumps(u, places, hyper)], -1)


def _bumps(u: Tensor, places: Tensor, hyper: Hyper) -> Tensor:
    length = hyper.curve_length.unsqueeze(1)
    fixed = (places / length).expand(len(u), -1, -1)
    unit = {name: torch.ones_like(hyper.curve) for name in ("lengthscale", "scale")}
    within = covariance("rbf", fixed, fixed, unit)
    root = factor(within + _JITTER * torch.eye(len(places), dtype=u.dtype, device=u.device))
    bumps = torch.linalg.solve_triangular(root, covariance("rbf", fixed, u / length, unit), upper=False).mT
    return bumps * hyper.curve.view(-1, 1, 1)


def deviation(kernel: Kernel, u1: Tensor, u2: Tensor, hyper: Hyper) -> Tensor:
    """The covariance `[B, N, M]` of a group's deviation from the curve: that of its random line, plus a smooth one."""
    length = hyper.length.unsqueeze(1)
    info = {"lengthscale": torch.ones_like(hyper.scale), "scale": hyper.scale}
    smooth = covariance(kernel, u1 / length, u2 / length, info)
    return smooth + (line_features(u1) @ hyper.line) @ (line_features(u2) @ hyper.line).mT


class Process(NamedTuple):
    """What a fit to training groups leaves for a new group, for B outputs (of as many tasks as there are).

    Args:
        kernel: of the smooth deviation.
        places: `[m, dx]`, the inducing inputs of the curve of all groups.
        hyper: its hyperparameters.
        weights: `[B, 1 + dx + m, 1]`, the mean of the weights of the curve's features.
        root: `[B, 1 + dx + m, 1 + dx + m]`, a root of their covariance in units of the noise variance.
        noise: `[B]`, the variance of the noise.
    """

    kernel: Kernel
    places: Tensor
    hyper: Hyper
    weights: Tensor
    root: Tensor
    noise: Tensor

    def repeat(self, tasks: int) -> "Process":
        """The process for as many tasks: output d of task t is at place `t dy + d`."""
        hyper = Hyper(*(part.repeat(tasks, *[1] * (part.dim() - 1)) for part in self.hyper))
        weights, root = (part.repeat(tasks, 1, 1) for part in (self.weights, self.root))
        return self._replace(hyper=hyper, weights=weights, root=root, noise=self.noise.repeat(tasks))

    def first(self, count: int) -> "Process":
        """The first `count` of the B outputs."""
        hyper = Hyper(*(part[:count] for part in self.hyper))
        return self._replace(
            hyper=hyper, weights=self.weights[:count], root=self.root[:count], noise=self.noise[:count]
        )

    def features(self, u: Tensor) -> Tensor:
        """The features of the curve at `u [B, N, dx]`."""
        return curve_features(u, self.places, self.hyper)

    def covariance(self, one: tuple[Tensor, Tensor], two: tuple[Tensor, Tensor]) -> Tensor:
        """The covariance `[B, N, M]`, in units of the noise variance, between points given as `(u, features)`."""
        spread = (one[1] @ self.root) @ (two[1] @ self.root).mT
        return deviation(self.kernel, one[0], two[0], self.hyper) + spread


class OfGroups(NamedTuple):
    """The processes of new groups, for `gp.predictor.GPPredictor`.

    Args:
        process: of all groups and outputs.
        inputs: standardises inputs.
    """

    process: Process
    inputs: Standardised

    @property
    def noise(self) -> Tensor:
        """The variance of the noise, `[B]`."""
        return self.process.noise

    def points(self, x: Tensor, outputs: int) -> tuple[Tensor, Tensor]:
        """Standardised inputs `[B, N, dx]` of `x [T, N, dx]`, and the features of the curve."""
        u = self.inputs(x.double()).repeat_interleave(outputs, 0)
        return u, self.process.features(u)

    def mean(self, points: tuple[Tensor, Tensor]) -> Tensor:
        """The curve of all groups, `[B, N, 1]`."""
        return points[1] @ self.process.weights

    def covariance(self, one: tuple[Tensor, Tensor], two: tuple[Tensor, Tensor]) -> Tensor:
        """That of the process, `[B, N, M]`."""
        return self.process.covariance(one, two)

    def first(self, count: int) -> "OfGroups":
        """The first `count` of the B processes."""
        return self._replace(process=self.process.first(count))
