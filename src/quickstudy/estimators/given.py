"""What users give to an estimator, checked against what it was fitted to."""

import warnings
from collections.abc import Iterable, Mapping
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor

from quickstudy.checks import shown
from quickstudy.data import pad
from quickstudy.estimators.conventions import check_is_fitted, check_random_state
from quickstudy.estimators.inputs import check_unmasked, numbers_in
from quickstudy.estimators.rows import (
    Array,
    as_tensor,
    check_aligned,
    check_spelling,
    read_labels,
    rows_by_group,
)
from quickstudy.tables.model import TableModel

ONLY = None
"""The label of a group that was given without one."""


def seed_of(model: Any) -> int:
    """The seed that `random_state` stands for."""
    if isinstance(model.random_state, Integral):
        return int(model.random_state)
    return int(check_random_state(model.random_state).randint(2**31))


def remembered(model: Any, groups: Any) -> Mapping[Any, Tensor]:
    """The rows of the groups of `fit`; ValueError if they were not saved and `groups` asks for them."""
    check_is_fitted(model)
    if model._known is None and groups is not None:
        raise ValueError(
            "the model was saved without the rows of its groups, so predict takes no groups; give their rows to "
            "adapt(X, y, groups)"
        )
    return model._known or {}


def known_and_asked(model: Any, X: Any, groups: Any) -> tuple[Tensor, list[Tensor], list[list[int]]]:
    """Inputs `[rows, dx]`, and of each group that is asked for its rows in `fit` and its places among the inputs.

    Without groups, each row is of an unknown group of its own.
    """
    known = remembered(model, groups)
    x, labels = rows_to_predict(model, X, groups, known)
    empty = x.new_zeros(0, x.shape[1] + model.n_outputs_)
    rows, asked = places_and_rows(range(len(x)) if labels is None else labels, known if labels is not None else {})
    return x, [empty if each is None else each for each in rows], asked


def places_and_rows(labels: Iterable[Any], known: Mapping[Any, Tensor]) -> tuple[list[Any], list[list[int]]]:
    """Of each label in `labels` its known rows, None if there are none, and its places."""
    places: dict[Any, list[int]] = {}
    for i, label in enumerate(labels):
        places.setdefault(label, []).append(i)
    return [known.get(label) for label in places], list(places.values())


def warn_of_no_groups() -> None:
    """Say what `fit` does without groups."""
    warnings.warn(
        "fit was given no groups, so every row counts as a group of its own: the model is one curve for all rows, and "
        "adapt() has nothing to learn from; pass groups=, the group of each row",
        UserWarning,
        stacklevel=4,
    )


def check_has_groups(model: Any) -> None:
    """Raise ValueError if `fit` was given no groups, so that there is nothing to adapt."""
    if model.groups_ == ():
        raise ValueError(
            "fit was given no groups, so the model does not know how alike the rows of a group are; fit it with "
            "groups=, the group of each row"
        )


def rows_to_predict(model: Any, X: Any, groups: Any, known: Mapping[Any, Any]) -> tuple[Tensor, list[Any] | None]:
    """Inputs `[rows, dx]`, and the group of each row; None if there are no groups.

    Raises:
        NotFittedError: if the estimator is not fitted.
        ValueError: for rows unlike those of `fit`, and groups that are missing or spelt in another way than in `known`.
    """
    check_is_fitted(model)
    check_aligned(X, {"groups": groups})
    x = as_tensor(numbers_in(model, X, model._names.inputs, reset=False))
    if groups is None:
        return x, None
    labels = read_labels(groups, len(x))
    check_spelling(labels, known)
    return x, labels


def rows_of_new_groups(model: Any, X: Any, y: Any, groups: Any) -> dict[Any, Tensor]:
    """Of each group its rows `[n, dx + dy]`; without labels, all rows are of one group. There may be none."""
    check_is_fitted(model)
    check_aligned(X, {"y": y, "groups": groups})
    x = numbers_in(model, X, model._names.inputs, reset=False, ensure_min_samples=0)
    if len(np.asarray(y)) != len(x):
        raise ValueError(f"X has {len(x)} rows and y has {len(np.asarray(y))}; give one outcome for each row")
    values = torch.cat([as_tensor(x), model._outcomes(y)], 1)
    labels = [ONLY] * len(x) if groups is None else read_labels(groups, len(x))
    return rows_by_group(values, labels, model._names) if len(x) else {ONLY: values}


def holds_text(y: Any) -> bool:
    """Whether an outcome is text."""
    array = np.asarray(y)
    return array.dtype.kind in "US" or (array.dtype.kind == "O" and any(isinstance(v, str) for v in array.ravel()))


def check_outcomes(y: Any) -> None:
    """Raise TypeError for dates and durations, whose numbers would depend on how they are stored.

    Raise ValueError for masked values.
    """
    check_unmasked("y", y)
    kinds = list(y.dtypes) if hasattr(y, "iloc") and hasattr(y, "columns") else [getattr(y, "dtype", None)]
    odd = next((kind for kind in kinds if getattr(kind, "kind", "") in ("m", "M")), None)
    if odd is not None:
        raise TypeError(f"y holds {odd}; convert it to numbers, such as days: y / pandas.Timedelta(days=1)")


def numbers(y: Any, columns: int | None = None) -> Array:
    """Outcomes as floats `[n]` or `[n, columns]`.

    Raises:
        TypeError: for dates and durations.
        ValueError: for text, missing values, and another number of columns than `columns`.
    """
    check_outcomes(y)
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


def warn_of_unlike(model: TableModel, new: Mapping[Any, Tensor]) -> None:
    """Warn, as `quickstudy predict` does, of groups whose known rows are unlike those of all groups of training.

    Args:
        model: the fitted model.
        new: known rows `[n, dx + dy]` by group.
    """
    dx = len(model.x)
    known = {label: rows for label, rows in new.items() if len(rows)}
    if not known:
        return
    support = pad([(rows[:, :dx], rows[:, dx:]) for rows in known.values()]).to(dtype=torch.float64)
    odd = [label for label, bad in zip(known, model.unlike(support).tolist(), strict=True) if bad]
    if odd:
        which = "the known rows" if odd == [ONLY] else f"the known rows of {', '.join(map(str, odd[:5]))}"
        warnings.warn(
            f"{which} are unlike those of all groups of fit, so the predictions are guesses; check the units",
            RuntimeWarning,
            stacklevel=3,
        )
