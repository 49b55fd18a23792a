"""Columns of X as numbers: dates, durations and categories are read as `quickstudy table` reads them."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from quickstudy.estimators.conventions import validate_data
from quickstudy.tasks.datasets.inputs import Input, Reading
from quickstudy.tasks.datasets.kinds import infer

Array = np.ndarray[Any, Any]
Inputs = tuple[Input, ...]
_CATEGORIES = ("category", "categorical", "enum")  # names of types in pandas and polars
_IN_PYTHON = (
    (r"x=", "X"),
    (r"pass categories=(\S+)", r"give the column \1 the type 'category'"),
    (r"pass date_format=('.*?')( or the like)?", r"convert the column by pandas.to_datetime(..., format=\1)"),
)
"""What a user of data frames does, in place of what a user of tables does."""


def check_table(x: Any) -> None:
    """Raise ValueError for a series, as X has columns.

    Raise TypeError for an array of dates or durations, whose numbers would depend on how they are stored.
    """
    check_unmasked("X", x)
    if hasattr(x, "iloc") and getattr(x, "ndim", 2) == 1:
        raise ValueError(f"X is a series; expected a data frame: give frame[[{getattr(x, 'name', None)!r}]]")
    if not _is_frame(x) and getattr(getattr(x, "dtype", None), "kind", "") in ("m", "M"):
        raise TypeError(f"X is an array of {x.dtype}; give a data frame, whose columns may hold dates and durations")


def check_unmasked(name: str, values: Any) -> None:
    """Raise ValueError for a masked array, whose mask would be forgotten."""
    if isinstance(values, np.ma.MaskedArray) and bool(np.ma.getmaskarray(values).any()):
        raise ValueError(f"{name} is a masked array, some of whose values are missing; leave out these rows")


def training_inputs(X: Any) -> Inputs | None:
    """How the columns of a data frame are read; None if all of them are numbers, or X is no data frame.

    Raises:
        ValueError: for a name that two columns have, missing values, words mixed with numbers, dates whose day and
            month could be confused, and categories that are too many, or only one.
    """
    check_table(X)
    if not _is_frame(X) or all(map(_is_number, X.dtypes)):
        return None
    names = list(X.columns)
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        raise ValueError(f"X has {names.count(repeated[0])} columns called {repeated[0]!r}; rename all but one")
    if not all(isinstance(name, str) for name in names):
        names = [f"x{i}" for i in range(len(names))]
    columns = dict(zip(names, _columns(X), strict=True))
    named = tuple(name for name, kind in zip(names, X.dtypes, strict=True) if str(kind).lower().startswith(_CATEGORIES))
    found = []
    for name, cells in columns.items():
        reading = Reading(categories=(name,) if name in named else ())
        [one] = _in_python(lambda n=name, r=reading: infer(columns, (n,), range(len(columns[n])), r))
        if one.fill is not None:
            row = [one.missing(cell) for cell in cells].index(True)
            raise ValueError(f"column {name!r} of X has no value in row {row + 1}; leave out rows that lack a value")
        found.append(one)
    return tuple(found)


def check_order(inputs: Sequence[Input]) -> None:
    """Raise ValueError for categories in the first of several columns, as that orders the rows of a group."""
    others = [each.name for each in inputs if each.kind != "category"]
    if others and inputs[0].kind == "category":
        order = [others[0], *(each.name for each in inputs if each.name != others[0])]
        raise ValueError(
            f"the first column of X, {inputs[0].name!r}, holds categories, and the first column orders the rows of a "
            f"group; give X[{order}]"
        )


def numbers_in(model: Any, X: Any, inputs: Inputs | None, **checks: Any) -> Any:
    """The inputs `[rows, dx]` as numbers, or whatever `validate_data` returns, with these as its first.

    Args:
        model: the estimator.
        X: rows; a data frame, an array or lists.
        inputs: how the columns are read; None if all are numbers.
        checks: arguments of `validate_data`, which checks the number and the names of the columns.

    Raises:
        ValueError: at the first cell that cannot be read, such as one of a category that was not in training.
    """
    check_table(X)
    frame = _is_frame(X)
    plain = inputs is None or all(each.kind == "number" for each in inputs)
    if plain and (not frame or all(map(_is_number, X.dtypes))):
        return validate_data(model, X, dtype=np.float64, **checks)
    cells = _columns(X)
    zeros = np.zeros((len(cells[0]) if cells else 0, len(cells)))
    known = type(X)(dict(zip(X.columns, zeros.T, strict=True))) if frame else zeros
    found = validate_data(model, known, dtype=np.float64, **checks)
    read = inputs or of_numbers(model)
    columns = [
        column
        for each, own in zip(read, cells, strict=True)
        for column in _in_python(lambda e=each, c=own: e.read(c, range(len(c))))
    ]
    wide = np.array(columns, dtype=np.float64).T.reshape(len(zeros), len(columns))
    return (wide, *found[1:]) if isinstance(found, tuple) else wide


def of_numbers(model: Any) -> Inputs:
    """Columns of numbers, with their names in a data frame, or `x0`, `x1` and so on."""
    names = getattr(model, "feature_names_in_", [f"x{i}" for i in range(model.n_features_in_)])
    return tuple(Input(str(name)) for name in names)


def _is_frame(x: Any) -> bool:
    """Whether rows are a data frame of pandas or polars."""
    return hasattr(x, "columns") and hasattr(x, "dtypes")


def _is_number(kind: Any) -> bool:
    """Whether a type of a column is one of numbers or truth values."""
    if hasattr(kind, "kind"):  # NumPy's and pandas'
        return kind.kind in "biufc"
    return bool(kind.is_numeric()) or str(kind) == "Boolean"


def _columns(x: Any) -> list[list[Any]]:
    """The cells of each column."""
    if hasattr(x, "iloc"):
        return [x.iloc[:, k].tolist() for k in range(x.shape[1])]
    if _is_frame(x):
        return [x.to_series(k).to_list() for k in range(x.shape[1])]
    array = np.asarray(x, dtype=object)
    if array.ndim != 2:
        raise ValueError(f"X has shape {list(array.shape)}; expected rows with one value for each column")
    return array.T.tolist()


def _in_python(read: Any) -> Any:
    """What `read()` returns; its errors say what to do in Python."""
    try:
        return read()
    except ValueError as error:
        text = str(error)
        for shell, python in _IN_PYTHON:
            text = re.sub(shell, python, text)
        raise ValueError(text) from None
