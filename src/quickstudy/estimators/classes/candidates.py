"""The learners of class labels that are tried, by name, and how each is fitted to training groups."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from quickstudy.data import Examples, pad
from quickstudy.estimators.classes.class_curve import ClassCurve
from quickstudy.estimators.classes.class_shares import ClassShares
from quickstudy.estimators.classes.class_trees import ClassTrees
from quickstudy.estimators.classes.on_class_curve import OnClassCurve
from quickstudy.estimators.classes.scaled_inputs import ScaledInputs
from quickstudy.processes.cnp import CNP
from quickstudy.processes.heads.categorical import CategoricalHead
from quickstudy.tables.candidates import MOST_ROWS, every, train
from quickstudy.tables.judging import thinned
from quickstudy.tasks.datasets.columns import GroupedRows
from quickstudy.tasks.datasets.point_sets import PointSets
from quickstudy.tasks.datasets.scaling import Scaling

STEPS = 400  # of training a process


class About(NamedTuple):
    """What a fit is told besides the groups: numbers of classes and inputs, a seed, and the largest number seen."""

    classes: int
    dx: int
    seed: int
    most: int


Fit = Callable[[Examples, About], nn.Module]
"""Fits a learner to groups with inputs in standard units and labels `[T, N]`."""


class ClassCandidate(NamedTuple):
    """One learner that is tried: its name for people, and how it is fitted."""

    title: str
    fit: Fit


def class_candidates() -> dict[str, ClassCandidate]:
    """The learners of labels, by name. A new one needs a line here, and one in `runs/rebuild/spec.py` to be saved."""
    return {
        "everyone": ClassCandidate("class probabilities from the inputs alone", _curve),
        "shares": ClassCandidate("class shares of each group", _shares),
        "trees": ClassCandidate("boosted trees", _trees),
        "process": ClassCandidate("CNP on the curve of all groups", _process),
    }


def labelled(points: Examples) -> Examples:
    """Points whose outcomes `[T, N, 1]` are numbers of classes, with labels `[T, N]`."""
    return points._replace(y=points.y.squeeze(2).long())


def scaled_groups(rows: GroupedRows, names: Sequence[Any]) -> tuple[Examples, Scaling]:
    """The groups `names` with inputs in standard units and labels, and the change of units.

    A group with more than 500 rows is represented by 500 of them, evenly spaced.
    """
    place, dx = {name: i for i, name in enumerate(rows.names)}, len(rows.x)
    own = [thinned(rows.rows[place[name]], MOST_ROWS) for name in names]
    scaling = Scaling.of(torch.cat(own)[:, :dx], x=rows.x)
    return labelled(pad([(scaling.scale_x(each[:, :dx]), each[:, dx:]) for each in own])), scaling


def fitted_to_labels(
    candidate: ClassCandidate, rows: GroupedRows, names: Sequence[Any], *, classes: int, seed: int, most: int
) -> ScaledInputs:
    """The candidate, fitted to the groups `names`, as a learner in the units of the table.

    Args:
        candidate: the candidate.
        rows: the table; its only outcome is the number of the class.
        names: its training groups.
        classes: number of classes.
        seed: seed of the initial weights and of training.
        most: largest number of rows that will be seen of a group.
    """
    groups, scaling = scaled_groups(rows, names)
    torch.manual_seed(seed)
    learner = candidate.fit(groups, About(classes, len(rows.x), seed, most))
    return ScaledInputs(learner, scaling.to_json()).eval()


def curve_of(groups: Examples, classes: int) -> ClassCurve:
    """Class probabilities from the inputs alone; a spline of a single input with more than five values."""
    values = groups.x[groups.real()][:, 0].unique()
    return ClassCurve(classes, groups.x.shape[2], knots=4 if len(values) > 5 else 1).fit(groups)


def _curve(groups: Examples, about: About) -> nn.Module:
    return curve_of(groups, about.classes)


def _shares(groups: Examples, about: About) -> nn.Module:
    return ClassShares(about.classes, about.dx).fit(groups)


def _trees(groups: Examples, about: About) -> nn.Module:
    return ClassTrees(about.classes, about.dx, seed=about.seed).fit(groups)


def _process(groups: Examples, about: About) -> nn.Module:
    process = CNP(about.dx + about.classes, width=32, head=CategoricalHead(about.classes))
    learner = OnClassCurve(process, curve_of(groups, about.classes))
    train(learner, PointSets(points=groups, splits=every(groups)), about.seed, about.most, STEPS)
    return learner
