"""Rows, outcomes and groups as users of scikit-learn give them, divided into groups."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from quickstudy.checks import shown
from quickstudy.estimators.inputs import Inputs, of_numbers
from quickstudy.tasks.datasets.cells import is_unnamed
from quickstudy.tasks.datasets.columns import Dropped, GroupedRows, in_order
from quickstudy.tasks.datasets.names import group_rows, natural, plain

Array = np.ndarray[Any, Any]


class Names(NamedTuple):
    """Names of the groups, of the inputs and of the outputs, and whether y was given as one column `[n]`.

    Args:
        groups: name of the groups.
        inputs: the columns of X, and how they are read.
        y: names of the outputs.
        flat: whether y was one column.
    """

    groups: str
    inputs: Inputs
    y: tuple[str, ...]
    flat: bool

    @property
    def x(self) -> tuple[str, ...]:
        """Names of the inputs as numbers: categories have one for each level but the first."""
        return tuple(name for each in self.inputs for name in each.columns)


def names_of(model: Any, inputs: Inputs | None, y: Any, groups: Any, shape: tuple[int, ...]) -> Names:
    """The names in data frames and series; otherwise `group`, `x0`, `x1` and so on, and `y`, or `y0`, `y1` and so on.

    Args:
        model: the estimator, which knows the names of the inputs.
        inputs: how they are read; None if all are numbers.
        y: outcomes as they were given.
        groups: groups as they were given.
        shape: that of the outcomes, `[rows]` or `[rows, dy]`.
    """
    task = str(getattr(groups, "name", None) or "group")
    if hasattr(y, "iloc") and hasattr(y, "columns"):
        outputs = tuple(str(name) for name in y.columns)
    elif len(shape) == 2:
        outputs = tuple(f"y{i}" for i in range(shape[1]))
    else:
        outputs = (str("y" if getattr(y, "name", None) is None else y.name),)
    return Names(task, inputs or of_numbers(model), outputs, len(shape) == 1)


def check_aligned(x: Any, others: Mapping[str, Any]) -> None:
    """Raise ValueError if an index holds the labels of that of `x` in another order: rows are matched by position."""
    if not hasattr(x, "iloc"):
        return
    for name, other in others.items():
        if hasattr(other, "iloc") and len(other) == len(x) and not other.index.equals(x.index):
            if x.index.is_unique and other.index.is_unique and other.index.isin(x.index).all():
                raise ValueError(
                    f"{name} has the index labels of X in another order, and rows are matched by their position; give "
                    f"{name}.loc[X.index]"
                )


def read_labels(groups: Any, count: int) -> list[Any]:
    """The group of each row.

    Raises:
        ValueError: for another number of them than `count`, several columns, and missing labels.
    """
    shape = np.shape(groups)
    if len(shape) == 2 and shape[1] == 1:
        groups = groups.iloc[:, 0] if hasattr(groups, "iloc") else np.asarray(groups)[:, 0]
    elif len(shape) != 1:
        raise ValueError(
            f"groups has shape {list(shape)}; expected one label for each of the {count} rows: for groups in groups, "
            "write both names into one label"
        )
    if shape[0] != count:
        raise ValueError(f"groups has {shape[0]} labels and X has {count} rows; give one label for each row")
    labels = [label.item() if hasattr(label, "item") else label for label in groups]
    gaps = [i for i, label in enumerate(labels) if is_unnamed(label)]
    if gaps:
        raise ValueError(
            f"groups has no label in row {gaps[0]}, counted from 0 ({len(gaps)} such rows); give a label, or leave "
            "these rows out"
        )
    return labels


def places_of(labels: Sequence[Any], task: str) -> dict[Any, list[int]]:
    """The rows of each label, in the order of their first appearance; ValueError for labels with the same text."""
    several = group_rows(labels, task, "drop")  # checks all labels, and leaves out those with a single row
    found: dict[Any, list[int]] = {}
    for i, label in enumerate(labels):
        found.setdefault(label, []).append(i)
    return {label: several.get(label, rows) for label, rows in found.items()}


def rows_by_group(values: Tensor, labels: Sequence[Any], names: Names) -> dict[Any, Tensor]:
    """The rows `[n, dx + dy]` of each group, sorted by their inputs; the groups are in natural order."""
    places = places_of(labels, names.groups)
    return {label: in_order(values[places[label]], len(names.x)) for label in sorted(places, key=natural)}


def training_rows(known: Mapping[Any, Tensor], names: Names) -> GroupedRows:
    """The groups to which learners are fitted: those with two rows or more.

    Raises:
        ValueError: for fewer than two of them.

    Warns:
        RuntimeWarning: if groups with a single row are left out.
    """
    kept = {label: rows for label, rows in known.items() if len(rows) > 1}
    single = len(known) - len(kept)
    if len(kept) < 2:
        raise ValueError(
            f"n_samples={sum(map(len, known.values()))} in {len(known)} groups, of which {len(kept)} have two rows or "
            "more; expected at least two such groups: check that groups names the group of each row"
        )
    if single:
        warnings.warn(
            f"{single} of {len(known)} groups have a single row, which says nothing about how the rows of a group are "
            "alike; learners are fitted to the others",
            RuntimeWarning,
            stacklevel=4,
        )
    return grouped(kept, names, Dropped(single, single))


def grouped(known: Mapping[Any, Tensor], names: Names, dropped: Dropped) -> GroupedRows:
    """The rows of groups as those of a table."""
    return GroupedRows(names.groups, names.x, names.y, tuple(known), tuple(known.values()), dropped, names.inputs)


def check_spelling(labels: Sequence[Any], known: Mapping[Any, Any]) -> None:
    """Raise ValueError for an unknown label that is written as a known one, such as "308" for 308.

    Warns:
        RuntimeWarning: of unknown labels that differ from a known one in case, spaces or zeros alone.
    """
    spelt = {str(label): label for label in known}
    for label in labels:
        other = spelt.get(str(label))
        if label not in known and other is not None:
            raise ValueError(
                f"groups holds {shown(label)} ({type(label).__name__}), and fit was given {shown(other)} "
                f"({type(other).__name__}); write the names of groups in one way"
            )
    similar = {plain(label): label for label in known}
    odd = {
        label: similar[plain(label)]
        for label in dict.fromkeys(labels)
        if label not in known and plain(label) in similar
    }
    if odd:
        listed = ", ".join(f"{shown(label)} (fit was given {shown(other)})" for label, other in list(odd.items())[:3])
        warnings.warn(
            f"groups holds {listed}, whose name differs in case, spaces or zeros alone; it is predicted as an unknown "
            "group: if it is the same, write its name in one way",
            RuntimeWarning,
            stacklevel=5,
        )


def as_tensor(values: Array) -> Tensor:
    """A tensor in float64 with its own memory."""
    return torch.from_numpy(np.array(values, dtype=np.float64))
