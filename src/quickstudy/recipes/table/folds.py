"""Reading the table of a run, dividing its groups into folds, and finding the same folds again."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from quickstudy.recipes.table.options import Options
from quickstudy.tasks import Table
from quickstudy.tasks.datasets.columns import GroupedRows, read_groups
from quickstudy.tasks.datasets.files import read_file
from quickstudy.tasks.datasets.frames import with_points
from quickstudy.tasks.datasets.inputs import Reading
from quickstudy.tasks.datasets.names import natural
from quickstudy.tasks.datasets.record import TableRecord

ENOUGH = 5  # with fewer validation groups, the results have a warning
LEAST = 4  # groups: two folds, and one group each for training and validation


def read(options: Options) -> GroupedRows:
    """The rows of the file. Raises FileNotFoundError or ValueError if it cannot be used."""
    columns = with_points(
        read_file(options.data, delimiter=options.delimiter, sheet=options.sheet),
        [*options.x, *options.y],
        options.decimal,
    )
    reading = Reading(options.categories, options.date_format, options.dates)
    return read_groups(
        columns, options.task, options.x, options.y, missing=options.missing, short=options.short, reading=reading
    )


def deal(options: Options, rows: GroupedRows) -> list[Table]:
    """A table for every fold, whose test groups are those of the fold; 15% of the other groups are for validation.

    The groups of each fold depend on their names and on the seed, and not on the order of the file.

    Raises:
        ValueError: if there are too few groups for the folds, or if a fold has no group with more rows than are seen.
    """
    names = sorted(map(str, rows.names), key=natural)
    _check_seen(options.seen, rows)
    if len(names) < LEAST:
        raise ValueError(f"column {options.task!r} has {len(names)} groups; expected at least {LEAST} to hold some out")
    if not 2 <= options.folds <= len(names) - 2:
        raise ValueError(
            f"--folds {options.folds}: {len(names)} groups can be divided into 2 to {len(names) - 2} folds"
        )
    chance = torch.Generator().manual_seed(options.seed)
    shuffled = [names[i] for i in torch.randperm(len(names), generator=chance).tolist()]
    tables = []
    for i in range(options.folds):
        test = shuffled[i :: options.folds]
        rest = [name for name in shuffled if name not in test]
        count = max(1, round(0.15 * len(rest)))
        splits = {"train": rest[count:], "validation": rest[:count], "test": test}
        tables.append(Table.from_groups(rows, splits=splits, order=options.order))
    _check_long(tables, max(options.seen))
    return tables


def again(options: Options, rows: GroupedRows, kept: Mapping[str, Any] | None) -> list[Table]:
    """The tables of a run that was trained before, from the record that it keeps in `table.json`.

    Raises:
        ValueError: if the file holds other groups or other rows than in training, or if the run keeps no record.
    """
    if kept is None:
        raise ValueError(
            f"{options.out} keeps no record of its groups, as an earlier version made it, so that held-out groups "
            "cannot be told from those of training; run it again"
        )
    record = TableRecord.from_json(kept)
    changes = record.changes(rows)
    if changes:
        raise ValueError(
            f"{options.data} has changed since {options.out} was trained: {changes}; put the file back as it was, or "
            "run the recipe again (the order of rows does not matter)"
        )
    _check_seen(options.seen, rows)
    tables = [Table.from_groups(rows, splits=fold.splits, order=options.order) for fold in record.folds]
    _check_long(tables, max(options.seen))
    return tables


def left_out(table: Table) -> str:
    """A sentence with the number of rows and groups that the table leaves out; empty if there are none."""
    rows, groups = table.dropped
    kept, whole = int(table.points.points.sizes().sum()), len(table.names) + groups
    parts = [f"{rows} of {kept + groups + rows} rows, which lack a value (--missing drop)"] if rows else []
    parts += [f"{groups} of {whole} groups, which have a single row (--short drop)"] if groups else []
    return f"Left out: {', and '.join(parts)}." if parts else ""


def too_short(tables: Sequence[Table], seen: Sequence[int]) -> str:
    """A sentence with the number of groups that are too short to be predicted; empty if there are none."""
    sizes = [len(rows) for rows in tables[0].rows.rows]
    few = sum(size <= max(seen) for size in sizes)
    if not few:
        return ""
    return (
        f"Not predicted: {few} of {len(sizes)} groups, which have no more than {max(seen)} rows (--seen {max(seen)}); "
        "they help to train. Fewer rows seen leave more groups to predict."
    )


def few_for_validation(tables: Sequence[Table], which: str) -> str:
    """A warning, in one sentence, if the best weights are chosen on few groups; empty otherwise."""
    fewest = min(len(table.groups("validation")) for table in tables)
    if fewest >= ENOUGH or which == "last":
        return ""
    return (
        f"Only {fewest} group{'s' * (fewest > 1)} of each fold choose{'s' * (fewest == 1)} the best weights, so "
        f"the choice depends on chance (15% of the groups that are not held out; {ENOUGH} or more are better); "
        "--which last measures the last weights."
    )


def _check_seen(seen: Sequence[int], rows: GroupedRows) -> None:
    """Raise ValueError if a number is given twice or none is given, or if no group has more rows than are seen."""
    words = " ".join(map(str, seen))
    if not seen or len(set(seen)) < len(seen):
        raise ValueError(f"--seen {words}: expected different numbers of rows, at least one".replace(" :", ":"))
    most = max(len(each) for each in rows.rows)
    if max(seen) >= most:
        raise ValueError(
            f"--seen {words}: the largest group has {most} rows, so none would be left to predict; give at most "
            f"{most - 1}"
        )


def _check_long(tables: Sequence[Table], most: int) -> None:
    """Raise ValueError if all test groups of a fold are too short."""
    for i, table in enumerate(tables, 1):
        sizes = [len(table.rows.rows[place]) for place in table.points.splits["test"]]
        if max(sizes) <= most:
            raise ValueError(
                f"--seen {most}: no group of fold {i} of {len(tables)} has more than {most} rows, so none can be "
                f"predicted; give fewer rows, or fewer --folds than {len(tables)}"
            )
