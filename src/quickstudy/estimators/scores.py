"""Scores over held-out groups, as the columns of a table."""

from collections.abc import Mapping, Sequence
from typing import Any

from quickstudy.evaluation.intervals import Metric, over_tasks, root
from quickstudy.tables.judging import LEVELS, Judged


def columns_of_scores(
    scores: Mapping[str, Judged], seen: Sequence[int], outputs: Sequence[str]
) -> dict[str, list[Any]]:
    """A row for each learner and number of seen rows.

    Each score is a mean over groups; the column `..._ci95` beside it is half the width of its 95% confidence interval.
    Scores are `rmse` (with several outputs one for each, in its units), `log_likelihood` (of a row), `joint` (log
    likelihood of a group's rows together, divided by their number), `coverage50` and `coverage90` (of central
    intervals).
    """
    found: dict[str, list[Any]] = {"learner": [], "seen": [], "groups": []}
    for name, judged in scores.items():
        for k, number in enumerate(seen):
            found["learner"].append(name)
            found["seen"].append(number)
            found["groups"].append(len(judged.real))
            for metric, value in _metrics(judged, k, outputs).items():
                found.setdefault(metric, []).append(value.mean)
                found.setdefault(f"{metric}_ci95", []).append(value.ci95)
    return found


def _metrics(judged: Judged, k: int, outputs: Sequence[str]) -> dict[str, Metric]:
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
