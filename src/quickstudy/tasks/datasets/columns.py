"""Reading and checking the columns of a table: files, names, numbers, missing values, groups."""

import csv
import math
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from os import PathLike
from pathlib import Path
from typing import Any

Columns = Mapping[str, Sequence[Any]]

_MISSING = {"", "na", "n/a", "nan", "null", "none"}


def read_csv(path: str | PathLike[str], *, delimiter: str = ",") -> dict[str, list[str]]:
    """The columns of a CSV file with a header line, as text.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: for a file that is not text, has no rows, repeats a name, or has a row of another length.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}; give the path of a CSV file with a header line")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file, delimiter=delimiter) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} cannot be read as CSV text ({error}); save it as CSV in UTF-8") from None
    if len(rows) < 2:
        raise ValueError(f"{path} has no rows below its header line; a table needs a header and data")
    header = [name.strip() for name in rows[0]]
    if len(header) == 1:
        raise ValueError(f"{path} has the single column {header[0]!r}; does {delimiter!r} separate its columns?")
    repeated = {name for name in header if header.count(name) > 1}
    if repeated:
        raise ValueError(f"{path} has two columns called {min(repeated)!r}; rename one")
    for i, row in enumerate(rows[1:], 1):
        if len(row) != len(header):
            raise ValueError(
                f"{path}, row {i}: {len(row)} values for {len(header)} columns; give each row one value for every name "
                "in the first line, and put quotes around values that hold a comma"
            )
    return {name: [row[j].strip() for row in rows[1:]] for j, name in enumerate(header)}


def check_names(columns: Columns, task: str, x: Sequence[str], y: Sequence[str]) -> None:
    """Raise ValueError for a column that is missing (with the nearest name), a column used twice, and no x or y."""
    if not x or not y:
        raise ValueError(f"x={list(x)}, y={list(y)}; name at least one column for x= and for y=")
    used = [task, *x, *y]
    for name in used:
        if name not in columns:
            near = get_close_matches(str(name), [str(c) for c in columns], 1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ValueError(f"no column {name!r}; {hint}Columns: {', '.join(map(str, columns))}")
        if used.count(name) > 1:
            raise ValueError(f"column {name!r} is used twice; task=, x= and y= must name different columns")


def complete_rows(columns: Columns, names: Sequence[str], missing: str) -> list[int]:
    """The indices of the rows with a value in each column of `names`.

    Raises:
        ValueError: for a row without a value, unless `missing="drop"`.
    """
    if missing not in ("error", "drop"):
        raise ValueError(f"missing={missing!r}; choose 'error' or 'drop'")
    count = len(columns[names[0]])
    gaps = {name: [i for i in range(count) if is_missing(columns[name][i])] for name in names}
    bad = {i for rows in gaps.values() for i in rows}
    if bad and missing == "error":
        name = next(name for name in names if gaps[name])
        raise ValueError(
            f"row {gaps[name][0] + 1} has no value in column {name!r} ({len(bad)} such rows in all); "
            "pass missing='drop' to leave them out"
        )
    return [i for i in range(count) if i not in bad]


def numbers(columns: Columns, name: str, rows: Sequence[int]) -> list[float]:
    """The column's values in `rows` as floats. Raises ValueError at the first that is not a finite number."""
    values = []
    for i in rows:
        value = columns[name][i]
        try:
            values.append(float(value))
        except (TypeError, ValueError):
            raise ValueError(
                f"column {name!r} holds {value!r} in row {i + 1}, which is not a number; "
                "choose numeric columns, or write the categories as numbers"
            ) from None
        if not math.isfinite(values[-1]):
            raise ValueError(f"column {name!r} is infinite in row {i + 1}; correct or remove the row")
    return values


def group_rows(labels: Sequence[Any], short: str) -> dict[Any, list[int]]:
    """The indices of each label in `labels`, in the order in which the labels first appear.

    Raises:
        ValueError: for a label with a single row, unless `short="drop"`.
    """
    if short not in ("error", "drop"):
        raise ValueError(f"short={short!r}; choose 'error' or 'drop'")
    groups: dict[Any, list[int]] = {}
    for i, label in enumerate(labels):
        groups.setdefault(label, []).append(i)
    single = [label for label, places in groups.items() if len(places) < 2]
    if single and short == "error":
        raise ValueError(
            f"group {single[0]!r} has a single row ({len(single)} such groups in all), and every group needs two: "
            "one for the support set and one for the query set; pass short='drop' to leave them out"
        )
    return {label: places for label, places in groups.items() if len(places) > 1}


def is_missing(value: Any) -> bool:
    """True for None, NaN, pandas' NA and NaT, and the usual words for a missing value."""
    if isinstance(value, str):
        return value.strip().lower() in _MISSING
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float) and math.isnan(value)
