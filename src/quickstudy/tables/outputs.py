"""Several outputs of one table: each has its own rows, its own choice of learners, and its own scores."""

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from quickstudy.tables.choosing import FEWEST, Choice, Progress, choose
from quickstudy.tables.doubts import doubts
from quickstudy.tables.judging import usual_sizes
from quickstudy.tables.kinds.outcome import Outcome
from quickstudy.tasks.datasets.cells import is_missing
from quickstudy.tasks.datasets.columns import (
    Columns,
    GroupedRows,
    check_lengths,
    check_names,
    complete_rows,
    numbers,
    read_groups,
)
from quickstudy.tasks.datasets.faults import all_of
from quickstudy.tasks.datasets.inputs import Reading
from quickstudy.tasks.datasets.kinds import infer
from quickstudy.tasks.datasets.scaling import Scaling


def read_outputs(
    columns: Columns,
    task: str,
    x: tuple[str, ...],
    y: tuple[str, ...],
    *,
    missing: str = "error",
    short: str = "error",
    reading: Reading | None = None,
) -> tuple[GroupedRows, ...]:
    """A table for each output, which lacks the rows without that output alone.

    Args:
        columns, task, x, y, missing, short: as of `Table.from_columns`; with `missing="drop"` or "fill", a missing
            output costs that value, and a row is left out where all are missing.
        reading: what the user says about inputs; they are read alike for all outputs.

    Raises:
        ValueError: as of `read_groups`, and for an output with fewer than six groups.
    """
    said = reading or Reading()
    check_names(columns, task, x, y)
    check_lengths(columns, [task, *x, *y])
    if missing == "error":
        complete_rows(columns, task, [*x, *y], missing, said.categories)
    some = [i for i in range(len(columns[task])) if not all(is_missing(columns[name][i]) for name in y)]
    any_output = {name: [columns[name][i] for i in some] for name in (task, *x)}
    needed = [x[0]] if missing == "fill" else list(x)
    kept = complete_rows(any_output, task, needed, missing, said.categories)
    look: Callable[[], Any] = partial(infer, any_output, x, kept, said)
    try:
        inputs = look()
    except ValueError:  # what is wrong with the outcomes is said, too
        given = {name: [i for i, cell in enumerate(columns[name]) if not is_missing(cell)] for name in y}
        reads: list[Callable[[], Any]] = [look, *(partial(numbers, columns, name, given[name]) for name in y)]
        all_of(reads)
        raise
    found = all_of(
        partial(read_groups, columns, task, x, (name,), missing=missing, short=short, reading=inputs) for name in y
    )
    for rows in found:
        check_inputs(rows)
        if len(rows.names) < FEWEST:
            raise ValueError(
                f"the table has {len(rows.names)} groups with {rows.y[0]!r}, and learners are chosen by how well they "
                f"predict groups that they have not seen; give at least {FEWEST} groups"
            )
    return tuple(found)


def check_inputs(rows: GroupedRows) -> None:
    """Raise ValueError for numbers that are too large, and for too many inputs; warn of what looks like a mistake."""
    values = torch.cat(list(rows.rows))
    Scaling.of(values, x=rows.x, y=rows.y)
    smallest = 4 * len(values) // 9  # rows in a fold of a fold
    if 2 * len(rows.x) + 4 > smallest:
        raise ValueError(
            f"the table has {len(values)} rows, of which folds have {smallest}, for {len(rows.x)} columns of inputs; "
            f"name fewer in x=, or give at least {9 * (2 * len(rows.x) + 4) // 4 + 3} rows"
        )
    for doubt in doubts(rows):
        warnings.warn(doubt, RuntimeWarning, stacklevel=3)


def choose_each(
    tables: Sequence[GroupedRows],
    *,
    seen: Sequence[int] | None = None,
    seed: int = 0,
    outcomes: Sequence[Outcome] | None = None,
    progress: Progress = lambda what, done, of: None,
) -> tuple[Choice, ...]:
    """The choice of learners for each output; see `choose`.

    Args:
        tables: the table of each output.
        seen: numbers of rows seen; by default those that the groups of all outputs allow.
        seed: seed of the folds, of initial weights and of training.
        outcomes: the kind of each output; by default numbers.
        progress: receives messages about progress.
    """
    kinds = outcomes or ["number"] * len(tables)
    sizes = seen or min((usual_sizes(rows) for rows in tables), key=len)
    found = []
    for k, rows in enumerate(tables):

        def said(what: str, done: int, of: int, k: int = k, name: str = rows.y[0]) -> None:
            progress(what if len(tables) == 1 else f"{name}: {what}", done + k * of, of * len(tables))

        found.append(choose(rows, seen=sizes, seed=seed, outcome=kinds[k], progress=said))
    return tuple(found)
