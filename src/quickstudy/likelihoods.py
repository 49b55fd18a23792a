"""What a network's output says of an outcome: a loss per point, and a belief.

A likelihood makes a gradient-based learner's prediction a density. Without one, float outcomes get squared error
(no density) and integer labels cross-entropy.
"""

import math
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from quickstudy import predictive
from quickstudy.learner import Predictive

PointLoss = Callable[[Tensor, Tensor], Tensor]


class Likelihood(Protocol):
    """How outputs are judged and read. `loss` is what both loops minimise."""

    def loss(self, output: Tensor, y: Tensor) -> Tensor:
        """Negative log-likelihood of each point: `output [N, do]`, `y [N, dy]` -> `[N]`."""

    def predictive(self, output: Tensor) -> Predictive:
        """The belief that `output [T, M, do]` stands for."""


class Gaussian(nn.Module):
    """Normal outcomes around the output, with one standard deviation everywhere.

    Args:
        sd: standard deviation of the observation noise, in units of y.
        learn: meta-learn it, starting from `sd` (it is not adapted in the inner loop).

    >>> Gaussian(0.5).loss(torch.zeros(3, 1), torch.zeros(3, 1))
    tensor([0.2258, 0.2258, 0.2258])
    """

    def __init__(self, sd: float = 0.1, *, learn: bool = False):
        super().__init__()
        if not (isinstance(sd, int | float) and 0 < sd < math.inf):
            raise ValueError(f"sd={sd!r}; expected a positive standard deviation")
        self.sd, self.learn = sd, learn
        self.log_sd = nn.Parameter(torch.tensor(math.log(sd))) if learn else None

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"sd": self.sd, "learn": self.learn}

    def loss(self, output: Tensor, y: Tensor) -> Tensor:
        """Negative log density of each point, summed over dy."""
        _same_shape(output, y)
        log_sd = self._log_sd(output)
        white = (y - output) * (-log_sd).exp()
        return (0.5 * white.square() + log_sd + 0.5 * predictive.LOG_2PI).sum(-1)

    def predictive(self, output: Tensor) -> predictive.Gaussian:
        """Normal around `output`."""
        return predictive.Gaussian(output, (2 * self._log_sd(output).to(output)).exp().expand_as(output))

    def _log_sd(self, like: Tensor) -> Tensor:
        if self.log_sd is not None:
            return self.log_sd
        return torch.full((), math.log(self.sd), dtype=like.dtype, device=like.device)


class HeteroscedasticGaussian(nn.Module):
    """Normal outcomes whose mean and standard deviation the network gives: it has `2 dy` outputs.

    The standard deviation is `floor + softplus(raw)`.

    Args:
        floor: the smallest standard deviation, in units of y.
    """

    def __init__(self, floor: float = 1e-3):
        super().__init__()
        if not (isinstance(floor, int | float) and 0 <= floor < math.inf):
            raise ValueError(f"floor={floor!r}; expected a standard deviation of at least 0")
        self.floor = floor

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"floor": self.floor}

    def loss(self, output: Tensor, y: Tensor) -> Tensor:
        """Negative log density of each point, summed over dy."""
        mean, sd = self._split(output)
        _same_shape(mean, y)
        return (0.5 * ((y - mean) / sd).square() + sd.log() + 0.5 * predictive.LOG_2PI).sum(-1)

    def predictive(self, output: Tensor) -> predictive.Gaussian:
        """Normal with the network's mean and variance."""
        mean, sd = self._split(output)
        return predictive.Gaussian(mean, sd.square())

    def _split(self, output: Tensor) -> tuple[Tensor, Tensor]:
        if output.shape[-1] % 2:
            raise ValueError(
                f"the network has {output.shape[-1]} outputs; HeteroscedasticGaussian needs 2 for each output of y"
            )
        mean, raw = output.chunk(2, -1)
        return mean, self.floor + F.softplus(raw)


class Categorical(nn.Module):
    """Integer class labels; the outputs are logits."""

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {}

    def loss(self, output: Tensor, y: Tensor) -> Tensor:
        """Cross-entropy of each point."""
        return F.cross_entropy(output, y.long(), reduction="none")

    def predictive(self, output: Tensor) -> predictive.Categorical:
        """Class probabilities."""
        return predictive.Categorical(output)


def choose_loss(loss: PointLoss | None, likelihood: Likelihood | None) -> PointLoss:
    """The loss that a learner's `loss=` and `likelihood=` come to.

    Raises:
        ValueError: if both are given.
        TypeError: if either is not what it should be.
    """
    if loss is not None and likelihood is not None:
        raise ValueError("give loss= or likelihood=, not both: a likelihood is its own loss")
    if loss is not None and not callable(loss):
        raise TypeError(f"loss={loss!r}; expected a function (output [N, do], y) -> [N]")
    if likelihood is None:
        return loss or default_loss
    if isinstance(likelihood, type) or not (hasattr(likelihood, "loss") and hasattr(likelihood, "predictive")):
        raise TypeError(f"likelihood={likelihood!r}; expected an instance such as quickstudy.likelihoods.Gaussian(0.1)")
    return likelihood.loss


def default_loss(output: Tensor, y: Tensor) -> Tensor:
    """Per point `[N]`: squared error summed over dy for float `y`, cross-entropy for integer `y`."""
    if not y.is_floating_point():
        return F.cross_entropy(output, y.long(), reduction="none")
    _same_shape(output, y)
    return (output - y).square().sum(-1)


def _same_shape(output: Tensor, y: Tensor) -> None:
    if output.shape != y.shape:
        raise ValueError(
            f"the network's output has shape {list(output.shape)} and y {list(y.shape)}; "
            "the network must map [N, *dx] to [N, dy]"
        )
