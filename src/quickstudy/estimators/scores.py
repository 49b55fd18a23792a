"""Scores over held-out groups, as the columns of a table."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from quickstudy.estimators.classes.judging import JudgedLabels
from quickstudy.evaluation.intervals import Metric, over_tasks, root
from quickstudy.tables.judging import LEVELS, Judged

Metrics = Callable[[Any, int], dict[str, Metric]]
"""The metrics of what was judged, after the k-th number of seen rows."""


def columns_of_scores(scores: Mapping[str, Any], seen: Sequence[int], metrics: Metrics) -> dict[str, list[Any]]:
    """A row for each learner and number of seen rows.

    Each score is a mean over groups; the column `..._ci95` beside it is half the width of its 95% confidence interval.
    """
    found: dict[str, list[Any]] = {"learner": [], "seen": [], "groups": []}
    for name, judged in scores.items():
        for k, number in enumerate(seen):
            found["learner"].append(name)
            found["seen"].append(number)
            found["groups"].append(len(judged.real))
            for metric, value in metrics(judged, k).items():
                found.setdefault(metric, []).append(value.mean)
                found.setdefault(f"{metric}_ci95", []).append(value.ci95)
    return found


def metrics_of(outputs: Sequence[str]) -> Metrics:
    """The scores of beliefs about real outputs.

    They are `rmse` (with several outputs one for each, in its units), `log_likelihood` (of a row), `joint` (log
    likelihood of a group's rows together, divided by their number), `coverage50` and `coverage90` (of central
    intervals).
    """
    return lambda judged, k: _of_numbers(judged, k, outputs)


def metrics_of_labels(judged: JudgedLabels, k: int) -> dict[str, Metric]:
    """`log_likelihood` (of a row), `accuracy`, and `brier`, the mean sum of squared differences from the outcome."""
    return {
        "log_likelihood": over_tasks(judged.density[:, k]),
        "accuracy": over_tasks(judged.right[:, k]),
        "brier": over_tasks(judged.brier[:, k]),
    }


def _of_numbers(judged: Judged, k: int, outputs: Sequence[str]) -> dict[str, Metric]:
    names = ["rmse"] if len(outputs) == 1 else [f"rmse_{name}" for name in outputs]
    found = {name: root(over_tasks(judged.squared[:, k, d])) for d, name in enumerate(names)}
    found |= {"log_likelihood": over_tasks(judged.density[:, k]), "joint": over_tasks(judged.joint[:, k])}
    covered = {f"coverage{100 * level:.0f}": judged.inside[:, k, i] for i, level in enumerate(LEVELS)}
    return found | {name: over_tasks(values) for name, values in covered.items()}


def as_frame(columns: dict[str, list[Any]], rows: Any) -> Any:
    """The columns as a data frame if `rows` are one, and as they are otherwise."""
    if not hasattr(rows, "iloc"):
        return columns
    import pandas

    return pandas.DataFrame(columns)
