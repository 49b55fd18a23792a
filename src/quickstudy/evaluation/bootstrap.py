"""The stratified bootstrap: runs are drawn with replacement within each task, and on request tasks too."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from quickstudy.checks import check_whole

_AT_ONCE = 2**22  # resampled scores in memory


class Interval(NamedTuple):
    """An estimate with its 95% bootstrap interval.

    >>> str(Interval(0.25, 0.2, 0.31))
    '0.25 [0.2, 0.31]'
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3g} [{self.low:.3g}, {self.high:.3g}]"

    def to_json(self) -> dict[str, float | None]:
        """Return the interval as JSON, with null for NaN and infinity."""
        return {k: v if math.isfinite(v) else None for k, v in self._asdict().items()}


def checked(scores: Any, name: str = "scores") -> Tensor:
    """Return scores `[R, T]` in float64. Raises ValueError if they have another shape or are not finite."""
    scores = torch.as_tensor(scores).detach().to("cpu", torch.float64)
    if scores.dim() != 2 or not scores.numel():
        raise ValueError(
            f"{name} has shape {list(scores.shape)}; expected [R, T], one row for each run and one column for each "
            "task, at least one of each: for a single run, pass scores[None]"
        )
    if not bool(scores.isfinite().all()):
        run, task = (~scores.isfinite()).nonzero()[0].tolist()
        raise ValueError(
            f"{name} is {scores[run, task]:g} in run {run}, task {task}; leave out failed runs, and report how many"
        )
    return scores


def chunks(resamples: int, size: int) -> Iterator[int]:
    """Yield numbers of resamples that fit into memory together, `resamples` in all.

    Args:
        resamples: total number of resamples.
        size: number of scores in one resample.
    """
    check_whole("resamples", resamples)
    most = max(1, _AT_ONCE // size)
    for first in range(0, resamples, most):
        yield min(most, resamples - first)


def places_of(count: int, tasks: int, over_tasks: bool, generator: torch.Generator) -> Tensor:
    """Return the tasks of each resample, `[B, T]`."""
    if over_tasks:
        return torch.randint(tasks, (count, tasks), generator=generator)
    return torch.arange(tasks).expand(count, tasks)


def resampled(scores: Tensor, resamples: int, over_tasks: bool, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield resampled scores `[B, R, T]`, in chunks. Runs are drawn independently for each place of a task."""
    runs, tasks = scores.shape
    for count in chunks(resamples, scores.numel()):
        places = places_of(count, tasks, over_tasks, generator)[:, None]
        yield scores[torch.randint(runs, (count, runs, tasks), generator=generator), places]


def interval(value: Tensor, drawn: Tensor, varies: bool) -> Interval:
    """Return the value with the 2.5% and 97.5% quantiles of the resampled values, which are NaN unless it `varies`."""
    ends = drawn.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    low, high = ends if varies else (math.nan, math.nan)
    return Interval(float(value), low, high)
