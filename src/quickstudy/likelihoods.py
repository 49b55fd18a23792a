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
from quickstudy.checks import values_are_readable
from quickstudy.data import IGNORED, mean_over_positions
from quickstudy.learner import Predictive
from quickstudy.predictive.outcomes import LOG_2PI

PointLoss = Callable[[Tensor, Tensor], Tensor]


class Likelihood(Protocol):
    """How outputs are judged and read. `loss` is what both loops minimise."""

    def loss(self, output: Tensor, y: Tensor) -> Tensor:
        """Negative log-likelihood of each point: `output [N, *do]`, `y [N, *dy]` -> `[N]`."""

    def predictive(self, output: Tensor) -> Predictive:
        """The belief that `output [T, M, *do]` stands for."""


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

    def extra_repr(self) -> str:
        """The standard deviation as it is now."""
        now = self.sd
        if self.log_sd is not None and values_are_readable(self.log_sd):
            now = float(self.log_sd.detach().exp())
        return f"sd={now:.6g}" + (", learned" if self.learn else "")

    def loss(self, output: Tensor, y: Tensor) -> Tensor:
        """Negative log density of each point, summed over dy."""
        _same_shape(output, y)
        log_sd = self._log_sd(output)
        white = (y - output) * (-log_sd).exp()
        return (0.5 * white.square() + log_sd + 0.5 * LOG_2PI).flatten(1).sum(1)

    def predictive(self, output: Tensor) -> predictive.Gaussian:
        """Normal around `output`."""
        return predictive.Gaussian(output, (2 * self._log_sd(output).to(output)).exp().expand_as(output))

    def _log_sd(self, like: Tensor) -> Tensor:
        if self.log_sd is not None:
            return self.log_sd
        return torch.full((), math.log(self.sd), dtype=like.dtype, device=like.device)


class HeteroscedasticGaussian(nn.Module):
    """Normal outcomes whose mean and standard deviation the network gives: it has `2 dy` outputs.

    The standard deviation is `floor + softplus(raw)`. The first half of the axis after the points is the mean, the
    other half raw: `[N, 2 dy]`, and for images `[N, 2 C, H, W]`.

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

    def extra_repr(self) -> str:
        """The smallest standard deviation."""
        return f"floor={self.floor}"

    def loss(self, output: Tensor, y: Tensor) -> Tensor:
        """Negative log density of each point, summed over dy."""
        mean, sd = self._split(output, 1)
        _same_shape(mean, y)
        return (0.5 * ((y - mean) / sd).square() + sd.log() + 0.5 * LOG_2PI).flatten(1).sum(1)

    def predictive(self, output: Tensor) -> predictive.Gaussian:
        """Normal with the network's mean and variance."""
        mean, sd = self._split(output, 2)
        return predictive.Gaussian(mean, sd.square())

    def _split(self, output: Tensor, axis: int) -> tuple[Tensor, Tensor]:
        if output.dim() <= axis or output.shape[axis] % 2:
            count = output.shape[axis] if output.dim() > axis else "no axis of"
            raise ValueError(f"the network has {count} outputs; HeteroscedasticGaussian needs 2 for each output of y")
        mean, raw = output.chunk(2, axis)
        return mean, self.floor + F.softplus(raw)


class Categorical(nn.Module):
    """Integer class labels; the outputs are logits `[N, C]`, or `[N, C, *positions]` for labels `[N, *positions]`."""

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {}

    def loss(self, output: Tensor, y: Tensor) -> Tensor:
        """Cross-entropy of each point, the mean over its positions."""
        return cross_entropy(output, y)

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
        raise TypeError(f"loss={loss!r}; expected a function (output [N, *do], y) -> [N]")
    if likelihood is None:
        return loss or default_loss
    if isinstance(likelihood, type) or not (hasattr(likelihood, "loss") and hasattr(likelihood, "predictive")):
        raise TypeError(f"likelihood={likelihood!r}; expected an instance such as quickstudy.likelihoods.Gaussian(0.1)")
    return likelihood.loss


def default_loss(output: Tensor, y: Tensor) -> Tensor:
    """Per point `[N]`: for float `y` squared error, summed over all but the points; `cross_entropy` for integers."""
    if not y.is_floating_point():
        return cross_entropy(output, y)
    _same_shape(output, y)
    return (output - y).square().flatten(1).sum(1)


def cross_entropy(output: Tensor, y: Tensor) -> Tensor:
    """Of each point `[N]`, the mean over the positions that count where it has several: so a rate suits any size.

    Args:
        output: logits `[N, C, *positions]`.
        y: integer labels `[N, *positions]`, -100 where a position does not count.

    >>> cross_entropy(torch.zeros(3, 2, 4, 4), torch.zeros(3, 4, 4, dtype=torch.long))
    tensor([0.6931, 0.6931, 0.6931])
    """
    if output.dim() != y.dim() + 1 or len(output) != len(y) or output.shape[2:] != y.shape[1:]:
        expected = ", ".join(map(str, [len(y), "C", *y.shape[1:]]))
        raise ValueError(
            f"the network's output has shape {list(output.shape)} and y holds integer labels {list(y.shape)}; expected "
            f"logits [{expected}], the classes on the second axis (real outputs are y.float(), and one-hot labels "
            "become labels by y.argmax(-1))"
        )
    rows = output if y.dim() == 1 else output.movedim(1, -1).flatten(0, -2)
    losses = F.cross_entropy(rows, y.long().flatten(), reduction="none", ignore_index=IGNORED)
    return mean_over_positions(losses.view(y.shape), y, 1)


def _same_shape(output: Tensor, y: Tensor) -> None:
    if output.shape != y.shape or y.dim() < 2:
        raise ValueError(
            f"the network's output has shape {list(output.shape)} and y {list(y.shape)}; "
            f"the network must map [N, *dx] to [N, {'*dy' if y.dim() > 2 else 'dy'}]"
        )
