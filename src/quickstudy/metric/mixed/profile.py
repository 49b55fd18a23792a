"""The profiled likelihood of a linear mixed model (Bates, Maechler, Bolker and Walker 2015, J. Stat. Soft. 67(1))."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from quickstudy.metric.newton import Minimum, minimise
from quickstudy.predictive.outcomes import LOG_2PI

NOISE_FLOOR = 1e-5  # smallest standard deviation of the noise, as a share of that of y
_PULL = 1e-6  # decides where the likelihood is flat: with one row in each group, effects and noise are the same
_BUDGET = 2**22  # numbers in the features of the groups that are reduced together
_SCALES = torch.logspace(-2, 5, 8, dtype=torch.float64)  # first guesses of sd(effect) / sd(noise)


class Reduced(NamedTuple):
    """Groups without what the likelihood does not depend on: the triangular factors of `[Z X Y]`, by a QR each.

    Args:
        z: `[G, K, Q]`, features of the random effects.
        x: `[G, K, P]`, features of the fixed effects.
        y: `[G, K, dy]`, outputs.
        rows: the number of rows of all groups.
    """

    z: Tensor
    x: Tensor
    y: Tensor
    rows: int


class Profile(NamedTuple):
    """The best fixed effects and noise for a given covariance of the random effects.

    Args:
        deviance: -2 log-likelihood, or -2 times the restricted one.
        effects: `[P]`, fixed effects.
        information: `[P, P]`, X^T V^-1 X, with V the covariance of the outputs in units of the noise variance.
        noise: variance of the noise.
    """

    deviance: Tensor
    effects: Tensor
    information: Tensor
    noise: Tensor


def reduced(features: Tensor, y: Tensor, sizes: Tensor, random: int) -> Reduced:
    """The triangular factors of groups with `features [G, N, P + Q]` (0 in the padding) and outputs `y [G, N, dy]`."""
    q = random
    fixed = features.shape[2] - q
    both = torch.cat([features[..., fixed:], features[..., :fixed], y], 2)
    step = max(1, _BUDGET // max(1, both.shape[1] * both.shape[2]))
    parts = [_triangle(part) for part in both.split(step)]
    z, x, y = torch.cat(parts).split([q, fixed, y.shape[2]], 2)
    return Reduced(z, x, y, int(sizes.sum()))


def _triangle(both: Tensor) -> Tensor:
    if both.shape[1] <= both.shape[2]:
        return both
    return torch.linalg.qr(both, mode="r").R


def profile(data: Reduced, output: int, root: Tensor, reml: bool) -> Profile:
    """The profile at the relative factor `root [Q, Q]` of the random effects, whose covariance is noise root root^T.

    With V = I + Z root root^T Z^T for each group, r^2 the least sum of squares of V^-1/2 (y - X beta), n rows and p
    fixed effects, the deviance is log|V| + n (1 + log(2 pi r^2 / n)) (Bates et al., eq. 35), and the restricted one is
    log|V| + log|X^T V^-1 X| + (n - p) (1 + log(2 pi r^2 / (n - p))) (eq. 42). Below the floor of the noise, the
    noise is the floor. The data are whitened and no squares are subtracted from each other, so that effects 1e5 times
    as large as the noise are no difficulty.
    """
    wide = data.z @ root
    eye = torch.eye(wide.shape[1], dtype=wide.dtype, device=wide.device)
    factor = torch.linalg.cholesky(eye + wide @ wide.mT)
    y = data.y[..., output, None]
    white = torch.linalg.solve_triangular(factor, torch.cat([data.x, y], 2), upper=False).flatten(0, 1)
    x, y = white[:, :-1], white[:, -1]
    empty = (data.x.flatten(0, 1) == 0).all(0)  # a feature that was left out: its effect is 0
    information = x.T @ x + torch.diag_embed(empty.to(x))
    triangle = torch.linalg.cholesky(information)
    effects = torch.cholesky_solve((x.T @ y).unsqueeze(1), triangle).squeeze(1)
    squares = (y - x @ effects).square().sum()
    free = data.rows - (int((~empty).sum()) if reml else 0)
    noise = (squares / free).clamp_min(NOISE_FLOOR**2)
    deviance = 2 * factor.diagonal(dim1=1, dim2=2).log().sum() + free * (LOG_2PI + noise.log()) + squares / noise
    if reml:
        deviance = deviance + 2 * triangle.diagonal().log().sum()
    return Profile(deviance, effects, information, noise)


def fitted(data: Reduced, output: int, *, reml: bool, diagonal: bool) -> tuple[Tensor, Minimum]:
    """The relative factor `[Q, Q]` at which the profiled deviance of an output is least.

    The entries of the factor are unbounded: their signs do not matter, and a variance of 0 is an inner point, at which
    the deviance is smooth. Guesses on a grid, the same for all effects and then for one after another, give the start.
    """
    q = data.z.shape[2]
    low = torch.eye(q).nonzero() if diagonal else torch.ones(q, q).tril().nonzero()
    rows, columns = low.to(data.z.device).unbind(1)
    on_diagonal = rows == columns

    def root(entries: Tensor) -> Tensor:
        return data.z.new_zeros(q, q).index_put((rows, columns), entries)

    def deviance(entries: Tensor) -> Tensor:
        return profile(data, output, root(entries), reml).deviance + _PULL * entries.square().sum().log1p()

    start = _guess(deviance, on_diagonal, data.z)
    scale = start[on_diagonal][rows]  # so that the curvatures of all entries are alike
    found = minimise(lambda entries: deviance(scale * entries), start / scale)
    factor = root(scale * found.point)
    signs = torch.where(factor.diagonal() < 0, -1.0, 1.0)
    return factor * signs, found


@torch.no_grad()
def _guess(deviance: Callable[[Tensor], Tensor], on_diagonal: Tensor, like: Tensor) -> Tensor:
    scales = _SCALES.to(like.device)
    best = on_diagonal.to(like)
    candidates = [scale * best for scale in scales]
    best = min(candidates, key=lambda entries: float(deviance(entries)))
    for place in on_diagonal.nonzero().flatten().tolist() if int(on_diagonal.sum()) > 1 else []:
        candidates = [best.clone().index_fill_(0, torch.tensor([place]).to(like.device), float(s)) for s in scales]
        best = min([best, *candidates], key=lambda entries: float(deviance(entries)))
    return best
