"""The features of mixed models of a table."""

from typing import Any, NamedTuple

import torch

from quickstudy.data import Examples
from quickstudy.metric.bases.crossed import Crossed
from quickstudy.metric.bases.natural_spline import NaturalSpline
from quickstudy.metric.bases.polynomial import Polynomial

FEWEST_KNOTS = 3  # of a curve
MOST_PRODUCTS = 6  # inputs of groups, such as treatments, that change the slope of the first input


class Features(NamedTuple):
    """Degrees or bases of the fixed and of the random effects."""

    fixed: Any
    random: Any


def features_of(groups: Examples, fixed: int, random: int) -> Features:
    """A line (1) or a natural spline (more knots) for all groups; random intercepts (0), lines (1) or parabolas (2).

    With several inputs, the spline is of the first; random lines are in those that vary within groups; and except in
    the smallest model, the others, such as treatments, change the slope.

    Args:
        groups: the training groups.
        fixed: largest number of knots of the curve for all groups; fewer where the first input has fewer values.
        random: degree of the random effects.
    """
    dx, inputs, varying = groups.x.shape[2], groups.x[groups.real()], varies_within(groups)
    knots = min(fixed, len(inputs[:, 0].unique()))  # at as many values of the input, a curve can have any means
    if knots < FEWEST_KNOTS or len(inputs) < 5 * (knots + dx):
        knots = 1
    basis: Any = NaturalSpline(knots) if knots > 1 else 1
    if dx > 1 and (fixed, random) != (1, 0):
        between = [i for i in range(1, dx) if i not in varying] if 0 in varying else []
        basis = Crossed(knots, dx=dx, products=between[:MOST_PRODUCTS])
    return Features(basis, Polynomial(random, dx=dx, inputs=varying) if random and varying else 0)


def varies_within(groups: Examples) -> list[int]:
    """The places of the inputs that vary within at least one group.

    >>> x = torch.tensor([[[0.0, 1.0], [2.0, 1.0]], [[0.0, 3.0], [2.0, 3.0]]])
    >>> varies_within(Examples(x, x[..., :1]))
    [0]
    """
    real = groups.real().unsqueeze(2)
    low, high = (torch.where(real, groups.x, end).aminmax(dim=1) for end in (torch.inf, -torch.inf))
    return [i for i, apart in enumerate((high.max > low.min).any(0).tolist()) if apart]
