"""Likelihoods: how a network's output becomes a loss per point, and a belief about the outcome.

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
from quickstudy.checks import check_made, check_number, check_positive, check_switch, shown, values_are_readable
from quickstudy.data import IGNORED, Examples, at_least_float32, mean_over_positions
from quickstudy.learner import Predictive
from quickstudy.predictive.outcomes import LOG_2PI

__all__ = ["Categorical", "Gaussian", "HeteroscedasticGaussian", "Likelihood"]  # what `qs.likelihoods` is for

PointLoss = Callable[[Tensor, Tensor], Tensor]


class Likelihood(Protocol):
    """Turns a network's output into a loss and into a belief. Inner and outer loop both minimise `loss`."""

    def loss(self, output: Tensor, y: Tensor) -> Tensor:
        """Negative log-likelihood of each point: `output [N, *do]`, `y [N, *dy]` -> `[N]`."""

    def predictive(self, output: Tensor) -> Predictive:
        """The belief that `output [T, M, *do]` parametrises."""


class Gaussian(nn.Module):
    """Normally distributed outcomes: the output is their mean, and one standard deviation holds everywhere.

    Args:
        sd: standard deviation of the observation noise, in units of y.
        learn: whether to meta-learn it, starting from `sd`. The inner loop does not adapt it.

    >>> Gaussian(0.5).loss(torch.zeros(3, 1), torch.zeros(3, 1))
    tensor([0.2258, 0.2258, 0.2258])
    """

    def __init__(self, sd: float = 0.1, *, learn: bool = False):
        super().__init__()
        self.sd, self.learn = check_positive("sd", sd), check_switch("learn", learn)
        self.log_sd = nn.Parameter(torch.tensor(math.log(sd))) if learn else None

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"sd": self.sd, "learn": self.learn}

    def extra_repr(self) -> str:
        """The current standard deviation."""
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
        """A normal belief with mean `output`."""
        return predictive.Gaussian(output, (2 * self._log_sd(output).to(output)).exp().expand_as(output))

    def _log_sd(self, like: Tensor) -> Tensor:
        if self.log_sd is not None:
            return self.log_sd
        return torch.full((), math.log(self.sd), dtype=like.dtype, device=like.device)


class HeteroscedasticGaussian(nn.Module):
    """Normally distributed outcomes; the network, with `2 dy` outputs, gives both mean and standard deviation.

    The standard deviation is `floor + softplus(raw)`. The outputs are `[N, 2 dy]`, for images `[N, 2 C, H, W]`: along
    that axis the first half is the mean and the second half `raw`.

    Args:
        floor: the smallest standard deviation, in units of y.
    """

    def __init__(self, floor: float = 1e-3):
        super().__init__()
        self.floor = check_number("floor", floor)

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
        """A normal belief with the network's mean and variance."""
        mean, sd = self._split(output, 2)
        return predictive.Gaussian(mean, sd.square())

    def _split(self, output: Tensor, axis: int) -> tuple[Tensor, Tensor]:
        if output.dim() <= axis or output.shape[axis] % 2:
            count = output.shape[axis] if output.dim() > axis else "no axis of"
            raise ValueError(
                f"the network has {count} outputs; HeteroscedasticGaussian needs 2 for each output of y, a mean and a "
                "scale: build the network with twice as many outputs as y has"
            )
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
    """The loss per point that follows from a learner's arguments `loss=` and `likelihood=`.

    Raises:
        ValueError: if both are given.
        TypeError: if `loss` is not a function, or `likelihood` not a `Likelihood`.
    """
    if loss is not None and likelihood is not None:
        raise ValueError("give loss= or likelihood=, not both: a likelihood is its own loss")
    check_made("loss", loss, "")
    if loss is not None and not callable(loss):
        raise TypeError(f"loss={shown(loss)}; expected a function (output [N, *do], y) -> [N]")
    if likelihood is None:
        return loss or default_loss
    check_made("likelihood", likelihood)
    if not (hasattr(likelihood, "loss") and hasattr(likelihood, "predictive")):
        raise TypeError(
            f"likelihood={shown(likelihood)}; expected an instance such as quickstudy.likelihoods.Gaussian(0.1)"
        )
    return likelihood.loss


def default_loss(output: Tensor, y: Tensor) -> Tensor:
    """The loss `[N]` of each point: squared error summed over outputs for float `y`, `cross_entropy` for integers."""
    if not y.is_floating_point():
        return cross_entropy(output, y)
    _same_shape(output, y)
    return (output - y).square().flatten(1).sum(1)


def cross_entropy(output: Tensor, y: Tensor) -> Tensor:
    """The loss `[N]` of each point: the mean over its positions that count, so that a rate suits images of any size.

    Args:
        output: logits `[N, C, *positions]`.
        y: integer labels `[N, *positions]`, -100 where a position does not count.

    Raises:
        TypeError: if `y` holds floats.
        ValueError: if the shapes of logits and labels do not agree, or a label is negative or not below C.

    >>> cross_entropy(torch.zeros(3, 2, 4, 4), torch.zeros(3, 4, 4, dtype=torch.long))
    tensor([0.6931, 0.6931, 0.6931])
    """
    if y.is_floating_point():
        raise TypeError(
            f"y is {y.dtype} of shape {list(y.shape)}; class labels are integers [N]: give y.long(), without an axis "
            "of outputs"
        )
    if output.dim() != y.dim() + 1 or len(output) != len(y) or output.shape[2:] != y.shape[1:]:
        expected = ", ".join(map(str, [len(y), "C", *y.shape[1:]]))
        raise ValueError(
            f"the network's output has shape {list(output.shape)} and y holds integer labels {list(y.shape)}; expected "
            f"logits [{expected}], the classes on the second axis (real outputs are y.float(), and one-hot labels "
            "become labels by y.argmax(-1))"
        )
    rows = output if y.dim() == 1 else output.movedim(1, -1).flatten(0, -2)
    try:
        losses = F.cross_entropy(rows, y.long().flatten(), reduction="none", ignore_index=IGNORED)
    except IndexError:
        if not values_are_readable(y):
            raise
        raise ValueError(_unknown_label(y[y != IGNORED], output.shape[1])) from None
    return mean_over_positions(losses.view(y.shape), y, 1)


def _unknown_label(labels: Tensor, classes: int) -> str:
    """The message for a label without an output of the network."""
    real = "if y holds real outcomes, write y.float() with an axis of outputs, [T, N, dy]"
    if int(labels.min()) < 0:
        return f"y holds the class label {int(labels.min())}; labels count from 0 ({real})"
    most = int(labels.max())
    return (
        f"y holds the class label {most}, and the network has {classes} output{'s' * (classes > 1)}, one per class; "
        f"build it with at least {most + 1} ({real})"
    )


def _same_shape(output: Tensor, y: Tensor) -> None:
    if output.shape == y.shape and y.dim() >= 2:
        return
    if not y.is_floating_point():
        raise ValueError(
            f"y holds integers of shape {list(y.shape)}, which are class labels, and this likelihood is for real "
            "outcomes; give y.float() with an axis of outputs, or take likelihoods.Categorical()"
        )
    outputs = ", ".join(["N", *map(str, y.shape[1:])])
    raise ValueError(
        f"the network's output has shape {list(output.shape)} and y {list(y.shape)}; the network must map [N, *dx] to "
        f"[{outputs}]: change its last layer, or, if y holds class labels, give integers [T, N], y.long()"
    )


def negative_log_likelihood(belief: Predictive, query: Examples, *, joint: bool) -> Tensor:
    """Scalar: the mean over tasks of the negative log density of the query points, divided by their number.

    With `joint`, it is that of all query points together; otherwise, that of each by itself.
    """
    density = belief.log_prob(query.y, query.mask, joint)
    total = density if joint else density.sum(1, dtype=at_least_float32(density))
    return -(total / query.sizes().clamp_min(1)).mean()
