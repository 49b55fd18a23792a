"""Fits the process of all groups: hyperparameters by maximum a posteriori, the curve by its exact posterior."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from quickstudy.data import Examples
from quickstudy.metric.gp.thinning import thinned
from quickstudy.metric.mean_and_gp.process import Hyper, Process, curve_features, deviation, factor
from quickstudy.metric.newton import minimise
from quickstudy.tasks.kernels import Kernel

NOISE_FLOOR = 1e-5  # smallest standard deviation of the noise, as a share of that of y
_FLAT = 1e-8  # prior precision of the curve's line
_WIDE = 100.0  # standard deviations far above this multiple of the noise's are unlikely
_GROUPS, _ROWS = 100, 40  # hyperparameters are fitted to at most so many groups, and rows of each
_MOST = 200  # largest number of rows of a group that the curve is fitted to
_BUDGET = 2**22  # numbers in the covariances that are factored together
_FULL = 3  # up to this many inputs, a random line has correlated intercept and slopes


class Groups(NamedTuple):
    """Training groups: standardised inputs `u [G, N, dx]` and one output `y [G, N]`, 0 where `real [G, N]` is False."""

    u: Tensor
    y: Tensor
    real: Tensor


class Curve(NamedTuple):
    """The posterior of the weights of the curve of all groups, the noise variance, and the deviance."""

    weights: Tensor
    root: Tensor
    noise: Tensor
    deviance: Tensor


def spread_out(u: Tensor, count: int) -> Tensor:
    """`count` of the rows `u [R, dx]`, each far from those before it, in ranks of every input."""
    u = u[:: max(1, len(u) // 2000)]
    ranks = torch.stack([column.unique(return_inverse=True)[1].double() for column in u.T], 1)
    ranks = ranks / ranks.amax(0).clamp_min(1)
    chosen = [int(ranks.sum(1).argmin())]
    distance = (ranks - ranks[chosen[0]]).square().sum(1)
    for _ in range(count - 1):
        chosen.append(int(distance.argmax()))
        distance = torch.minimum(distance, (ranks - ranks[chosen[-1]]).square().sum(1))
    return u[chosen]


def curve_of(groups: Groups, kernel: Kernel, places: Tensor, hyper: Hyper) -> Curve:
    """The posterior of the curve, and -2 log of the marginal likelihood at the best noise, up to a constant.

    As in a mixed model with known covariance: whitened by the groups' deviations, the outputs are linear in the
    weights, whose prior is N(0, I), and nearly flat for the line.
    """
    parts = [_whitened(Groups(*part), kernel, places, hyper) for part in _split(groups)]
    white, log_det = torch.cat([part[0] for part in parts]), torch.stack([part[1] for part in parts]).sum()
    x, y = white[:, :-1], white[:, -1]
    line = 1 + groups.u.shape[2]
    precision = torch.ones_like(x[0])
    precision[:line] = _FLAT
    triangle = factor(x.T @ x + precision.diag())
    weights = torch.cholesky_solve((x.T @ y).unsqueeze(1), triangle)
    squares = (y - (x @ weights)[:, 0]).square().sum() + (precision * weights[:, 0].square()).sum()
    free = (groups.real.sum() - line).clamp_min(1)
    noise = (squares / free).clamp_min(NOISE_FLOOR**2)
    deviance = log_det + 2 * triangle.diagonal().log().sum() + free * noise.log() + squares / noise
    eye = torch.eye(len(triangle), dtype=x.dtype, device=x.device)
    root = torch.linalg.solve_triangular(triangle, eye, upper=False).mT
    return Curve(weights, root, noise, deviance)


def _split(groups: Groups) -> list[tuple[Tensor, ...]]:
    step = max(1, _BUDGET // groups.u.shape[1] ** 2)
    return list(zip(*(part.split(step) for part in groups), strict=True))


def _whitened(groups: Groups, kernel: Kernel, places: Tensor, hyper: Hyper) -> tuple[Tensor, Tensor]:
    """Features and outputs of all rows, in which deviation and noise are white, and the log determinant for that."""
    u, y, real = groups
    both = real.unsqueeze(1) & real.unsqueeze(2)
    eye = torch.eye(u.shape[1], dtype=u.dtype, device=u.device)
    triangle = factor(torch.where(both, deviation(kernel, u, u, hyper), 0.0) + eye)
    features = torch.where(real.unsqueeze(2), curve_features(u, places, hyper), 0.0)
    both = torch.cat([features, y.unsqueeze(2)], 2)
    white = torch.linalg.solve_triangular(triangle, both, upper=False).flatten(0, 1)
    return white, 2 * triangle.diagonal(dim1=1, dim2=2).log().sum()


def fit_process(groups: Groups, kernel: Kernel, places: Tensor) -> tuple[Process, bool]:
    """The process of one output, and whether the optimiser converged."""
    few = Groups(*(part[:: -(-len(part) // _GROUPS)] for part in groups))
    few = _fewer_rows(few, _ROWS)
    dx = groups.u.shape[2]

    def objective(numbers: Tensor) -> Tensor:
        return curve_of(few, kernel, places, unpacked(numbers, dx)).deviance + _prior(numbers, dx)

    with torch.no_grad():
        start = min(_starts(dx, places), key=lambda numbers: float(objective(numbers).nan_to_num(math.inf)))
    found = minimise(objective, start, steps=60, tolerance=1e-6, longest=0.5)
    hyper = unpacked(found.point, dx)
    curve = curve_of(_fewer_rows(groups, _MOST), kernel, places, hyper)
    process = Process(kernel, places, hyper, curve.weights[None], curve.root[None], curve.noise[None])
    return process, found.converged


def _fewer_rows(groups: Groups, rows: int) -> Groups:
    few = thinned(Examples(groups.u, groups.y.unsqueeze(2), groups.real), rows).clean()
    return Groups(few.x, few.y.squeeze(2), few.real())


def unpacked(numbers: Tensor, dx: int) -> Hyper:
    """Hyperparameters of one process, from logarithms of curve, its lengths, scale, lengths and line; and couplings.

    The couplings are those of intercept and slopes, in units of the standard deviation of each.
    """
    curve, curve_length, scale, length, diagonal, coupling = numbers.split(
        [1, dx, 1, dx, 1 + dx, len(numbers) - 3 - 3 * dx]
    )
    line = torch.eye(1 + dx, dtype=numbers.dtype, device=numbers.device)
    if len(coupling):
        line = line.index_put(tuple(torch.tril_indices(1 + dx, 1 + dx, -1)), coupling)
    line = diagonal.exp().unsqueeze(1) * line
    return Hyper(curve.exp(), curve_length.exp()[None], scale.exp(), length.exp()[None], line[None])


def _prior(numbers: Tensor, dx: int) -> Tensor:
    """-2 log prior: log length scales are N(0, 1), in standard deviations of x; standard deviations avoid 0.

    Their density is proportional to a / (1 + (a / 100)^2)^2: near 0 that of Chung, Rabe-Hesketh, Dorie, Gelman and Liu
    2013 (Psychometrika 78), which moves an estimate of 0 by about a standard error.
    """
    curve, curve_length, scale, length, diagonal, _ = numbers.split([1, dx, 1, dx, 1 + dx, len(numbers) - 3 - 3 * dx])
    logs = torch.cat([curve, scale, diagonal])
    tails = 4 * (2 * (logs - math.log(_WIDE))).exp().log1p().sum()
    return torch.cat([curve_length, length]).square().sum() - 2 * logs.sum() + tails


def _starts(dx: int, like: Tensor) -> list[Tensor]:
    """First guesses on a grid: the size of deviations, the share of smooth ones, and their length."""
    correlated = (1 + dx) * dx // 2 if dx <= _FULL else 0
    grid = [
        (size, share, length) for size in (0.3, 1.0, 3.0, 10.0, 100.0) for share in (0.2, 1.0) for length in (-1.0, 0.0)
    ]
    made = []
    for size, share, length in grid:
        line = [math.log(size), *[math.log(0.7 * size)] * dx]
        numbers = [math.log(3 * size), *[0.0] * dx, math.log(share * size), *[length] * dx, *line, *[0.0] * correlated]
        made.append(like.new_tensor(numbers))
    return made
