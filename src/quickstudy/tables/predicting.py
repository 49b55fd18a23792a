"""Predictions for new groups, as a table."""

import csv
import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from quickstudy.data import Examples
from quickstudy.tables.kinds.outcome import check_possible
from quickstudy.tables.model import TableModel, columns_of_quantiles
from quickstudy.tables.new_groups import NewGroups
from quickstudy.tables.portions import Wanted, predictions
from quickstudy.tasks.datasets.names import alike


class Predicted(NamedTuple):
    """Predictions for new groups, as a table and as warnings.

    Args:
        columns: the table: groups, inputs, and mean, standard deviation and quantiles of each outcome.
        warnings: sentences about inputs and groups that are unlike those of training.
    """

    columns: dict[str, list[Any]]
    warnings: list[str]

    def as_csv(self) -> str:
        """The table as CSV."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(zip(*self.columns.values(), strict=True))
        return text.getvalue()


def predict(model: TableModel, new: NewGroups, quantiles: Sequence[float] = (0.05, 0.5, 0.95)) -> Predicted:
    """Predictions at the rows that are asked for; in portions, as those of a group have a covariance.

    Raises:
        ValueError: for a known outcome that is impossible, such as 2.5 where outcomes are counts.
    """
    for name, rows in zip(new.names, new.known, strict=True):
        for d, output in enumerate(model.y):
            place = len(model.x) + d
            check_possible(model.kind_of(d), rows[:, place : place + 1], [output], name)
    lengths = [len(each) for each in new.asked]
    ends = torch.tensor(lengths).cumsum(0).tolist()
    places = [range(end - length, end) for end, length in zip(ends, lengths, strict=True)]
    filled = [i for i, length in enumerate(lengths) if length]
    known, asked = [new.known[i] for i in filled], [places[i] for i in filled]
    wanted = Wanted(std=True, quantiles=tuple(quantiles))
    parts = predictions(model.learner, known, asked, torch.cat(list(new.asked)).double(), len(model.y), wanted)
    values = torch.cat([parts.mean[..., None], parts.std[..., None], parts.quantiles], 2)  # [rows, dy, 2 + P]
    found: dict[str, list[Any]] = {name: [] for name in (model.task, *(each.name for each in model.inputs))}
    for d, y in enumerate(model.y):
        found |= {name: [] for name in columns_of_quantiles(y, quantiles, model.kind_of(d))}
    for name, own, cells in zip(new.names, places, new.written, strict=True):
        found[model.task] += [name] * len(own)
        for k, each in enumerate(model.inputs):
            found[each.name] += [rounded(row[k]) if isinstance(row[k], float) else row[k] for row in cells]
        for d, y in enumerate(model.y):
            for k, column in enumerate(columns_of_quantiles(y, quantiles, model.kind_of(d))):
                found[column] += [rounded(value) for value in values[own.start : own.stop, d, k].tolist()]
    return Predicted(found, _warnings(model, new, new.support(len(model.x))))


def rounded(value: float) -> float:
    """The value with ten significant digits.

    >>> rounded(0.1 + 0.2)
    0.3
    """
    return float(f"{value:.10g}")


def _warnings(model: TableModel, new: NewGroups, support: Examples) -> list[str]:
    found = []
    if not sum(len(each) for each in new.known):
        found.append(
            f"no row has a value of {', '.join(model.y)}, so nothing is known of these groups; the predictions are "
            "those of an unknown group"
        )
    outside = [bool(model.outside(each).any()) if len(each) else False for each in new.asked]
    if any(outside):
        ranges = ", ".join(model.ranges())
        found.append(
            f"{_groups([n for n, bad in zip(new.names, outside, strict=True) if bad])}: predictions outside the range "
            f"of the {model.groups} trained groups ({ranges}) are guesses"
        )
    odd = [name for name, bad in zip(new.names, model.unlike(support).tolist(), strict=True) if bad]
    if odd:
        found.append(
            f"{_groups(odd)}: the known rows are unlike those of all trained groups, so the predictions are guesses; "
            "check the units"
        )
    trained = model.trained_on(new.names)
    if trained:
        found.append(
            f"{_groups(trained)}: training had groups of the same names, whose rows the model knows; if they are the "
            "same groups, the predictions look better than they are"
        )
    respelt = model.spelt_in_another_way(new.names)
    if respelt:
        found.append(
            f"{_groups(respelt)}: training had groups of the same names but for case, spaces or zeros; if they are the "
            "same groups, the predictions look better than they are"
        )
    for one, other in alike(new.names)[:3]:
        found.append(
            f"groups {one!r} and {other!r} are read as two groups, whose names differ in case, spaces or zeros alone; "
            "if they are one, write the name in one way"
        )
    return found


def _groups(names: Sequence[Any]) -> str:
    listed = ", ".join(str(name) for name in names[:5])
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{'groups' if len(names) > 1 else 'group'} {listed}{more}"
