"""Maximum likelihood for a generalised mixed model of one output, by Laplace's approximation."""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from quickstudy.metric.generalized.laplace import Rows, laplace
from quickstudy.metric.generalized.likelihoods import NegativeBinomialRows, StudentRows
from quickstudy.metric.mixed.profile import NOISE_FLOOR, fitted, profile, reduced
from quickstudy.metric.newton import minimise

_PULL = 1e-6  # decides where the likelihood is flat
_SCALES = (0.0, 0.03, 0.1, 0.3, 1.0, 3.0)  # first guesses of the standard deviation of a random effect
_SHARES = (0.3, 0.6, 1.0)  # first guesses of the scale of Student's noise, as a share of that of normal noise
_ROUNDS = 30  # of reweighted least squares
_FREEDOMS = (1.0, 8.0, 1000.0)  # first guesses of the degrees of freedom, minus 2.1


_USUAL: Mapping[Any, tuple[tuple[int, float, float], ...]] = MappingProxyType(
    {NegativeBinomialRows: ((0, -1.0, 3.0),), StudentRows: ((1, 2.0, 2.0),)}
)
"""Places, means and standard deviations of the weak prior of parameters of a likelihood, if effects have one."""


class Groups(NamedTuple):
    """The rows of the training groups, for one output.

    Args:
        y: `[G, N]`, in standard units.
        real: `[G, N]`.
        fixed: features of the fixed effects, `[G, N, P]`, 0 in the padding.
        random: of the random effects, `[G, N, Q]`.
    """

    y: Tensor
    real: Tensor
    fixed: Tensor
    random: Tensor


class Fitted(NamedTuple):
    """The estimates in standard units.

    Args:
        effects: `[P]`, the fixed effects.
        root: `[Q, Q]`, a lower triangular root of the covariance of the random effects.
        parameters: `[K]`, of the likelihood.
        effects_root: `[P, P]`, of the covariance of the errors of the fixed effects.
        log_likelihood: a number.
        converged: whether the optimiser converged.
    """

    effects: Tensor
    root: Tensor
    parameters: Tensor
    effects_root: Tensor
    log_likelihood: Tensor
    converged: bool


class _Problem(NamedTuple):
    """The deviance as a function of fixed effects, entries of the root, and parameters of the likelihood.

    With Student's noise, the first two are in units of its scale, and the first are differences from `base`, so that
    curvatures do not depend on how much noise there is.
    """

    kind: Any
    groups: Groups
    places: Tensor  # of the entries of the root, [E, 2]
    prior_sd: float | None
    base: Tensor  # [P]

    def root(self, entries: Tensor) -> Tensor:
        """The root `[Q, Q]`."""
        size = self.groups.random.shape[2]
        rows, columns = self.places.unbind(1)
        return entries.new_zeros(size, size).index_put((rows, columns), entries)

    def split(self, point: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The fixed effects, the entries of the root and the parameters of the likelihood."""
        first, second = self.groups.fixed.shape[2], len(self.places)
        effects, entries, parameters = point.split([first, second, len(point) - first - second])
        unit = self.kind(*parameters).log_scale.exp() if self.kind is StudentRows else 1.0
        return self.base + unit * effects, unit * entries, parameters

    def log_likelihood(self, effects: Tensor, entries: Tensor, parameters: Tensor) -> Tensor:
        """The sum over groups of the log of their marginal likelihoods."""
        return laplace(self.kind(*parameters), self.rows(effects, entries)).log_marginal.sum()

    def rows(self, effects: Tensor, entries: Tensor) -> Rows:
        """The rows, with the fixed effects in the offset."""
        y, real, fixed, random = self.groups
        return Rows(y, real, fixed @ effects, random @ self.root(entries))

    def pulled(self, point: Tensor) -> Tensor:
        """The deviance plus what keeps parameters finite that the data leave open."""
        effects, entries, parameters = self.split(point)
        stiffness = _PULL if self.prior_sd is None else 1 / self.prior_sd**2
        pull = _PULL * (entries.square().sum().log1p() + parameters.square().sum()) + stiffness * effects.square().sum()
        for place, mean, sd in _USUAL.get(self.kind, ()) if self.prior_sd is not None else ():
            pull = pull + ((parameters[place] - mean) / sd).square()
        if self.kind is StudentRows:
            pull = pull + (NOISE_FLOOR * (-self.kind(*parameters).log_scale).exp()).square()
        return pull - 2 * self.log_likelihood(effects, entries, parameters)


def fit(kind: Any, groups: Groups, *, diagonal: bool, prior_sd: float | None) -> Fitted:
    """The estimates that maximise the marginal likelihood of one output.

    Args:
        kind: the class of the likelihood.
        groups: the training groups.
        diagonal: whether the random effects are independent.
        prior_sd: standard deviation of a normal prior of the fixed effects; None means none.
    """
    size = groups.random.shape[2]
    places = (torch.eye(size) if diagonal else torch.ones(size, size).tril()).nonzero().to(groups.y.device)
    problem, start = (_from_normal if kind is StudentRows else _from_fixed)(
        _Problem(kind, groups, places, prior_sd, torch.zeros_like(groups.fixed[0, 0]))
    )
    scale = torch.where(start.abs() > 1e-3, start.abs(), 1.0)  # so that the curvatures of all entries are alike
    scale[: groups.fixed.shape[2]] = 1.0
    found = minimise(lambda point: problem.pulled(scale * point), start / scale, steps=50, tolerance=1e-7, least=1e-6)
    effects, entries, parameters = problem.split(scale * found.point)
    root = problem.root(entries)
    root = root * torch.where(root.diagonal() < 0, -1.0, 1.0)
    with torch.no_grad():
        log_likelihood = problem.log_likelihood(effects, entries, parameters)
    errors = _errors(problem, effects, entries, parameters)
    return Fitted(effects, root, parameters, errors, log_likelihood, found.converged)


@torch.no_grad()
def _errors(problem: _Problem, effects: Tensor, entries: Tensor, parameters: Tensor) -> Tensor:
    """A root `[P, P]` of the inverse of the information X^T (W^-1 + A A^T)^-1 X about the fixed effects.

    W is the precision of the rows at the modes, and A are the random effects times the root of their covariance: as in
    `glmer(..., use.hessian=FALSE)`.
    """
    groups = problem.groups
    rows, likelihood = problem.rows(effects, entries), problem.kind(*parameters)
    found = laplace(likelihood, rows)
    weights = rows.kept(likelihood.precision(rows.y, rows.predictor(found.mode))).unsqueeze(2)
    mixed = torch.linalg.solve_triangular(found.factor, rows.features.mT @ (weights * groups.fixed), upper=False)
    information = (groups.fixed.mT @ (weights * groups.fixed) - mixed.mT @ mixed).sum(0)
    kept = (groups.fixed.flatten(0, 1) != 0).any(0).to(effects)
    least = _PULL if problem.prior_sd is None else 1 / problem.prior_sd**2
    eye = torch.eye(len(effects), dtype=effects.dtype, device=effects.device)
    information = information * kept.outer(kept) + torch.diag_embed(1 - kept) + least * eye
    return torch.linalg.inv(torch.linalg.cholesky(information)).mT * kept.outer(kept)


def _from_fixed(problem: _Problem) -> tuple[_Problem, Tensor]:
    """A first point: the fixed effects of a model without random effects, and the best of a few sizes of these."""
    like = problem.groups.fixed
    parameters = like.new_full((len(problem.kind._fields),), -1.0)
    entries = like.new_zeros(len(problem.places))
    alone = like.shape[2]

    def without(effects: Tensor) -> Tensor:
        return problem.pulled(torch.cat([effects, entries, parameters]))

    effects = minimise(without, like.new_zeros(alone), tolerance=1e-4).point
    on_diagonal = (problem.places[:, 0] == problem.places[:, 1]).to(like)
    dispersions = (-4.0, -1.0, 0.5) if problem.kind is NegativeBinomialRows else (-1.0,)
    tried = [
        torch.cat([effects, scale * on_diagonal, torch.full_like(parameters, log_dispersion)])
        for scale in _SCALES
        for log_dispersion in dispersions
    ]
    return problem, _best(problem.pulled, tried)


def _from_normal(problem: _Problem) -> tuple[_Problem, Tensor]:
    """A first point of a model with Student's noise.

    It is that of the model with normal noise, or the fixed effects with the least absolute errors, which rows that are
    far off hardly move; with the best of a few scales and degrees of freedom.
    """
    y, real, fixed, random = problem.groups
    rows, columns = problem.places.unbind(1)
    diagonal = bool((rows == columns).all())
    data = reduced(torch.cat([fixed, random], 2), y.unsqueeze(2), real.sum(1), random.shape[2])
    relative, _ = fitted(data, 0, reml=False, diagonal=diagonal)
    best = profile(data, 0, relative, False)
    robust, spread = _least_absolute(fixed[real], y[real])
    starts = [
        (best.effects, relative, float(best.noise.sqrt())),
        (robust, torch.eye(len(relative)).to(relative), spread),
    ]
    tried = []
    for base, root, noise in starts:
        around = problem._replace(base=base)
        for share in _SHARES:
            for freedom in _FREEDOMS:
                parameters = base.new_tensor([math.log(share * noise), math.log(freedom)])
                tried.append((around, torch.cat([torch.zeros_like(base), (root / share)[rows, columns], parameters])))
    with torch.no_grad():
        values = torch.stack([each.pulled(point) for each, point in tried]).nan_to_num(nan=torch.inf)
    return tried[int(values.argmin())]


def _least_absolute(features: Tensor, y: Tensor) -> tuple[Tensor, float]:
    """The effects with the least absolute errors, by reweighted least squares, and the scale of these errors."""
    eye = _PULL * torch.eye(features.shape[1], dtype=y.dtype, device=y.device)
    weights = torch.ones_like(y)
    for _ in range(_ROUNDS):
        wide = weights.unsqueeze(1) * features
        effects = torch.linalg.solve(features.T @ wide + eye * weights.sum(), wide.T @ y)
        off = (y - features @ effects).abs()
        weights = 1 / off.clamp_min(NOISE_FLOOR)
    return effects, max(NOISE_FLOOR, 1.48 * float(off.median()))


@torch.no_grad()
def _best(function: Callable[[Tensor], Tensor], tried: list[Tensor]) -> Tensor:
    """The point at which the function is least."""
    values = torch.stack([function(point) for point in tried]).nan_to_num(nan=torch.inf)
    return tried[int(values.argmin())]
