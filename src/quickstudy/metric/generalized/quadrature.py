"""Averages over a normal linear predictor, by the trapezoidal rule."""

import math
from typing import Any

import torch
from torch import Tensor

from quickstudy.metric.generalized.laplace import Rows, mode
from quickstudy.predictive.outcomes import LOG_2PI
from quickstudy.tracing import values_are_readable

NODES = 81  # of an average whose place is known
REACH = 4.5  # of these nodes, in the argument of sinh
FAR = 8.0  # standard deviations of the linear predictor that are averaged over
CLOSEST = 1025  # largest number of nodes where they must be close to each other
NUMBERS = 1 << 18  # that are evaluated at once
UNSEEN = 257  # number of nodes where values cannot be read


def log_average(likelihood: Any, y: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """log of the mean of p(y | eta) over eta ~ N(mean, variance), for a log-concave p; all shapes are the same.

    The nodes surround the largest value of the integrand, sinh-spaced in units of its width there. As their places
    hardly change the sum, derivatives do not go through them.

    Args:
        likelihood: with parameters that broadcast to `y`.
        y: outcomes.
        mean: of eta.
        variance: of eta.
    """
    sd = variance.clamp_min(1e-16).sqrt()
    with torch.no_grad():
        flat = [part.expand_as(mean).reshape(-1, 1) for part in (y, mean, sd)]
        own = type(likelihood)(*(part.expand_as(mean).reshape(-1, 1) for part in likelihood))
        rows = Rows(flat[0], torch.ones_like(flat[0], dtype=torch.bool), flat[1], flat[2].unsqueeze(2))
        centre = mode(own, rows).view_as(mean)
        width = (1 + sd.square() * likelihood.curvature(y, mean + sd * centre)).rsqrt()
    t = torch.linspace(-REACH, REACH, NODES, dtype=mean.dtype, device=mean.device)
    t = t.view(-1, *[1] * mean.dim())
    z = centre + width * t.sinh()
    volume = width.log() + t.cosh().log() + math.log(2 * REACH / (NODES - 1))
    found: Tensor = (likelihood.log_prob(y, mean + sd * z) + volume - (z.square() + LOG_2PI) / 2).logsumexp(0)
    return found


def average_cdf(likelihood: Any, y: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """The probability of an outcome of at most `y [..., T, M, dy]` where eta ~ N(mean, variance), both `[T, M, dy]`.

    Nodes are as close to each other as the probability given eta falls steeply, as it does for large counts.
    """
    sd = variance.clamp_min(1e-16).sqrt()
    steepest = (sd * likelihood.sharpness(y).sqrt()).amax() if y.numel() else sd.sum()
    count = UNSEEN
    if values_are_readable(steepest):
        count = min(CLOSEST, 1 + 2 * math.ceil(FAR * max(4.0, 2 * float(steepest.detach()))))
    z = torch.linspace(-FAR, FAR, count, dtype=mean.dtype, device=mean.device)
    weights = (-z.square() / 2).softmax(0)
    found, at_once = torch.zeros_like(y), max(1, NUMBERS // max(1, y.numel()))
    for nodes, parts in zip(z.split(at_once), weights.split(at_once), strict=True):
        shape = (-1, *[1] * y.dim())
        found = found + (parts.view(shape) * likelihood.cdf(y, mean + sd * nodes.view(shape))).sum(0)
    return found.clamp(0, 1)
