"""Means with 95% confidence intervals, over tasks and over seeds."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from quickstudy.evaluation.seeds import LEAST_SEEDS

# Student's t, 97.5% quantile, for 1, 2, ... degrees of freedom (any statistics table)
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)
_NORMAL = 1.96  # the normal's 97.5% quantile, as papers round it


class Metric(NamedTuple):
    """A mean with its 95% confidence interval.

    Args:
        mean: mean over `n` tasks or seeds.
        ci95: half the width of the 95% confidence interval of the mean; NaN for a single task and for fewer than three
            seeds.
        n: number of values.
        over: "tasks", "groups" (of a table) or "seeds".
        values: the values, `[n]` in float64, for paired comparisons.
        tasks: of a mean over seeds, the number of tasks of each seed, if it is known and the same for all.

    >>> metric = Metric(0.25, 0.0123, 600, "tasks")
    >>> str(metric), metric
    ('0.25 ± 0.0123', Metric(0.25 ± 0.0123, 600 tasks))
    """

    mean: float
    ci95: float
    n: int
    over: str
    values: Tensor | None = None
    tasks: int | None = None

    def __str__(self) -> str:
        return f"{self.mean:.3g} ± {self.ci95:.3g}"

    def __repr__(self) -> str:
        return f"Metric({self}, {self.n} {self.over})"

    def to_json(self) -> dict[str, Any]:
        """Return the metric as JSON, without the values, and with null for NaN and infinity."""
        number = {k: v if math.isfinite(v) else None for k, v in (("mean", self.mean), ("ci95", self.ci95))}
        return {**number, "n": self.n, "over": self.over} | ({} if self.tasks is None else {"tasks": self.tasks})


def over_tasks(values: Tensor) -> Metric:
    """Return the mean of one value per task, with the interval 1.96 s / sqrt(n), s the sample's standard deviation.

    >>> str(over_tasks(torch.tensor([1.0, 2.0, 3.0])))
    '2 ± 1.13'
    """
    values = values.detach().to("cpu", torch.float64).flatten()
    return Metric(values.mean().item(), _NORMAL * _standard_error(values), len(values), "tasks", values)


def root(metric: Metric) -> Metric:
    """The square root of a mean, with a confidence interval by the delta method."""
    size = metric.mean**0.5
    return metric._replace(mean=size, ci95=metric.ci95 / (2 * size) if size else 0.0, values=None)


def over_seeds(results: Sequence[Mapping[str, Any]]) -> dict[str, Metric]:
    """Return the mean over runs that differ only in their seeds, with Student's t interval from three seeds on.

    Two seeds have no interval (NaN): it would rest on a single difference.

    Args:
        results: one `{name: Metric or {"mean": ...} or number}` for each seed; the result has the names that all have.

    Raises:
        ValueError: if `results` is empty.

    >>> over_seeds([{"mse": 1.0}, {"mse": 2.0}, {"mse": 3.0}])["mse"]
    Metric(2 ± 2.48, 3 seeds)
    """
    if not results:
        raise ValueError("over_seeds() was given no results; give one mapping of metrics for each seed")
    combined = {}
    for name in results[0]:
        if all(name in result for result in results):
            values = torch.tensor([_mean(result[name]) for result in results], dtype=torch.float64)
            few = len(values) < LEAST_SEEDS
            interval = math.nan if few else _student(len(values) - 1) * _standard_error(values)
            tasks = _tasks([result[name] for result in results])
            combined[name] = Metric(values.mean().item(), interval, len(values), "seeds", values, tasks)
    return combined


def _tasks(values: Sequence[Any]) -> int | None:
    """Return the number of tasks of every seed, or None if it is not known, or not the same for all."""
    counts = {_count(value) for value in values}
    return counts.pop() if len(counts) == 1 else None


def _count(value: Any) -> int | None:
    found = value.to_json() if isinstance(value, Metric) else value
    return found.get("n") if isinstance(found, Mapping) and found.get("over") in ("tasks", "groups") else None


def _mean(value: Any) -> float:
    mean = value.mean if isinstance(value, Metric) else value["mean"] if isinstance(value, Mapping) else value
    return math.nan if mean is None else float(mean)


def _standard_error(values: Tensor) -> float:
    return math.nan if len(values) < 2 else values.std(correction=1).item() / math.sqrt(len(values))


def _student(freedom: int) -> float:
    """Return the 97.5% quantile from the table, or by its expansion in 1/freedom (Abramowitz and Stegun 26.7.5)."""
    if freedom < 1:
        return math.nan
    if freedom <= len(_T):
        return _T[freedom - 1]
    z = 1.959964
    first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3
