"""Class probabilities."""

from typing import NamedTuple, NoReturn

import torch
from jaxtyping import Float, Int
from torch import Tensor

from quickstudy.checks import values_are_readable
from quickstudy.data import IGNORED, at_least_float32, mean_over_positions, zero_padding
from quickstudy.predictive.outcomes import (
    Mask,
    check_draws,
    check_outcome,
    reduced,
)
from quickstudy.predictive.quantiles import no_quantile

UNORDERED = "class labels have no order, so they have no {}; use probs, logits.argmax(2) or sample(n)"


class Categorical(NamedTuple):
    """Class probabilities for one label per point, or for one at each of its positions (pixels, places in a sequence).

    The classes are on the third axis, after tasks and points, as in torch. Positions are independent given the logits.
    `mean` and `variance` are those of the one-hot outcome.

    Args:
        logits: `[T, M, C, *positions]`, unnormalised log-probabilities of `C` classes.

    >>> belief = Categorical(torch.zeros(1, 2, 3, 4, 4))
    >>> belief.sample(5).shape, belief.log_prob(torch.zeros(1, 2, 4, 4, dtype=torch.long))
    (torch.Size([5, 1, 2, 4, 4]), tensor([[-1.0986, -1.0986]]))
    """

    logits: Float[Tensor, "T M C *positions"]

    @property
    def probs(self) -> Float[Tensor, "T M C *positions"]:
        """Class probabilities."""
        return self.logits.softmax(2)

    @property
    def mean(self) -> Float[Tensor, "T M C *positions"]:
        """The expected one-hot outcome: `probs`."""
        return self.probs

    @property
    def variance(self) -> Float[Tensor, "T M C *positions"]:
        """Of the one-hot outcome: p (1 - p)."""
        return self.probs * (1 - self.probs)

    def sample(
        self, n: int, generator: torch.Generator | None = None, noise: bool = True
    ) -> Int[Tensor, "n T M *positions"]:
        """`n` draws of labels, each shaped as `y`; without `noise`, each draw is the most likely label."""
        check_draws(n, generator, self.logits.device)
        likeliest = self.logits.argmax(2)
        if not noise:
            return likeliest.expand(n, *likeliest.shape).clone()
        rows = self.probs.movedim(2, -1).flatten(0, -2)
        drawn = torch.multinomial(rows, n, replacement=True, generator=generator) if len(rows) else rows.new_zeros(0, n)
        return drawn.T.reshape(n, *likeliest.shape).long()

    def log_prob(self, y: Int[Tensor, "T M *positions"], mask: Mask = None, joint: bool = False) -> Tensor:
        """Log probability of each point `[T, M]`, 0 where masked: the *mean* over its positions, minus the loss.

        Args:
            y: labels; a position labelled -100 does not count.
            mask: True for a real point.
            joint: return `[T]`, the log probability of all labels together: the *sum* over points and positions.

        Raises:
            ValueError: for a label that is not one of the classes.
        """
        check_outcome(y, self.logits[:, :, 0], mask)
        if y.is_floating_point():
            raise TypeError(f"y is {y.dtype}; class labels are integers [T, M, *positions]: use y.long()")
        y = (y if mask is None else zero_padding(y, mask)).long()
        counted = y != IGNORED
        if values_are_readable(y):
            _check_labels(y, counted, self.logits.shape[2])
        each = self.logits.log_softmax(2).gather(2, torch.where(counted, y, 0).unsqueeze(2)).squeeze(2)
        each = torch.where(counted, each, 0)
        if joint:
            each = each if mask is None else zero_padding(each, mask)
            return each.sum(tuple(range(1, each.dim())), dtype=at_least_float32(each))
        return reduced(mean_over_positions(each, y, 2), mask, joint=False)

    @property
    def cdf(self) -> NoReturn:
        """Raises NoQuantileError, as classes have no order."""
        no_quantile(UNORDERED.format("cdf"))

    @property
    def quantile(self) -> NoReturn:
        """Raises NoQuantileError, as classes have no order."""
        no_quantile(UNORDERED.format("quantile"))

    @property
    def interval(self) -> NoReturn:
        """Raises NoQuantileError, as classes have no order."""
        no_quantile(UNORDERED.format("interval"))


def _check_labels(y: Tensor, counted: Tensor, classes: int) -> None:
    wrong = (counted & ((y < 0) | (y >= classes))).nonzero()
    if len(wrong):
        place = tuple(wrong[0].tolist())
        raise ValueError(f"y has the label {int(y[place])} at index {list(place)}; the classes are 0 to {classes - 1}")
