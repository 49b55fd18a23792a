"""Rows of new groups, read from columns: those whose outcomes are known, and those to predict."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from quickstudy.data import Examples, pad
from quickstudy.tables.model import TableModel
from quickstudy.tasks.datasets.cells import is_missing, is_unnamed
from quickstudy.tasks.datasets.columns import Columns, check_lengths, natural, numbers


class NewGroups(NamedTuple):
    """Rows of new groups, in the units of the table.

    Args:
        names: the groups, in natural order.
        known: rows with all outcomes, `[n, dx + dy]` of each group, sorted by x.
        asked: inputs of the rows to predict, `[m, dx]` of each group, in their order.
    """

    names: tuple[Any, ...]
    known: tuple[Tensor, ...]
    asked: tuple[Tensor, ...]

    def support(self, dx: int) -> Examples:
        """The known rows, padded."""
        sets = [(rows[:, :dx], rows[:, dx:]) for rows in self.known]
        return pad(sets).to(dtype=torch.float64)


def read_new(columns: Columns, model: TableModel, *, at: Columns | None = None, grid: int | None = None) -> NewGroups:
    """The rows of new groups.

    Rows without an outcome are to be predicted. With `at` or `grid`, others are predicted in their place.

    Args:
        columns: a table with the columns of the groups and of the inputs; that of the outcomes may be absent.
        model: the model, which knows the names.
        at: a table with the columns of the inputs: the same rows for every group, or those of each group if it has the
            column of groups.
        grid: number of inputs over the range of training, evenly spaced; for one input only.

    Raises:
        ValueError: for absent columns, cells that are no numbers, and where there is nothing to predict.
    """
    needed = [model.task, *model.x]
    check_columns(columns, needed, model)
    check_lengths(columns, needed)
    count = len(columns[model.task])
    for name in needed:
        check = is_unnamed if name == model.task else is_missing
        gap = next((i for i in range(count) if check(columns[name][i])), None)
        if gap is not None:
            raise ValueError(f"row {gap + 1} has no value in column {name!r}; fill it in, or remove the row")
    absent = [name for name in model.y if name not in columns]
    complete = [not absent and not any(is_missing(columns[name][i]) for name in model.y) for i in range(count)]
    kept = [i for i in range(count) if complete[i]]
    inputs = torch.tensor([numbers(columns, name, range(count)) for name in model.x], dtype=torch.float64).T
    outcomes = torch.tensor([numbers(columns, name, kept) if kept else [] for name in model.y], dtype=torch.float64).T
    labels = [columns[model.task][i] for i in range(count)]
    names = sorted(set(labels), key=natural)
    place = {row: k for k, row in enumerate(kept)}
    known, asked = [], []
    for name in names:
        own = [i for i in range(count) if labels[i] == name]
        seen = [i for i in own if complete[i]]
        rows = torch.cat([inputs[seen], outcomes[[place[i] for i in seen]]], 1)
        known.append(rows[rows[:, 0].argsort(stable=True)])
        asked.append(inputs[[i for i in own if not complete[i]]])
    if at is not None or grid is not None:
        asked = _elsewhere(names, model, at, grid)
    if not sum(len(each) for each in asked):
        raise ValueError(
            f"every row has a value of {', '.join(model.y)}, so none is left to predict; leave these cells empty where "
            "you want a prediction, or use --at or --grid"
        )
    return NewGroups(tuple(names), tuple(known), tuple(asked))


def check_columns(columns: Columns, needed: Sequence[str], model: TableModel) -> None:
    """Raise ValueError, with what the table has, for a column that is absent."""
    for name in needed:
        if name not in columns:
            have = ", ".join(str(column) for column in columns)
            raise ValueError(
                f"no column {name!r}; the model knows groups in {model.task!r}, inputs {', '.join(model.x)} and "
                f"outcomes {', '.join(model.y)}, and this table has the columns {have}"
            )


def _elsewhere(names: Sequence[Any], model: TableModel, at: Columns | None, grid: int | None) -> list[Tensor]:
    if at is not None and grid is not None:
        raise ValueError("--at and --grid are both given; choose one of them")
    if grid is not None:
        if len(model.x) > 1:
            raise ValueError(f"--grid needs a table with one input, and this has {', '.join(model.x)}; use --at")
        return [torch.linspace(model.low[0], model.high[0], grid, dtype=torch.float64)[:, None]] * len(names)
    assert at is not None
    check_columns(at, model.x, model)
    count = len(at[model.x[0]])
    inputs = torch.tensor([numbers(at, name, range(count)) for name in model.x], dtype=torch.float64).T
    if model.task not in at:
        return [inputs] * len(names)
    return [inputs[[i for i in range(count) if at[model.task][i] == name]] for name in names]
