"""Several runs of one experiment in one figure."""

import math
from collections.abc import Mapping, Set
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from quickstudy.report import figures
from quickstudy.report.palette import KEYS, looks
from quickstudy.report.tables import BOUNDS, KERNELS, LOWER_IS_BETTER, METRICS, Entry, comparable, counted

ORDER = ("mse", "rmse", "accuracy", "return", "log_likelihood")  # the first that several runs have is drawn


class Comparison(NamedTuple):
    """A figure and its caption."""

    figure: Figure
    caption: str


def comparison(
    results: Mapping[str, Mapping[str, Any]], learners: Mapping[str, str], recipe: str = ""
) -> Comparison | None:
    """Draw the errors, returns or likelihoods of several runs after the most steps or episodes.

    Returns None if the runs have no such metric in common.

    Args:
        results: the `metrics` of each run, by its name, as for `quickstudy.report.tables.tables`.
        learners: the key of each run's learner, such as "maml", by the name of the run.
        recipe: the recipe that made the runs, which decides what K counts.
    """
    for metric in ORDER:
        rows = comparable(results, metric)
        if len(rows) > 1:
            return Comparison(_figure(metric, rows, learners, recipe), _caption(metric))
    return None


def _figure(metric: str, rows: Mapping[str, Mapping[str, Entry]], learners: Mapping[str, str], recipe: str) -> Figure:
    look_of = looks(rows, {name: _learner(row, learners) or name for name, row in rows.items()})
    series = [
        figures.Series(
            name,
            [column.removeprefix("K=") for column in row],
            [e.mean for e in row.values()],
            [e.ci95 or 0.0 for e in row.values()],
            *look_of[name],
        )
        for name, row in rows.items()
    ]
    columns = {column for row in rows.values() for column in row}
    figure = figures.intervals(
        series,
        xlabel=_xlabel(columns, recipe),
        ylabel=METRICS[metric],
        log=metric in LOWER_IS_BETTER and all(mean > 0 for item in series for mean in item.mean),
        bounds=BOUNDS.get(metric, (-math.inf, math.inf)),
    )
    if columns == {"mean"}:  # a single column needs no label
        figure.axes[0].set_xticks([])
    return figure


def _learner(row: Mapping[str, Entry], learners: Mapping[str, str]) -> str | None:
    """Return the key of a row's learner: the one named in the row, or the only one of its run."""
    part = next(iter(row.values())).part
    return KEYS.get(part.rpartition(", ")[2]) or learners.get(part)


def _xlabel(columns: Set[str], recipe: str) -> str:
    if any(column.startswith("K=") for column in columns):
        return f"K, {counted(recipe)}"
    return "kernel of the unseen tasks" if columns & set(KERNELS.values()) else ""


def _caption(metric: str) -> str:
    return f"Comparison: {METRICS[metric]}, with 95% intervals."
