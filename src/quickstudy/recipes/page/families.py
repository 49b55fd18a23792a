"""The families of functions on the page."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from quickstudy.data import Examples
from quickstudy.recipes.page.curves import Curves, Parameter
from quickstudy.recipes.page.gaussian import GPPosterior
from quickstudy.tasks import GaussianProcess
from quickstudy.tasks.compartments import Compartments

HOURS = 24.0  # in a day


class PageFamily(NamedTuple):
    """A family of functions on the page.

    Args:
        title: its name in words.
        family: the tasks.
        posterior: function from the points seen of one task to its exact posterior, a predictor.
        heights: smallest and largest y that the page shows.
        rate: learning rate of the gradient steps of MAML and of the pretrained network.
    """

    title: str
    family: Any
    posterior: Callable[[Examples], Any]
    heights: tuple[float, float]
    rate: float


def _sine(theta: Tensor, x: Tensor) -> Tensor:
    return theta[..., :1] * (x - theta[..., 1:2]).sin()


def _sawtooth(theta: Tensor, x: Tensor) -> Tensor:
    return (theta[..., :1] * x - theta[..., 1:2]) % 1.0


def _drug(theta: Tensor, x: Tensor) -> Tensor:
    """The logarithm of a concentration over the dose, x days after the dose."""
    volume, half_life, absorption = theta.unbind(-1)
    clearance = math.log(2) * volume / half_life
    return Compartments(1, "oral").log_concentration(torch.stack([volume, clearance, absorption], -1).log(), HOURS * x)


SINE = Curves(
    (Parameter("amplitude", 0.1, 5.0, "amplitude"), Parameter("phase", 0.0, math.pi, "phase")),
    _sine,
    noise=0.2,
    domain=(-5.0, 5.0),
)
SAWTOOTH = Curves(
    (Parameter("frequency", 0.25, 0.75, "teeth per unit of x"), Parameter("offset", 0.0, 1.0, "offset")),
    _sawtooth,
    noise=0.05,
    domain=(-2.0, 2.0),
)
DRUG = Curves(
    (
        Parameter("volume", 0.5, 2.0, "volume of distribution", log=True),
        Parameter("half_life", 2.0, 10.0, "half-life in hours", log=True),
        Parameter("absorption", 0.3, 3.0, "absorption, per hour", log=True),
    ),
    _drug,
    noise=0.1,
    domain=(0.0, 1.0),
)
RBF = GaussianProcess()

FAMILIES: dict[str, PageFamily] = {
    "sine": PageFamily("Sine waves", SINE, SINE.posterior, (-6.0, 6.0), 0.01),
    "rbf": PageFamily("Gaussian process", RBF, lambda support: GPPosterior(RBF, support), (-2.5, 2.5), 0.03),
    "sawtooth": PageFamily("Sawtooth waves", SAWTOOTH, SAWTOOTH.posterior, (-0.5, 1.5), 0.03),
    "drug": PageFamily("A drug in the blood", DRUG, DRUG.posterior, (-5.0, 1.0), 0.03),
}
