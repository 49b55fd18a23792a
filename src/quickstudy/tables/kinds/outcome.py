"""Kinds of outcomes: numbers, positive numbers, counts, and binary ones."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from quickstudy.tasks.datasets.columns import GroupedRows
from quickstudy.tasks.datasets.table import Table

Outcome = Literal["number", "positive", "count", "binary"]
Said = Literal["auto", "number", "positive", "count", "binary"]
DISCRETE = ("count", "binary")
SMALL = 20  # counts with a larger median are nearly normal, and treated as numbers unless the user says otherwise
EXPECTED = {
    "positive": "numbers above 0",
    "count": "whole numbers of at least 0",
    "binary": "0 or 1",
}


def outcome_of(rows: GroupedRows, said: Said = "auto") -> Outcome:
    """The kind of the outcomes of a table.

    By itself it is "binary" if all are 0 or 1, "count" if all are whole numbers, the smallest is 0 and the median below
    20, and otherwise "number". Whole numbers that begin at 1, such as ratings, are numbers.

    Args:
        rows: the table.
        said: what the user says; "auto" decides by the rule above.

    Raises:
        ValueError: if an outcome is impossible for what the user says.
    """
    y = torch.cat(list(rows.rows))[:, len(rows.x) :]
    if said != "auto":
        for name, values in zip(rows.names, rows.rows, strict=True):
            check_possible(said, values[:, len(rows.x) :], rows.y, name)
        return said
    if bool(possible("binary", y).all()) and float(y.min()) < float(y.max()):
        return "binary"
    small = float(y.min()) == 0 < float(y.max()) and float(y.median()) < SMALL
    return "count" if small and bool(possible("count", y).all()) else "number"


def possible(kind: Outcome, y: Tensor) -> Tensor:
    """Whether each outcome is possible."""
    if kind == "binary":
        return (y == 0) | (y == 1)
    if kind == "count":
        return (y >= 0) & (y == y.floor())
    return y > 0 if kind == "positive" else torch.ones_like(y, dtype=torch.bool)


def check_possible(kind: Outcome, y: Tensor, names: Sequence[str], group: Any) -> None:
    """Raise ValueError for an outcome `y [rows, dy]` of a group that is impossible; NaN stands for a missing one.

    Args:
        kind: of all outcomes.
        y: the outcomes.
        names: those of the outcomes.
        group: the name of the group.
    """
    wrong = (~possible(kind, y) & ~y.isnan()).nonzero()
    if len(wrong):
        row, column = wrong[0].tolist()
        raise ValueError(
            f"{names[column]} is {float(y[row, column]):g} in group {group}; outcomes of kind {kind!r} are "
            f"{EXPECTED[kind]}: correct it, or learn another kind"
        )


def without_units(table: Table) -> Table:
    """The table with outcomes as they are, in place of standard units, as counts have none."""
    dx, scaling = table.dx, table.scaling
    y = scaling.unscale_y(table.points.points.y).round()
    center, spread = scaling.center.clone(), scaling.spread.clone()
    center[dx:], spread[dx:] = 0.0, 1.0
    points = table.points.points._replace(y=torch.where(table.points.points.real().unsqueeze(2), y, 0.0))
    return Table(
        table.rows,
        type(table.points)(points=points, splits=table.points.splits, order=table.points.order),
        type(scaling)(scaling.x, scaling.y, center, spread),
    )
