"""A prediction without a density."""

from typing import Any, NamedTuple, NoReturn

import torch
from jaxtyping import Float
from torch import Tensor

from quickstudy.learner import Interval
from quickstudy.predictive.outcomes import Mask


class NoDensityError(NotImplementedError):
    """Raised when a learner without a likelihood is asked for a density."""


class Point(NamedTuple):
    """A prediction without a density, made by a learner without a likelihood.

    Args:
        mean: `[T, M, *dy]`.

    Raises:
        NoDensityError: from `variance`, `sample`, `log_prob`, `cdf`, `quantile` and `interval`.
    """

    mean: Float[Tensor, "T M *dy"]

    @property
    def variance(self) -> Tensor:
        """Raises NoDensityError."""
        _no_density("variance")

    def sample(self, n: int, generator: torch.Generator | None = None, noise: bool = True) -> Tensor:
        """Raises NoDensityError."""
        _no_density("samples")

    def log_prob(self, y: Tensor, mask: Mask = None, joint: bool = False) -> Tensor:
        """Raises NoDensityError."""
        _no_density("log_prob")

    def cdf(self, y: Tensor) -> Tensor:
        """Raises NoDensityError."""
        _no_density("cdf")

    def quantile(self, p: Any) -> Tensor:
        """Raises NoDensityError."""
        _no_density("quantile")

    def interval(self, level: Any) -> Interval:
        """Raises NoDensityError."""
        _no_density("interval")

    def rescale(self, shift: Tensor | float, scale: Tensor | float) -> "Point":
        """The belief about `shift + scale * y`."""
        return Point(shift + scale * self.mean)


def _no_density(what: str) -> NoReturn:
    raise NoDensityError(
        f"a learner without a likelihood has no {what}; give it a density with "
        "likelihood=quickstudy.likelihoods.Gaussian(...)"
    )
