"""Rows of new groups, read from columns: those whose outcomes are known, and those to predict."""

from collections.abc import Sequence
from difflib import get_close_matches
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from quickstudy.data import Examples, pad
from quickstudy.tables.model import TableModel
from quickstudy.tasks.datasets.cells import is_missing, is_number, is_unnamed, number
from quickstudy.tasks.datasets.columns import Columns, check_lengths, numbers, numbers_of
from quickstudy.tasks.datasets.faults import Faults, all_of, named
from quickstudy.tasks.datasets.inputs import Input, first_dates
from quickstudy.tasks.datasets.names import natural

Written = list[tuple[Any, ...]]
"""Rows of cells as a table has them."""


class NewGroups(NamedTuple):
    """Rows of new groups, in the units of the table.

    Args:
        names: the groups, in natural order.
        known: rows with an outcome, `[n, dx + dy]` of each group, sorted by x; NaN stands for another that is missing.
        asked: inputs of the rows to predict, `[m, dx]` of each group, in their order.
        written: the same inputs as the table has them, a tuple for each row.
    """

    names: tuple[Any, ...]
    known: tuple[Tensor, ...]
    asked: tuple[Tensor, ...]
    written: tuple[Written, ...] = ()

    def support(self, dx: int) -> Examples:
        """The known rows, padded."""
        sets = [(rows[:, :dx], rows[:, dx:]) for rows in self.known]
        return pad(sets).to(dtype=torch.float64)


def read_new(columns: Columns, model: TableModel, *, at: Columns | None = None, grid: int | None = None) -> NewGroups:
    """The rows of new groups.

    Rows that lack an outcome are to be predicted. With `at` or `grid`, others are predicted in their place.

    Args:
        columns: a table with the columns of the groups and of the inputs; that of the outcomes may be absent.
        model: the model, which knows the names.
        at: a table with the columns of the inputs: the same rows for every group, or those of each group if it has the
            column of groups.
        grid: number of evenly spaced values of the first input over the range of training; the other inputs of each
            group must be constant.

    Raises:
        ValueError: for absent columns, cells that cannot be read, and where there is nothing to predict.
    """
    check_columns(columns, [model.task, *(each.name for each in model.inputs)], model)
    check_outcomes(columns, model)
    labels = list(columns[model.task])
    count = len(labels)
    read, outcomes = all_of(
        [
            lambda: torch.tensor(numbers_of(columns, model.inputs, range(count), labels), dtype=torch.float64),
            lambda: outcomes_of(columns, model.y, count),
        ]
    )
    inputs = read.T
    missing = outcomes.isnan()
    places = places_of(labels)
    known, asked, as_written = [], [], []
    for own in places.values():
        seen, open_ = [i for i in own if not missing[i].all()], [i for i in own if missing[i].any()]
        rows = torch.cat([inputs[seen], outcomes[seen]], 1)
        known.append(rows[rows[:, 0].argsort(stable=True)])
        asked.append(inputs[open_])
        as_written.append(cells_of(columns, model.inputs, open_))
    if at is not None and grid is not None:
        raise ValueError("--at and --grid are both given; choose one of them")
    new = NewGroups(tuple(places), tuple(known), tuple(asked), tuple(as_written))
    if at is not None:
        new = at_rows(new, model, at, columns)
    if grid is not None:
        new = on_grid(new, model, columns, inputs, grid)
    if not sum(len(each) for each in new.asked):
        raise ValueError(
            f"every row has a value of {', '.join(model.y)}, so none is left to predict; leave these cells empty where "
            "you want a prediction, or use --at or --grid"
        )
    return new


def check_columns(columns: Columns, needed: Sequence[str], model: TableModel) -> None:
    """Raise ValueError, with what the table has, for a column that is absent, and for a cell without a value."""
    absent = [name for name in needed if name not in columns]
    if absent:
        have = ", ".join(str(column) for column in columns)
        inputs = ", ".join(each.name for each in model.inputs)
        raise ValueError(
            f"no column {named(absent)}; the model knows groups in {model.task!r}, inputs {inputs} and "
            f"outcomes {', '.join(model.y)}, and this table has the columns {have}"
        )
    check_lengths(columns, needed)
    filled = {each.name for each in model.inputs if each.fill is not None}
    checks: dict[str, Any] = {each.name: each.missing for each in model.inputs}
    faults = []
    for name in needed:
        check = checks.get(name, is_unnamed)
        gap = next((i for i, cell in enumerate(columns[name]) if check(cell)), None)
        if gap is not None and name not in filled:
            faults.append(f"row {gap + 1} has no value in column {name!r}; fill it in, or remove the row")
    if faults:
        raise Faults(faults)


def check_outcomes(columns: Columns, model: TableModel) -> None:
    """Raise ValueError for an outcome whose column seems to be there under a misspelt name."""
    used = {model.task, *(each.name for each in model.inputs), *model.y}
    spare = {str(name).strip().lower(): str(name) for name in columns if name not in used}
    for name in model.y:
        near = get_close_matches(name.lower(), list(spare), 1, cutoff=0.8) if name not in columns else []
        if near:
            raise ValueError(
                f"no column {name!r}, but {spare[near[0]]!r}: known outcomes are in {name!r}; rename the column, or "
                "remove it if nothing is known of these groups"
            )


def places_of(labels: Sequence[Any]) -> dict[Any, list[int]]:
    """The rows of each group, whose names are in natural order."""
    found: dict[Any, list[int]] = {}
    for i, label in enumerate(labels):
        found.setdefault(label, []).append(i)
    return {name: found[name] for name in sorted(found, key=natural)}


def outcomes_of(columns: Columns, names: Sequence[str], count: int) -> Tensor:
    """The outcomes of all rows, `[rows, dy]`; NaN where one is missing, or its column is."""
    found = torch.full((count, len(names)), torch.nan, dtype=torch.float64)
    given = [[i for i in range(count) if not is_missing(columns[name][i])] if name in columns else [] for name in names]
    read = all_of(partial(numbers, columns, name, rows) for name, rows in zip(names, given, strict=True) if rows)
    for d, own in zip([d for d, rows in enumerate(given) if rows], read, strict=True):
        found[given[d], d] = torch.tensor(own, dtype=torch.float64)
    return found


def cells_of(columns: Columns, inputs: Sequence[Input], rows: Sequence[int]) -> Written:
    """The inputs of some rows as the table has them; numbers are floats."""
    found = []
    for each in inputs:
        cells = [columns[each.name][i] for i in rows]
        found.append([as_written(each, cell) for cell in cells])
    return list(zip(*found, strict=True))


def as_written(one: Input, cell: Any) -> Any:
    """A cell of an input as it is written into a table of predictions."""
    if one.missing(cell):
        return ""
    return number(cell) if one.kind == "number" else cell if isinstance(cell, str) else str(cell)


def at_rows(new: NewGroups, model: TableModel, at: Columns, columns: Columns) -> NewGroups:
    """The new groups, asked about the rows of the table `at`; `columns` is the table of the new groups.

    Where dates count since the first of their group, `at` may hold dates, or such numbers of days.
    """
    check_columns(at, [each.name for each in model.inputs], model)
    count = len(at[model.inputs[0].name])
    labels = list(columns[model.task])
    first = {each.name: first_dates(each, columns[each.name], labels) for each in model.inputs if each.elapsed}
    everywhere = list(range(count))
    places = {str(name): own for name, own in places_of(list(at[model.task])).items()} if model.task in at else None
    unknown = [name for name in places or {} if name not in set(map(str, new.names))]
    if unknown:
        raise ValueError(
            f"--at has rows of group {unknown[0]!r}, which is not among the new groups; give a row of it there, with "
            "or without an outcome"
        )
    asked, as_written = [], []
    for name in new.names:
        own = everywhere if places is None else places.get(str(name), [])
        parts = []
        for each in model.inputs:
            cells = at[each.name]
            if each.elapsed and all(is_number(cells[i]) for i in own):
                parts.append([number(cells[i]) for i in own])
                continue
            parts += each.read(cells, own, [first[each.name][name]] * len(own) if each.elapsed else None)
        asked.append(torch.tensor(parts, dtype=torch.float64).T)
        as_written.append(cells_of(at, model.inputs, own))
    return new._replace(asked=tuple(asked), written=tuple(as_written))


def on_grid(new: NewGroups, model: TableModel, columns: Columns, inputs: Tensor, count: int) -> NewGroups:
    """The new groups, asked about `count` values of the first input; their other inputs are as in the table.

    Raises:
        ValueError: if there are too few values, the first input is a category, or another input varies in a group.
    """
    main, labels = model.inputs[0], list(columns[model.task])
    if count < 1 or main.kind == "category":
        what = f"the first input, {main.name}, holds categories; use --at" if count > 0 else "expected at least 1"
        raise ValueError(f"--grid {count}: {what}")
    values = torch.linspace(model.low[0], model.high[0], count, dtype=torch.float64)
    first = first_dates(main, columns[main.name], labels) if main.elapsed else {}
    asked, as_written = [], []
    for name, own in places_of(labels).items():
        others = inputs[own, 1:]
        if bool((others != others[0]).any()):
            varying = model.x[1 + int((others != others[0]).any(0).nonzero()[0, 0])]
            raise ValueError(
                f"--grid {count}: input {varying!r} varies within group {name!r}, and a grid varies {main.name} alone; "
                "use --at"
            )
        asked.append(torch.cat([values[:, None], others[:1].expand(count, -1)], 1))
        start = first.get(name, 0.0)
        rest = cells_of(columns, model.inputs[1:], own[:1])
        shown = [v if main.kind == "number" else main.text(v + start) for v in values.tolist()]
        as_written.append([(value, *(rest[0] if rest else ())) for value in shown])
    return new._replace(asked=tuple(asked), written=tuple(as_written))
