"""What the learners scored on one table, and means over tables."""

from collections.abc import Mapping
from typing import Any

import torch

from quickstudy.evaluation.intervals import Metric, over_tasks, root
from quickstudy.tables.choosing import ALL, Choice
from quickstudy.tasks.datasets.columns import GroupedRows

BLIND = "everyone"
"""The curve for all groups, to which others are compared."""
NAMES = {"gp": "curve_gp"}  # of learners in result.json, where "gp" is another recipe's
MAIN = 4  # rows seen where learners are compared, or fewer if the groups of a table are short

Scores = dict[str, Any]


def scores_of(choice: Choice, rows: GroupedRows) -> Scores:
    """All scores of one table, for JSON: for each learner and each number of seen rows, means over groups."""
    learners = {}
    for name, judged in choice.scores.items():
        columns = []
        for k, number in enumerate(choice.seen):
            joint = judged.joint[:, k]
            found = {
                "rmse": root(over_tasks(judged.squared[:, k, 0])),
                "log_likelihood": over_tasks(judged.density[:, k]),
                "coverage50": over_tasks(judged.inside[:, k, 0]),
                "coverage90": over_tasks(judged.inside[:, k, 1]),
            }
            if bool(joint.isfinite().all()):
                found["joint_log_likelihood"] = over_tasks(joint)
            values = {metric: [value.mean, value.ci95] for metric, value in found.items()}
            columns.append({"seen": number, **values, "weight": choice.weights.get(name, (None,) * 9)[k]})
        learners[name] = columns
    titles = {name: candidate.title for name, candidate in choice.candidates.items()}
    return {
        "groups": len(rows.names),
        "rows": sum(len(each) for each in rows.rows),
        "judged": int(choice.scores[ALL].real.sum()),
        "titles": titles,
        "learners": learners,
    }


def main_column(scores: Scores, learner: str) -> dict[str, Any]:
    """The scores of a learner after four rows, or after as many as the table allows."""
    columns = [column for column in scores["learners"][learner] if column["seen"] <= MAIN]
    found: dict[str, Any] = columns[-1]
    return found


def near_best(scores: Scores, metric: str) -> bool:
    """Whether the mixture is at least as good as the best single learner, or within the 95% interval of its mean."""
    sign = 1 if metric == "rmse" else -1
    single = [main_column(scores, name)[metric] for name in scores["learners"] if name != ALL]
    mean, half = min(single, key=lambda value: sign * value[0])
    return bool(sign * main_column(scores, ALL)[metric][0] <= sign * mean + half)


def summary(tables: Mapping[str, Scores]) -> dict[str, Metric]:
    """Means over tables of error and log-likelihood relative to the curve for all groups, of learners of all tables."""
    names = [
        name for name in next(iter(tables.values()))["learners"] if all(name in t["learners"] for t in tables.values())
    ]
    numbers = sorted({column["seen"] for t in tables.values() for column in t["learners"][ALL]})
    found: dict[str, Metric] = {}
    for name in names:
        for k in numbers:
            pairs = [_pair(t, name, k) for t in tables.values()]
            kept = [pair for pair in pairs if pair]
            relative, gain, coverage = (torch.tensor(values, dtype=torch.float64) for values in zip(*kept, strict=True))
            part = NAMES.get(name, name)
            if name != BLIND:
                found[f"{part}/relative_rmse/k={k}"] = _over_tables(relative)
                found[f"{part}/log_likelihood_gain/k={k}"] = _over_tables(gain)
            found[f"{part}/coverage90/k={k}"] = _over_tables(coverage)
    for metric in ("rmse", "log_likelihood"):
        near = torch.tensor([float(near_best(t, metric)) for t in tables.values()], dtype=torch.float64)
        found[f"{ALL}/near_best_{metric}"] = _over_tables(near)
    return found


def _pair(scores: Scores, name: str, k: int) -> tuple[float, float, float] | None:
    own = next((column for column in scores["learners"][name] if column["seen"] == k), None)
    if own is None:
        return None
    blind = scores["learners"][BLIND][0]
    gain = own["log_likelihood"][0] - blind["log_likelihood"][0]
    return own["rmse"][0] / blind["rmse"][0], gain, own["coverage90"][0]


def _over_tables(values: torch.Tensor) -> Metric:
    return over_tasks(values)._replace(over="tables")
