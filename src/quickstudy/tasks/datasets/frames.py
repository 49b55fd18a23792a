"""Columns of data frames, and numbers with decimal commas."""

import re
from collections.abc import Sequence
from typing import Any

from quickstudy.tasks.datasets.cells import shown
from quickstudy.tasks.datasets.columns import Columns
from quickstudy.tasks.datasets.dates import moment, unclear

_NUMBER = re.compile(r"[+-]?[.,]*\d[\d.,]*([eE][+-]?\d+)?")


def columns_of(frame: Any, used: Sequence[str]) -> Columns:
    """The columns of a data frame of pandas or polars, of an Arrow table, or of an xarray.Dataset.

    Args:
        frame: the data frame. Of a dataset, coordinates are columns, too.
        used: names of the columns that are needed.

    Raises:
        TypeError: if it is no data frame.
        ValueError: if a name in `used` stands for several columns, or for a level of the index.
    """
    if hasattr(frame, "data_vars"):
        frame = frame.to_dataframe().reset_index()
    elif hasattr(frame, "column_names") and hasattr(frame, "to_pydict"):
        return _of_arrow(frame)
    if not hasattr(frame, "columns") or not hasattr(frame, "shape"):
        raise TypeError(
            f"expected a data frame, not {type(frame).__name__}; use Table.from_columns for a dict of columns, "
            "Table.from_file for a file"
        )
    names = list(frame.columns)
    for name in used:
        if names.count(name) > 1:
            raise ValueError(f"the data frame has {names.count(name)} columns called {name!r}; rename all but one")
        if name not in names and name in getattr(getattr(frame, "index", None), "names", ()):
            raise ValueError(f"{name!r} is in the index of the data frame; pass frame.reset_index()")
    return {name: list(frame[name]) if name in used else frame[name] for name in names if names.count(name) == 1}


def _of_arrow(frame: Any) -> Columns:
    repeated = [name for name in frame.column_names if frame.column_names.count(name) > 1]
    if repeated:
        raise ValueError(f"the table has two columns called {repeated[0]!r}; rename one")
    columns: Columns = frame.to_pydict()
    return columns


def with_points(columns: Columns, names: Sequence[str], decimal: str) -> Columns:
    """The columns with decimal points in the numbers of `names`, in place of the mark `decimal`.

    Raises:
        ValueError: if the mark is neither a point nor a comma, or a number with decimal commas holds a point.
    """
    if decimal not in (".", ","):
        raise ValueError(f"decimal={decimal!r}; choose '.' or ','")
    if decimal == ".":
        return columns
    changed = dict(columns)
    for name in (each for each in dict.fromkeys(names) if each in columns):
        cells = list(columns[name])
        for i, cell in enumerate(cells):
            if not isinstance(cell, str) or not _NUMBER.fullmatch(cell.strip()) or moment(cell) or unclear(cell):
                continue
            if "." in cell:
                raise ValueError(
                    f"column {name!r} holds {shown(cell)} in row {i + 1}, and decimal=',' was given; remove points "
                    "that separate thousands, and write all numbers alike"
                )
            cells[i] = cell.replace(",", ".")
        changed[name] = cells
    return changed
