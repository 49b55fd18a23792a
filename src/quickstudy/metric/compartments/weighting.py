"""The posterior of new people: draws of their parameters with weights."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from quickstudy.metric.compartments import student
from quickstudy.metric.compartments.population import Population, normal_log_density
from quickstudy.metric.compartments.samples import Samples, log_density, scale_of
from quickstudy.tasks.compartments import Compartments

_STEPS = 25  # of the search for the most probable parameters
_WIDER = 2.0  # half of the draws around them have a standard deviation so much larger
_AT_ONCE = 2**22  # numbers in the densities that are computed together


class People(NamedTuple):
    """The posterior of `T` people, as `K` draws with weights.

    Args:
        logs: `[T, K, P]`, logarithms of parameters.
        log_weights: `[T, K]`, which are those of probabilities.
        noise: `[T, K, 2]`, logarithms of the noise, see `Population`.
    """

    logs: Tensor
    log_weights: Tensor
    noise: Tensor


def weighted(
    model: Compartments, proposal: Population, population: Population, given: Samples, white: Tensor
) -> People:
    """The posterior of people given their samples, by importance sampling.

    Draws theta come from a mixture of normal distributions: one of the population, and two around the most probable
    theta. The weight of a draw is its density under the population's posterior, p(theta) p(samples | theta) averaged
    over the draws of the population, divided by that of the mixture. So population and noise are integrated out.

    Args:
        model: the compartments.
        proposal: the population by which theta is proposed, which is a constant for derivatives.
        population: the population.
        given: samples `[T, N]`.
        white: `[K, P]`, standard normal numbers.
    """
    with torch.no_grad():
        logs, proposed = _proposed(model, proposal, given, white)
    level, slope = model.level_and_slope(logs, given.hours.unsqueeze(1))
    each = given.each(1)
    parts, size = [], max(1, _AT_ONCE // max(1, level.numel()))
    for mean, root, noise in zip(*(part.split(size) for part in population), strict=True):
        prior = normal_log_density(logs, mean.unsqueeze(1), root.unsqueeze(1))
        parts.append(prior + log_density(Samples(*each), level, slope, noise[:, None, None]))
    both = torch.cat(parts)  # [S, T, K]
    total = both.logsumexp(0)
    share = (both - total).exp()
    variance = torch.einsum("stk,sn->tkn", share, (2 * population.noise).exp())
    log_weights = (total - proposed).log_softmax(1)
    return People(logs, log_weights, variance.log() / 2)


def _proposed(model: Compartments, population: Population, given: Samples, white: Tensor) -> tuple[Tensor, Tensor]:
    """Draws `[T, K, P]` and their log density `[T, K]`, up to a constant."""
    center, covariance = population.overall()
    whole = torch.linalg.cholesky(covariance)
    mode, root = most_probable(model, center, whole, given, population.noise.mean(0))
    third = len(white) // 3
    parts = white.split([third, third, len(white) - 2 * third])
    people = len(mode)
    draws = torch.cat(
        [
            (center + parts[0] @ whole.mT).expand(people, -1, -1),
            mode.unsqueeze(1) + parts[1] @ root.mT,
            mode.unsqueeze(1) + _WIDER * parts[2] @ root.mT,
        ],
        1,
    )
    shares = [math.log(len(part)) for part in parts]
    density = [
        shares[0] + normal_log_density(draws, center, whole),
        shares[1] + normal_log_density(draws, mode, root),
        shares[2] + normal_log_density(draws, mode, _WIDER * root),
    ]
    return draws, torch.stack(density).logsumexp(0)


def most_probable(
    model: Compartments, center: Tensor, root: Tensor, given: Samples, noise: Tensor
) -> tuple[Tensor, Tensor]:
    """The most probable parameters `[T, P]`, and a root of their covariance there, by Levenberg and Marquardt's method.

    Errors of Student's t are weighted as by least squares (Lange, Little and Taylor 1989, JASA 84).

    Args:
        model: the compartments.
        center, root: the normal distribution of people.
        given: samples `[T, N]`.
        noise: `[2]`, see `Population`.
    """
    people = len(given.hours)
    precision = torch.cholesky_inverse(root)
    point, damping = center.repeat(people, 1), center.new_full((people,), 1e-2)

    def value(point: Tensor) -> Tensor:
        level, slope = model.level_and_slope(point, given.hours)
        return log_density(given, level, slope, noise) + normal_log_density(point, center, root)

    best = value(point)
    for _ in range(_STEPS):
        pull, bend = _quadratic(model, point, given, noise)
        pull = pull - (point - center) @ precision
        bend = bend + precision
        raised = bend + damping[:, None, None] * bend.diagonal(dim1=1, dim2=2).diag_embed()
        trial = point + torch.linalg.solve(raised, pull).clamp(-3, 3)
        found = value(trial)
        better = found > best
        point, best = torch.where(better.unsqueeze(1), trial, point), torch.where(better, found, best)
        damping = torch.where(better, damping / 5, damping * 5).clamp(1e-8, 1e8)
    _, bend = _quadratic(model, point, given, noise)
    return point, torch.linalg.cholesky(torch.linalg.inv(bend + precision))


def _quadratic(model: Compartments, point: Tensor, given: Samples, noise: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient `[T, P]` of the samples' log density, without that of their scales, and its Gauss-Newton Hessian."""
    step = 1e-5 * torch.eye(point.shape[1]).to(point)
    around = model.log_concentration(
        torch.cat([point.unsqueeze(1) + step, point.unsqueeze(1) - step], 1), given.hours.unsqueeze(1)
    )
    up, down = around.chunk(2, 1)
    jacobian = (up - down) / 2e-5  # [T, P, N]
    level, slope = model.level_and_slope(point, given.hours)
    scale = scale_of(slope, noise)
    white = (given.level - level) / scale
    used = given.seen & ~(given.below & (white > 0))  # a value below the limit says nothing where the curve is below
    robust = (student.DEGREES + 1) / (student.DEGREES + white.square())
    weight = torch.where(used, robust / scale.square(), 0.0)
    residual = torch.where(used, white * scale, 0.0)
    weighted = jacobian * weight.unsqueeze(1)
    return (weighted @ residual.unsqueeze(2)).squeeze(2), weighted @ jacobian.mT
