"""Statistics of scores over runs and tasks, with confidence intervals (Agarwal et al. 2021, arXiv 2108.13264).

Scores are `[R, T]`, of `R` runs (seeds) on `T` tasks. Intervals are the 2.5% and 97.5% percentiles of a stratified
bootstrap: runs are drawn with replacement, separately for each task. With `over_tasks=True` tasks are drawn with
replacement, too: the interval then holds for the distribution of tasks rather than for these tasks.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from quickstudy.evaluation.bootstrap import Interval, checked, chunks, interval, places_of, resampled


class Profile(NamedTuple):
    """A performance profile: the share of scores above each of `K` thresholds, and its 95% interval, all `[K]`."""

    thresholds: Tensor
    share: Tensor
    low: Tensor
    high: Tensor


def mean(scores: Float[Tensor, "*b R T"]) -> Float[Tensor, "*b"]:
    """The mean over runs and tasks."""
    return scores.mean((-2, -1))


def median(scores: Float[Tensor, "*b R T"]) -> Float[Tensor, "*b"]:
    """The median over tasks of each task's mean over runs; for an even number the mean of the middle two."""
    return scores.mean(-2).quantile(0.5, -1)


def interquartile_mean(scores: Float[Tensor, "*b R T"]) -> Float[Tensor, "*b"]:
    """The mean of the middle half of all scores: a quarter of them, rounded down, is left out at each end.

    >>> interquartile_mean(torch.tensor([[0.0, 1.0], [2.0, 100.0]]))
    tensor(1.5000)
    """
    ordered = scores.flatten(-2).sort(-1).values
    cut = ordered.shape[-1] // 4
    return ordered[..., cut : ordered.shape[-1] - cut].mean(-1)


STATISTICS: dict[str, Callable[[Tensor], Tensor]] = {"iqm": interquartile_mean, "mean": mean, "median": median}


def aggregate(
    scores: Any,
    *,
    statistics: Sequence[str] = tuple(STATISTICS),
    resamples: int = 2000,
    over_tasks: bool = False,
    seed: int = 0,
) -> dict[str, Interval]:
    """Interquartile mean, mean and median, each with its 95% interval.

    Args:
        scores: `[R, T]`, a tensor, an array or lists. With a single run the intervals are NaN, unless `over_tasks`.
        statistics: the statistics to compute, of "iqm", "mean" and "median".
        resamples: the number of resamples of the bootstrap.
        over_tasks: draw tasks with replacement, too.
        seed: seed of the bootstrap; equal scores and seeds give equal intervals.

    Raises:
        ValueError: for scores that are not `[R, T]` or not finite, and for unknown statistics.

    >>> scores = torch.tensor([[1.0, 2.0], [3.0, 4.0], [2.0, 3.0]])
    >>> {name: round(found.value, 3) for name, found in aggregate(scores).items()}
    {'iqm': 2.5, 'mean': 2.5, 'median': 2.5}
    """
    scores = checked(scores)
    unknown = [name for name in statistics if name not in STATISTICS]
    if unknown:
        raise ValueError(f"unknown statistics {unknown}; choose from {', '.join(STATISTICS)}")
    drawn: dict[str, list[Tensor]] = {name: [] for name in statistics}
    for sample in resampled(scores, resamples, over_tasks, torch.Generator().manual_seed(seed)):
        for name in statistics:
            drawn[name].append(STATISTICS[name](sample))
    varies = len(scores) > 1 or over_tasks
    return {k: interval(STATISTICS[k](scores), torch.cat(drawn[k]), varies) for k in statistics}


def probability_of_improvement(
    x: Any, y: Any, *, resamples: int = 2000, over_tasks: bool = False, seed: int = 0
) -> Interval:
    """The probability that a run of X scores higher than one of Y on a random task (Agarwal et al. 2021, section 4.3):

        P(X > Y) = mean over tasks of  mean_{i, j} [x_i > y_j] + [x_i = y_j] / 2

    Args:
        x, y: scores `[R, T]` and `[R', T]` on the same tasks.
        resamples, over_tasks, seed: as in `aggregate`.

    Raises:
        ValueError: for scores of different numbers of tasks; see `aggregate`.

    >>> probability_of_improvement([[1.0], [2.0]], [[0.0], [2.0]]).value
    0.625
    """
    x, y = checked(x, "x"), checked(y, "y")
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"x has scores of {x.shape[1]} tasks and y of {y.shape[1]}; give both of the same tasks")
    # all pairs of runs are compared once; a resample draws from the comparisons
    wins = ((x[:, None] > y[None]).double() + (x[:, None] == y[None]).double() / 2).permute(2, 0, 1)  # [T, R, R']
    generator, found = torch.Generator().manual_seed(seed), []
    for count in chunks(resamples, wins.numel()):
        places = places_of(count, x.shape[1], over_tasks, generator)
        i, j = (torch.randint(len(s), (count, x.shape[1], len(s)), generator=generator) for s in (x, y))
        found.append(wins[places[..., None, None], i[..., :, None], j[..., None, :]].mean((1, 2, 3)))
    return interval(wins.mean(), torch.cat(found), max(len(x), len(y)) > 1 or over_tasks)


def performance_profile(
    scores: Any, thresholds: Any, *, resamples: int = 2000, over_tasks: bool = False, seed: int = 0
) -> Profile:
    """The run-score distribution: the share of scores, over all runs and tasks, *above* each threshold.

    Args:
        scores: `[R, T]`.
        thresholds: `[K]`.
        resamples, over_tasks, seed: as in `aggregate`; the interval is pointwise, for each threshold by itself.

    Raises:
        ValueError: see `aggregate`.

    >>> performance_profile([[1.0, 2.0], [3.0, 4.0]], [0.0, 2.0, 9.0]).share.tolist()
    [1.0, 0.5, 0.0]
    """
    scores, thresholds = checked(scores), torch.as_tensor(thresholds, dtype=torch.float64).flatten()
    above = [
        torch.stack([(sample > threshold).double().mean((-2, -1)) for threshold in thresholds], 1)
        for sample in resampled(scores, resamples, over_tasks, torch.Generator().manual_seed(seed))
    ]
    share = (scores[None] > thresholds[:, None, None]).double().mean((1, 2))
    low, high = torch.cat(above).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64), 0)
    if len(scores) == 1 and not over_tasks:  # all resamples would be equal
        low, high = (torch.full_like(share, torch.nan) for _ in range(2))
    return Profile(thresholds, share, low, high)


def by_adaptation_step(returns: Any, **options: Any) -> list[dict[str, Any]]:
    """Statistics of the returns at each adaptation step: rows `{"step": s, "iqm": Interval, "mean": ..., ...}`.

    Args:
        returns: `[S, R, T]`, or a sequence of `[R, T]`, one for each step; the first is before adaptation.
        options: options of `aggregate`.

    Raises:
        ValueError: for no steps; see also `aggregate`.

    >>> [(row["step"], row["mean"].value) for row in by_adaptation_step(torch.tensor([[[-40.0]], [[-3.0]]]))]
    [(0, -40.0), (1, -3.0)]
    """
    rows = [{"step": step, **aggregate(scores, **options)} for step, scores in enumerate(returns)]
    if not rows:
        raise ValueError("there are no returns; give scores [R, T] for every adaptation step")
    return rows
