"""Laplace's approximation of the integral over the effects of groups."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from quickstudy.tracing import values_are_readable

STEPS = 100  # largest number of safe steps to the mode
LENGTHS = (1.0, 2.0, 0.5, 0.2, 0.05, 0.01, 0.001)  # of a step, of which the best is taken; if none is, shorter ones
SHORTEST = 1e-12  # factor of these lengths, at which the search ends
NEAR = 1e-6  # twice the gain of a step, at which the mode is near


class Rows(NamedTuple):
    """Rows of `B` groups, with linear predictors offset + features u, where u is standard normal.

    Args:
        y: outcomes, `[B, N]`; in the padding any possible one.
        real: which rows are real, `[B, N]`.
        offset: `[B, N]`.
        features: `[B, N, R]`.
    """

    y: Tensor
    real: Tensor
    offset: Tensor
    features: Tensor

    def predictor(self, u: Tensor) -> Tensor:
        """The linear predictors `[B, N]` at `u [B, R]`."""
        return self.offset + (self.features @ u.unsqueeze(2)).squeeze(2)

    def kept(self, values: Tensor) -> Tensor:
        """The values `[B, N]`, 0 in the padding."""
        return torch.where(self.real, values, 0.0)


class Laplace(NamedTuple):
    """A normal approximation of u given the rows.

    Args:
        mode: `[B, R]`.
        factor: `[B, R, R]`, the lower Cholesky factor of the precision I + A^T W A.
        log_marginal: `[B]`, the log of the integral of p(y | u) over the standard normal u.
    """

    mode: Tensor
    factor: Tensor
    log_marginal: Tensor


def laplace(likelihood: Any, rows: Rows) -> Laplace:
    """The approximation of Laplace: log p(y) = log p(y | u) - |u|^2 / 2 - log |I + A^T W A| / 2 at the mode of u.

    W is the `precision` of the likelihood at each row, and A are the features (Breslow and Clayton 1993, eq. 4). The
    mode ends with two steps of Newton's method that are part of the graph, so that its derivatives, up to the third,
    are those of the implicit function.

    Args:
        likelihood: with parameters that broadcast to `[B, N]`.
        rows: the rows of each group.
    """
    u = mode(likelihood, rows)
    for _ in range(2):
        u = u + _newton_step(likelihood, rows, u)
    eta = rows.predictor(u)
    factor = _factor(rows.features, rows.kept(likelihood.precision(rows.y, eta)))
    log_det = 2 * factor.diagonal(dim1=1, dim2=2).log().sum(1)
    fit = rows.kept(likelihood.log_prob(rows.y, eta)).sum(1) - u.square().sum(1) / 2
    return Laplace(u, factor, fit - log_det / 2)


@torch.no_grad()
def mode(likelihood: Any, rows: Rows) -> Tensor:
    """The mode `[B, R]` of p(y | u) times a standard normal density of u, nearly; without a graph.

    Steps take the curvature `bound`, so that they climb, and the best of several lengths of each.
    """
    u = torch.zeros_like(rows.features[:, 0]) if rows.y.shape[1] else rows.features.sum(1)
    height, reach = _height(likelihood, rows, u), torch.ones_like(u[:, :1])
    for _ in range(STEPS):
        eta = rows.predictor(u)
        uphill = _uphill(likelihood, rows, u, eta)
        factor = _factor(rows.features, rows.kept(likelihood.bound(rows.y, eta)))
        step = torch.cholesky_solve(uphill.unsqueeze(2), factor).squeeze(2)
        gain = (step * uphill).sum(1)
        if values_are_readable(gain) and bool(((gain < NEAR) | (reach.squeeze(1) < SHORTEST)).all()):
            break
        step = torch.where(step.isfinite(), reach * step, 0.0)
        tried = torch.stack([_height(likelihood, rows, u + length * step) for length in LENGTHS])
        best, which = tried.max(0)
        length = torch.tensor(LENGTHS, dtype=u.dtype, device=u.device)[which]
        better = best > height
        u = u + torch.where(better, length, 0.0).unsqueeze(1) * step
        height = torch.where(better, best, height)
        reach = torch.where(better.unsqueeze(1), 1.0, reach / 1000)
    return u


def _newton_step(likelihood: Any, rows: Rows, u: Tensor) -> Tensor:
    """A step of Newton's method; where the curvature is not that of a maximum, a safe step."""
    eta = rows.predictor(u)
    curvature = rows.kept(likelihood.curvature(rows.y, eta))
    with torch.no_grad():
        failed = torch.linalg.cholesky_ex(_precision(rows.features, curvature)).info != 0
    safe = rows.kept(likelihood.bound(rows.y, eta))
    factor = _factor(rows.features, torch.where(failed.unsqueeze(1), safe, curvature))
    return torch.cholesky_solve(_uphill(likelihood, rows, u, eta).unsqueeze(2), factor).squeeze(2)


def _height(likelihood: Any, rows: Rows, u: Tensor) -> Tensor:
    """log p(y | u) - |u|^2 / 2, `[B]`; -inf where it is not a number."""
    found = rows.kept(likelihood.log_prob(rows.y, rows.predictor(u))).sum(1) - u.square().sum(1) / 2
    return torch.where(found.isnan(), -torch.inf, found)


def _uphill(likelihood: Any, rows: Rows, u: Tensor, eta: Tensor) -> Tensor:
    slope = rows.kept(likelihood.slope(rows.y, eta))
    return (rows.features.mT @ slope.unsqueeze(2)).squeeze(2) - u


def _precision(features: Tensor, weights: Tensor) -> Tensor:
    """I + A^T W A."""
    eye = torch.eye(features.shape[2], dtype=features.dtype, device=features.device)
    return eye + features.mT @ (weights.unsqueeze(2) * features)


def _factor(features: Tensor, weights: Tensor) -> Tensor:
    """The lower Cholesky factor of I + A^T W A; NaN where it does not exist in floating point."""
    factor, failed = torch.linalg.cholesky_ex(_precision(features, weights))
    return factor.masked_fill((failed != 0)[:, None, None], torch.nan)
