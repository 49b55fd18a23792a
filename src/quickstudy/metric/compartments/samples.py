"""Blood samples, and their density given a person's parameters and the noise."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from quickstudy.data import Examples
from quickstudy.metric.compartments import student
from quickstudy.tasks.compartments import Compartments


class Samples(NamedTuple):
    """Blood samples, in float64.

    Args:
        hours: `[..., N]`, since the dose.
        level: `[..., N]`, logarithm of the concentration over the dose; that of the limit if it is below.
        seen: `[..., N]`, True for a sample that counts.
        below: `[..., N]`, True for a concentration below the limit of quantification.
    """

    hours: Tensor
    level: Tensor
    seen: Tensor
    below: Tensor

    def each(self, axis: int) -> "Samples":
        """With a new axis, along which parameters differ."""
        return Samples(*(part.unsqueeze(axis) for part in self))


def samples(examples: Examples, model: Compartments, limit: float) -> Samples:
    """The samples of `examples`, whose x is hours, or hours and dose; y is the logarithm of the concentration.

    Concentrations up to `limit` count as below it. Without carry-over, samples before the dose do not count.
    """
    clean = examples.clean()
    hours, dose = split(clean.x)
    y, real = clean.y.squeeze(2).double(), examples.real()
    cut = math.log(limit) if limit > 0 else -math.inf
    seen = real if model.carry_over else real & (hours > 0)
    below = y <= cut
    return Samples(hours, torch.where(below, cut, y) - dose, seen, below)


def split(x: Tensor) -> tuple[Tensor, Tensor]:
    """Hours and the logarithm of the dose `[..., N]` in float64, of `x [..., N, 1 or 2]`; without a dose it is 1."""
    wide = x.double()
    if x.shape[-1] == 1:
        return wide[..., 0], torch.zeros_like(wide[..., 0])
    return wide[..., 0], wide[..., 1].clamp_min(1e-300).log()


def log_density(given: Samples, level: Tensor, slope: Tensor, noise: Tensor) -> Tensor:
    """Log density `[...]` of a person's samples: logarithms have Student's t errors, with 5 degrees of freedom.

    The squared scale of a logarithm's error is b^2 + (j s)^2: b is the relative error of a measurement, j the error of
    sampling times in hours, and s the slope of the curve. So samples on the steep part of the curve say less than
    others. A value below the limit contributes the probability of being there: method M3 of Beal (2001, Journal of
    Pharmacokinetics and Pharmacodynamics 28).

    Args:
        given: the samples.
        level, slope: `[..., N]`, of the curve and its derivative by time.
        noise: `[..., 2]`, logarithms of b and j.
    """
    scale = scale_of(slope, noise)
    white = (given.level - level) / scale
    density = student.log_density(white) - scale.log()
    below = student.cdf(torch.where(given.below, white, 0.0)).log()
    return torch.where(given.seen, torch.where(given.below, below, density), 0.0).sum(-1)


def scale_of(slope: Tensor, noise: Tensor) -> Tensor:
    """The scale of the error of the logarithm of a measured concentration, `[..., N]`."""
    error, jitter = (2 * noise).exp().unsqueeze(-2).unbind(-1)
    return (error + jitter * slope.square()).sqrt()
