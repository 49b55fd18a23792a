"""The two-stage method: every person is fitted alone, then a new one by maximum a posteriori."""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from quickstudy.data import Examples
from quickstudy.metric.compartments.belief import StudentMixture
from quickstudy.metric.compartments.population import drugs
from quickstudy.metric.compartments.samples import samples, split
from quickstudy.metric.compartments.weighting import most_probable
from quickstudy.tasks.compartments import Compartments

_START = math.log(0.15)  # of the relative error, while people are fitted alone
_NEVER = -20.0  # logarithm of the error of sampling times, in hours


class TwoStage(NamedTuple):
    """The method of two stages (Steimer, Mallet, Golmard and Boisvieux 1984, Drug Metabolism Reviews 15).

    Args:
        model: compartments, without carry-over.
        center: `[P]`, the mean of people's logarithms of parameters.
        root: `[P, P]`, a root of their covariance.
        noise: `[2]`, logarithms of the noise.
    """

    model: Compartments
    center: Tensor
    root: Tensor
    noise: Tensor

    @classmethod
    def fit(cls, model: Compartments, people: Examples) -> "TwoStage":
        """Fit each person alone, with the weak prior over drugs, and take the mean and covariance of the fits."""
        given = samples(people, model, 0.0)
        prior = drugs(model, float(given.level[given.seen].max()), like=given.hours)
        center = prior.center.clone()
        center[1] += math.log(4 / float(given.hours[given.seen].median())) + 1.5
        noise = torch.tensor([_START, _NEVER], dtype=torch.float64)
        logs, _ = most_probable(model, center, prior.width.diag_embed(), given, noise)
        off = torch.where(given.seen, given.level - model.log_concentration(logs, given.hours), 0.0)
        free = int(given.seen.sum()) - logs.numel()
        noise = torch.tensor([math.log(float(off.square().sum() / max(1, free)) ** 0.5), _NEVER], dtype=torch.float64)
        covariance = logs.T.cov() + 1e-2 * torch.eye(len(center), dtype=torch.float64)
        return cls(model, logs.mean(0), torch.linalg.cholesky(covariance), noise)

    def predict(self, support: Examples, x: Tensor) -> Any:
        """The belief about the logarithm of concentrations at `x [T, M, 2]`, from the most probable parameters."""
        logs, _ = most_probable(self.model, self.center, self.root, samples(support, self.model, 0.0), self.noise)
        hours, dose = split(x)
        level = (self.model.log_concentration(logs, hours) + dose).unsqueeze(1)
        scale = self.noise[0].exp().expand_as(level)
        return StudentMixture(level.new_zeros(len(level), 1), level, scale)
