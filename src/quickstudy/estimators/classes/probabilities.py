"""Class probabilities at rows of many groups."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from quickstudy.estimators.classes.candidates import labelled
from quickstudy.tables.portions import POINTS, At


def probabilities(
    learner: Any, known: Sequence[Tensor], asked: Sequence[Sequence[int]], x: Tensor, classes: int
) -> Tensor:
    """Class probabilities `[rows, classes]`; arguments are as of `predictions`, and outcomes are numbers of classes."""
    predict = At(
        lambda support: learner.adapt(labelled(support)),
        lambda belief: belief.mean[None].double(),
        (1, classes),
        POINTS,
    )
    found = predict(known, asked, x)[0]
    return found / found.sum(1, keepdim=True)
