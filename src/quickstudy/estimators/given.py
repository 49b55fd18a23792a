"""What users give to an estimator, checked against what it was fitted to."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from quickstudy.checks import shown
from quickstudy.estimators.conventions import check_is_fitted, validate_data
from quickstudy.estimators.rows import (
    Array,
    as_tensor,
    check_aligned,
    check_no_dates,
    check_spelling,
    read_labels,
    rows_by_group,
)

ONLY = None
"""The label of a group that was given without one."""


def rows_to_predict(model: Any, X: Any, groups: Any, known: Mapping[Any, Any]) -> tuple[Tensor, list[Any] | None]:
    """Inputs `[rows, dx]`, and the group of each row; None if there are no groups.

    Raises:
        NotFittedError: if the estimator is not fitted.
        ValueError: for rows unlike those of `fit`, and groups that are missing or spelt in another way than in `known`.
    """
    check_is_fitted(model)
    check_no_dates(X)
    check_aligned(X, {"groups": groups})
    x = as_tensor(validate_data(model, X, reset=False, dtype=np.float64))
    if groups is None:
        return x, None
    labels = read_labels(groups, len(x))
    check_spelling(labels, known)
    return x, labels


def rows_of_new_groups(model: Any, X: Any, y: Any, groups: Any, names: Any) -> dict[Any, Tensor]:
    """Of each group its rows `[n, dx + dy]`; without labels, all rows are of one group. There may be none."""
    check_is_fitted(model)
    check_no_dates(X)
    check_aligned(X, {"y": y, "groups": groups})
    x = validate_data(model, X, reset=False, dtype=np.float64, ensure_min_samples=0)
    if len(np.asarray(y)) != len(x):
        raise ValueError(f"X has {len(x)} rows and y has {len(np.asarray(y))}; give one outcome for each row")
    values = torch.cat([as_tensor(x), model._outcomes(y)], 1)
    labels = [ONLY] * len(x) if groups is None else read_labels(groups, len(x))
    return rows_by_group(values, labels, names) if len(x) else {ONLY: values}


def holds_text(y: Any) -> bool:
    """Whether an outcome is text."""
    array = np.asarray(y)
    return array.dtype.kind in "US" or (array.dtype.kind == "O" and any(isinstance(v, str) for v in array.ravel()))


def numbers(y: Any, columns: int | None = None) -> Array:
    """Outcomes as floats `[n]` or `[n, columns]`.

    Raises:
        ValueError: for text, missing values, and another number of columns than `columns`.
    """
    array = np.asarray(y)
    try:
        found = array.astype(np.float64)
    except (TypeError, ValueError):
        odd = next((value for value in array.ravel() if isinstance(value, str)), array.ravel()[0])
        raise ValueError(
            f"y holds {shown(str(odd))}, which is not a number; for classes, use GroupClassifier"
        ) from None
    if not np.isfinite(found).all():
        raise ValueError("y contains NaN or infinity; leave out rows whose outcome is not known")
    width = found.shape[1] if found.ndim == 2 else 1
    if found.ndim not in (1, 2) or (columns is not None and width != columns):
        expected = "one column" if columns in (None, 1) else f"{columns} columns"
        raise ValueError(f"y has shape {list(found.shape)}; expected {expected}, as in fit")
    return found
