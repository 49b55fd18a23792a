"""Columns of a table, checked and divided into the rows of each group."""

import hashlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from quickstudy.tasks.datasets.cells import is_missing, is_unnamed, number, shown, sounds_missing
from quickstudy.tasks.datasets.faults import MOST, Faults, all_of, named, read_cells
from quickstudy.tasks.datasets.inputs import Input, Reading, first_dates
from quickstudy.tasks.datasets.kinds import infer
from quickstudy.tasks.datasets.names import group_rows, natural

Columns = Mapping[str, Sequence[Any]]
_LISTED = 12  # most names of columns in a message


class Dropped(NamedTuple):
    """What a table leaves out: `rows` that lack a value, and `groups` that have a single row."""

    rows: int
    groups: int


class GroupedRows(NamedTuple):
    """What was read from a table: the rows of each group, in the units of the table.

    Args:
        task, x, y: names of the columns; x has one for each column of numbers that `inputs` become.
        names: the groups, in natural order ("p2" before "p10"), whatever the order of the rows.
        rows: of each group `[n, dx + dy]` in float64, sorted by the x columns. Rows with equal x are in an arbitrary
            order, which depends on their y alone.
        dropped: the numbers of rows and groups that are left out.
        inputs: how the columns of inputs were read.
    """

    task: str
    x: tuple[str, ...]
    y: tuple[str, ...]
    names: tuple[Any, ...]
    rows: tuple[Float[Tensor, "n columns"], ...]
    dropped: Dropped
    inputs: tuple[Input, ...]

    def digests(self) -> dict[str, str]:
        """A short hash of the rows of each group, by its name; the order of rows does not change it."""
        parts = (rows.numpy().tobytes() for rows in self.rows)
        return {str(name): hashlib.sha256(part).hexdigest()[:12] for name, part in zip(self.names, parts, strict=True)}


def read_groups(
    columns: Columns,
    task: str,
    x: tuple[str, ...],
    y: tuple[str, ...],
    *,
    missing: str = "error",
    short: str = "error",
    reading: Reading | Sequence[Input] | None = None,
) -> GroupedRows:
    """The rows of each group of a table.

    Args:
        columns, task, x, y, missing, short: as of `Table.from_columns`.
        reading: what the user says about inputs; or how they are read, where that is known.

    Raises:
        ValueError: for unknown columns, columns of unequal length, missing values, text in place of numbers, groups
            with a single row, fewer than three groups, and a y that never varies.
    """
    check_names(columns, task, x, y)
    check_lengths(columns, [task, *x, *y])
    said = reading or Reading()
    categories = said.categories if isinstance(said, Reading) else [each.name for each in said if each.said]
    needed = [x[0], *y] if missing == "fill" else [*x, *y]
    kept = complete_rows(columns, task, needed, missing, categories)
    everyone = [
        label.item() if isinstance(label, Tensor) else label for label in columns[task]
    ]  # as keys must be equal
    labels = [everyone[i] for i in kept]

    def read_inputs() -> Any:
        inputs = tuple(infer(columns, x, kept, said) if isinstance(said, Reading) else said)
        return inputs, numbers_of(columns, inputs, kept, everyone)

    reads: list[Callable[[], Any]] = [read_inputs, *(partial(numbers, columns, name, kept) for name in y)]
    (inputs, own), *outcomes = all_of(reads)
    groups = group_rows(labels, task, short)
    dropped = Dropped(len(columns[task]) - len(kept), len(set(labels)) - len(groups))
    if len(groups) < 3:
        left = f", after leaving out {dropped.rows} rows and {dropped.groups} groups" if any(dropped) else ""
        raise ValueError(
            f"groups in column {task!r}: {len(groups)}{left}; expected at least three, for train, validation and test: "
            "check that this column names the group of each row"
        )
    constant = [(name, own) for name, own in zip(y, outcomes, strict=True) if min(own) == max(own)]
    if constant:
        raise Faults(
            [
                f"column {name!r} has the value {column[0]:g} in all rows, so there is nothing to predict; "
                "choose another column for y="
                for name, column in constant
            ]
        )
    values = torch.tensor([*own, *outcomes], dtype=torch.float64).T
    names = sorted(groups, key=natural)
    rows = tuple(in_order(values[groups[name]], len(own)) for name in names)
    return GroupedRows(task, tuple(c for each in inputs for c in each.columns), y, tuple(names), rows, dropped, inputs)


def numbers_of(
    columns: Columns, inputs: Sequence[Input], rows: Sequence[int], labels: Sequence[Any]
) -> list[list[float]]:
    """The inputs of some rows as columns of numbers; `labels` are the groups of all rows of the table."""

    def read(one: Input) -> list[list[float]]:
        first = first_dates(one, columns[one.name], labels) if one.elapsed else {}
        return one.read(columns[one.name], rows, [first[labels[i]] for i in rows] if one.elapsed else None)

    return [column for own in all_of(partial(read, each) for each in inputs) for column in own]


def check_names(columns: Columns, task: str, x: Sequence[str], y: Sequence[str]) -> None:
    """Raise ValueError for a column that is missing (with the nearest name), a column used twice, and no x or y."""
    if not x or not y:
        raise ValueError(f"x={list(x)}, y={list(y)}; name at least one column for x= and for y=")
    used, known = [task, *x, *y], [str(c) for c in columns]
    absent = [name for name in dict.fromkeys(used) if name not in columns]
    if absent:
        rest = f" and {len(known) - _LISTED} more" if len(known) > _LISTED else ""
        faults = "".join(f"no column {name!r}; {_hint(str(name), known)}" for name in absent[:MOST])
        raise ValueError(f"{faults}Columns: {', '.join(known[:_LISTED])}{rest}")
    twice = [name for name in dict.fromkeys(used) if used.count(name) > 1]
    if twice:
        many = len(twice) > 1
        raise ValueError(
            f"column{'s' * many} {named(twice)} {'are' if many else 'is'} used twice; task=, x= and y= must name "
            "different columns"
        )


def _hint(name: str, known: Sequence[str]) -> str:
    """What to say about a name that no column has."""
    several = [part.strip() for part in name.split(",")]
    if len(several) > 1 and all(part in known for part in several):
        return "give several columns one by one, without commas. "
    lower = {c.lower(): c for c in reversed(known)}
    near = get_close_matches(name.strip().lower(), list(lower), 1, cutoff=0.5)
    return f"did you mean {lower[near[0]]!r}? " if near else ""


def check_lengths(columns: Columns, names: Sequence[str]) -> None:
    """Raise ValueError or TypeError unless the columns are sequences of one length, with a value in each row."""
    sizes = {}
    for name in names:
        column = columns[name]
        if isinstance(column, str | bytes) or not hasattr(column, "__len__") or not hasattr(column, "__getitem__"):
            raise TypeError(f"column {name!r} is {shown(column)}; expected a sequence with one value for each row")
        shape = getattr(column, "shape", (0,))
        if len(shape) != 1:
            raise ValueError(
                f"column {name!r} has shape {list(shape)}; expected one value for each row: give each of its "
                "parts a name of its own"
            )
        sizes[name] = len(column)
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{name!r} has {size}" for name, size in sizes.items())
        raise ValueError(f"the columns have different numbers of rows: {listed}; give each row one value per column")
    if not min(sizes.values()):
        raise ValueError("the table has no rows; give at least two for each of three groups")


def complete_rows(
    columns: Columns, task: str, names: Sequence[str], missing: str, categories: Sequence[str] = ()
) -> list[int]:
    """The indices of the rows with a group and with a value in each column of `names`.

    A group called "NA", or another usual word for a missing value, is kept, with a warning; such words are also
    values of the columns `categories`.

    Raises:
        ValueError: for a row without a value, unless `missing` is "drop" or "fill".
    """
    if missing not in ("error", "drop", "fill"):
        raise ValueError(f"missing={missing!r}; choose 'error', 'drop' or 'fill'")
    count = len(columns[task])
    checks = {name: is_unnamed if name in (task, *categories) else is_missing for name in (task, *names)}
    gaps = {name: [i for i in range(count) if check(columns[name][i])] for name, check in checks.items()}
    bad = {i for rows in gaps.values() for i in rows}
    if bad and missing == "error":
        firsts: dict[int, list[str]] = {}
        for name in [name for name in gaps if gaps[name]][:MOST]:
            cell = columns[name][gaps[name][0]]
            what = f" (it holds {shown(cell)})" if sounds_missing(cell) else ""
            firsts.setdefault(gaps[name][0], []).append(f"{name!r}{what}")
        without = [f"row {i + 1} has no value in column {' and '.join(own)}" for i, own in firsts.items()]
        rows = "row" if len(bad) == 1 else "rows"
        raise ValueError(f"{', '.join(without)} ({len(bad)} such {rows} in all); pass missing='drop' to leave them out")
    if len(bad) == count:
        listed = ", ".join(f"{len(rows)} in {name!r}" for name, rows in gaps.items() if rows)
        raise ValueError(f"all {count} rows lack a value ({listed}); choose columns with values")
    _warn_of_names(columns[task], [i for i in range(count) if i not in bad], task)
    return [i for i in range(count) if i not in bad]


def _warn_of_names(labels: Sequence[Any], rows: Sequence[int], task: str) -> None:
    """Warn of a group that is called like a missing value."""
    odd = [i for i in rows if sounds_missing(labels[i])]
    if odd:
        label = labels[odd[0]]
        count = sum(labels[i] == label for i in odd)
        warnings.warn(
            f"column {task!r} has a group called {label!r} ({count} rows), which is read as a name; if the word stands "
            "for a missing name, leave these cells empty",
            RuntimeWarning,
            stacklevel=3,
        )


def numbers(columns: Columns, name: str, rows: Sequence[int]) -> list[float]:
    """The column's values in `rows` as floats. Raises ValueError, with the first that are not finite numbers."""
    return read_cells(name, columns[name], rows, number)


def in_order(rows: Float[Tensor, "n columns"], dx: int) -> Float[Tensor, "n columns"]:
    """The rows sorted by their x; rows with equal x are in an order that depends on a hash of their y alone.

    The first rows of a group are seen, so rows with equal x must not be sorted by y.
    """
    values = np.ascontiguousarray(rows.numpy()) + 0.0  # turns -0.0 into 0.0
    mixed = np.zeros(len(values), dtype=np.uint64)
    for column in values[:, dx:].T:  # splitmix64 (Steele, Lea and Flood 2014)
        mixed = (mixed ^ np.ascontiguousarray(column).view(np.uint64)) + np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed = mixed ^ (mixed >> np.uint64(31))
    keys = (mixed, *reversed(list(values[:, :dx].T)))
    return torch.from_numpy(values[np.lexsort(keys)])
