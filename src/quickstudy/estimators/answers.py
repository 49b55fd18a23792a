"""Predictions as arrays, or as pandas where rows were given as a data frame."""

from typing import Any

from torch import Tensor

from quickstudy.checks import check_switch, check_whole, shown
from quickstudy.estimators.rows import Names
from quickstudy.tables.portions import Parts, Wanted


def check_wanted(std: bool, quantiles: Any, joint: Any, seed: int) -> Wanted:
    """What `predict` was asked for.

    Raises:
        TypeError, ValueError: for quantiles that are not numbers between 0 and 1, and a number of draws below 1.
    """
    try:
        levels = () if quantiles is None else tuple(float(level) for level in quantiles)
    except (TypeError, ValueError):
        raise TypeError(
            f"quantiles={shown(quantiles)}; expected numbers between 0 and 1, such as [0.05, 0.95]"
        ) from None
    if not all(0 < level < 1 for level in levels):
        raise ValueError(f"quantiles={shown(quantiles)}; expected numbers between 0 and 1, such as [0.05, 0.95]")
    return Wanted(check_switch("return_std", std), levels, 0 if joint is None else check_whole("joint", joint), seed)


def answer(parts: Parts, rows: Any, names: Names, wanted: Wanted) -> Any:
    """The mean; or a tuple of the mean, standard deviation, quantiles and draws, as far as they were asked for.

    Args:
        parts: predictions.
        rows: the rows as they were given; for a data frame the answer has its index.
        names: names of the outputs.
        wanted: what was asked for.
    """
    frame = rows if hasattr(rows, "iloc") else None
    found = [_shaped(parts.mean, names, frame, "")]
    if wanted.std:
        found.append(_shaped(parts.std, names, frame, "_sd"))
    if wanted.quantiles:
        found.append(_several(parts.quantiles, names, frame, [f"_q{p:g}" for p in wanted.quantiles]))
    if wanted.draws:
        found.append(_several(parts.draws, names, frame, [f"_draw{i}" for i in range(1, wanted.draws + 1)]))
    return found[0] if len(found) == 1 else tuple(found)


def _shaped(values: Tensor, names: Names, frame: Any, ending: str) -> Any:
    """Values `[n, dy]` as an array `[n]` or `[n, dy]`, a series or a data frame."""
    array = values[:, 0].numpy() if names.flat else values.numpy()
    if frame is None:
        return array
    import pandas

    if names.flat:
        return pandas.Series(array, index=frame.index, name=names.y[0] + ending)
    return pandas.DataFrame(array, index=frame.index, columns=[name + ending for name in names.y])


def _several(values: Tensor, names: Names, frame: Any, endings: list[str]) -> Any:
    """Values `[n, dy, P]` as an array `[n, P]` or `[n, dy, P]`, or a data frame with a column for each."""
    if frame is None:
        return values[:, 0].numpy() if names.flat else values.numpy()
    import pandas

    columns = [name + ending for name in names.y for ending in endings]
    return pandas.DataFrame(values.flatten(1).numpy(), index=frame.index, columns=columns)


def labels_of(probs: Tensor, rows: Any, classes: Any, name: str) -> Any:
    """The likeliest class of each row, as an array, or a series for a data frame."""
    found = classes[probs.argmax(1).numpy()]
    if not hasattr(rows, "iloc"):
        return found
    import pandas

    return pandas.Series(found, index=rows.index, name=name)


def shares_of(probs: Tensor, rows: Any, classes: Any) -> Any:
    """Class probabilities as an array, or for a data frame as one with a column for each class."""
    if not hasattr(rows, "iloc"):
        return probs.numpy()
    import pandas

    return pandas.DataFrame(probs.numpy(), index=rows.index, columns=classes)
