"""What is believed of a drug: its typical person, how people differ, and the noise; the prior, and draws."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from quickstudy.tasks.compartments import Compartments

_CENTER = {"volume": 0.0, "clearance": -1.5, "absorption": 0.0, "tissue": 0.0, "exchange": 0.0, "washout": math.log(72)}
_WIDTH = {"volume": 3.0, "clearance": 3.0, "absorption": 1.5, "tissue": 1.0, "exchange": 1.0, "washout": 1.0}
BETWEEN = 0.5  # scale of the half-t prior of the standard deviations between people
_NOISE = (math.log(0.15), math.log(0.05)), (0.7, 1.0)  # center and width of the logarithms


class Drugs(NamedTuple):
    """The prior over drugs: normal distributions of logarithms, and the spread between people.

    Args:
        center: `[P]`, of the parameters of a drug's typical person.
        width: `[P]`, their standard deviations over drugs.
        noise_center: `[2]`, of the relative error of a measurement, and of the error of sampling times in hours.
        noise_width: `[2]`.
    """

    center: Tensor
    width: Tensor
    noise_center: Tensor
    noise_width: Tensor


class Population(NamedTuple):
    """`S` draws from the posterior of a drug's population.

    Args:
        mean: `[S, P]`, of the logarithms of a person's parameters.
        root: `[S, P, P]`, lower triangular: their covariance is root root^T.
        noise: `[S, 2]`, logarithms of the relative error, and of the error of sampling times in hours.
    """

    mean: Tensor
    root: Tensor
    noise: Tensor

    def overall(self) -> tuple[Tensor, Tensor]:
        """Mean `[P]` and covariance `[P, P]` of a person, over all draws."""
        center = self.mean.mean(0)
        off = self.mean - center
        within = (self.root @ self.root.mT).mean(0)
        return center, within + off.T @ off / len(off)


def drugs(model: Compartments, concentration: float = 0.0, *, like: Tensor) -> Drugs:
    """The prior.

    Volumes are in the units of the data; so their prior is centered where a dose of 1, spread at once, would give
    the concentration whose logarithm is `concentration`. Washouts are about three days, rates are per hour.
    """
    center = like.new_tensor([_CENTER[name] for name in model.names])
    center[:2] -= concentration
    width = like.new_tensor([_WIDTH[name] for name in model.names])
    return Drugs(center, width, like.new_tensor(_NOISE[0]), like.new_tensor(_NOISE[1]))


def of_any_drug(prior: Drugs, draws: int) -> Population:
    """The population before any person was seen: that of all drugs together, as one normal distribution."""
    mean = prior.center.repeat(draws, 1)
    root = (prior.width.square() + BETWEEN**2).sqrt().diag_embed().repeat(draws, 1, 1)
    return Population(mean, root, prior.noise_center.repeat(draws, 1))


def normal_log_density(values: Tensor, mean: Tensor, root: Tensor) -> Tensor:
    """Log density `[..., K]` of `values [..., K, P]`; `mean [..., P]`, and `root [..., P, P]` of the covariance."""
    eye = torch.eye(values.shape[-1], dtype=values.dtype, device=values.device)
    inverse = torch.linalg.solve_triangular(root, eye.expand_as(root), upper=False)
    white = (values - mean.unsqueeze(-2)) @ inverse.mT
    size = root.diagonal(dim1=-2, dim2=-1).log().sum(-1) + 0.5 * values.shape[-1] * math.log(2 * math.pi)
    return -0.5 * white.square().sum(-1) - size.unsqueeze(-1)
