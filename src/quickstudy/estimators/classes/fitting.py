"""Fits what `learner=` names to labelled groups: one candidate, or a learner of the contract."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from quickstudy.data import Examples
from quickstudy.devices import one_thread
from quickstudy.estimators.classes.candidates import (
    class_candidates,
    curve_of,
    fitted_to_labels,
    scaled_groups,
)
from quickstudy.estimators.classes.choosing import ClassChoice, choose_for_labels
from quickstudy.estimators.classes.judging import JudgedLabels, held_out_labels, judge_labels
from quickstudy.estimators.classes.scaled_inputs import ScaledInputs
from quickstudy.estimators.setting import Setting, check_enough, check_name, check_size, split, trained
from quickstudy.learner import check_learner
from quickstudy.tables.judging import folds
from quickstudy.tasks.datasets.columns import GroupedRows
from quickstudy.tasks.datasets.point_sets import PointSets
from quickstudy.tasks.datasets.scaling import Scaling


def choice_for_labels(
    rows: GroupedRows, classes: int, setting: Setting, seen: Sequence[int], *, outer: int = 3
) -> ClassChoice:
    """The mixture of all learners of labels, or of those that `setting.learner` names.

    Raises:
        ValueError: for unknown names, and fewer than six groups.
    """
    known = class_candidates()
    tried = tuple(known) if setting.learner is None else tuple(setting.learner)
    for name in tried:
        check_name(name, known)
    check_enough(rows, "shares")
    inner, done = 3, 0
    total = len(tried) * (outer * (1 + inner) + 1)

    def fit(name: str, training: Sequence[Any]) -> ScaledInputs:
        nonlocal done
        setting.progress(known[name].title, done, total)
        done += 1
        return one(rows, training, classes, setting._replace(learner=name), max(*seen, 4))

    return choose_for_labels(rows, tried, fit, seen, outer=outer, inner=inner, seed=setting.seed)


@one_thread()
def one(rows: GroupedRows, names: Sequence[Any], classes: int, setting: Setting, most: int) -> ScaledInputs:
    """One learner, fitted to the groups `names`, in the units of the table.

    Args:
        rows: the table; its only outcome is the number of the class.
        names: the groups.
        classes: number of classes.
        setting: names the learner, or holds it.
        most: largest number of rows that will be seen of a group.
    """
    if isinstance(setting.learner, str):
        known = class_candidates()
        check_name(setting.learner, known)
        return fitted_to_labels(known[setting.learner], rows, names, classes=classes, seed=setting.seed, most=most)
    own = copy.deepcopy(setting.learner)
    check_learner(own)
    check_size(own, "dx", len(rows.x), "columns of X")
    torch.manual_seed(setting.seed)
    training, validation = split(names, setting.seed)
    groups, scaling = scaled_groups(rows, names)
    if callable(getattr(own, "fit", None)):
        own.fit(groups)
    else:
        place = {name: i for i, name in enumerate(names)}
        splits = {"train": tuple(place[n] for n in training), "validation": tuple(place[n] for n in validation)}
        family = PointSets(points=groups, splits={**splits, "test": ()})
        own = trained(own, family, groups.num_points, setting)
    return ScaledInputs(own, scaling.to_json()).eval()


@one_thread()
def scores_of_one(rows: GroupedRows, classes: int, setting: Setting, count: int, seen: Sequence[int]) -> JudgedLabels:
    """The scores of one learner on all groups, each predicted by a fit to those of the other folds, of `count`."""
    parts = [
        judge_labels(one(rows, train, classes, setting, max(*seen, 4)), held_out_labels(rows, test, seen))
        for train, test in folds(rows.names, count, setting.seed)
    ]
    return JudgedLabels.join(parts)


@one_thread()
def labels_without_groups(values: Tensor, names: Sequence[str], classes: int) -> ScaledInputs:
    """Class probabilities from the inputs alone, fitted to rows `[n, dx + 1]`, each a group of its own."""
    scaling = Scaling.of(values[:, :-1], x=tuple(names))
    rows = Examples(scaling.scale_x(values[:, :-1])[:, None], values[:, -1:].long())
    return ScaledInputs(curve_of(rows, classes), scaling.to_json()).eval()
