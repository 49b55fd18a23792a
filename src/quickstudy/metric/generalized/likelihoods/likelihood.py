"""What a likelihood of a linear predictor is."""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

LARGEST = 100.0  # of a linear predictor whose exponential is taken, so that it stays finite


class Moments(NamedTuple):
    """The mean and the variance of outcomes."""

    mean: Tensor
    variance: Tensor


class Likelihood(Protocol):
    """The distribution of an outcome y given its linear predictor eta, with its parameters; everything is elementwise.

    Classes are NamedTuples of parameters, which broadcast to `eta`. `discrete` says whether outcomes are whole
    numbers, and `expects` what they are. Of whole numbers, log p is concave in eta, and there are also `cdf` and
    `sharpness` (`Discrete`); of real ones `mixed`, the belief where eta is normal.
    """

    discrete: bool
    expects: str

    def possible(self, y: Tensor) -> Tensor:
        """Whether each outcome is one."""

    def log_prob(self, y: Tensor, eta: Tensor) -> Tensor:
        """log p(y | eta)."""

    def slope(self, y: Tensor, eta: Tensor) -> Tensor:
        """The derivative of log p(y | eta) by eta."""

    def curvature(self, y: Tensor, eta: Tensor) -> Tensor:
        """Minus the second derivative of log p(y | eta) by eta."""

    def bound(self, y: Tensor, eta: Tensor) -> Tensor:
        """A positive curvature for safe steps; that itself where log p is concave."""

    def precision(self, y: Tensor, eta: Tensor) -> Tensor:
        """What the outcome says about eta, for Laplace's approximation: a positive curvature."""

    def inverse_link(self, eta: Tensor) -> Tensor:
        """The mean of y given eta."""

    def moments(self, mean: Tensor, variance: Tensor) -> Moments:
        """The moments of y where eta is normal with these moments."""

    def draw(self, eta: Tensor, generator: torch.Generator | None) -> Tensor:
        """An outcome for each eta."""


class Discrete(Likelihood, Protocol):
    """A likelihood of whole numbers."""

    def cdf(self, y: Tensor, eta: Tensor) -> Tensor:
        """The probability of an outcome of at most y, given eta."""

    def sharpness(self, y: Tensor) -> Tensor:
        """1 / w^2, where w is the width over which the probability of at most y falls, as eta grows."""
