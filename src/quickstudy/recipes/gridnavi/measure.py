"""What the recipes on GridNavi measure and draw: returns by episode of a trial, beside exact policies."""

from collections.abc import Mapping
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

import quickstudy as qs
from quickstudy.evaluation.intervals import Metric, over_tasks
from quickstudy.report import figures
from quickstudy.report.figures import Series
from quickstudy.rl.envs.references import gridnavi
from quickstudy.rl.episodes import Episodes

EXACT = {"optimal": "Bayes-optimal", "told": "told the goal"}


def every_goal(cells: int, trials: int) -> qs.rl.GridNavi:
    """The grid with each of its goals as a task, and `trials` walkers for each."""
    walks = qs.rl.GridNavi(cells=cells, num_envs=trials)
    walks.set_tasks({"goal": walks.goals})
    return walks


def trial(
    learner: Any, walks: qs.rl.GridNavi, episodes: int, chance: torch.Generator, *, greedy: bool
) -> list[Episodes]:
    """The episodes of a trial of every walker, `greedy` with the most probable actions."""
    actor, played = learner.actor(), []
    for _ in range(episodes):
        played.append(actor.rollout(walks, generator=chance, greedy=greedy))
        actor = actor.adapt(played[-1])
    return played


def returns(played: list[Episodes]) -> Tensor:
    """Returns by walker and episode, `[trials, episodes]`, means over goals."""
    return torch.stack([episodes.returns() for episodes in played], 2).mean(0)


def exact(walks: qs.rl.GridNavi, episodes: int) -> dict[str, Tensor]:
    """The returns of exact policies, as `returns` has them."""
    tour = gridnavi.Tour.optimal(walks)
    informed = gridnavi.play(tour, walks, episodes, gridnavi.told(walks))
    return {"optimal": gridnavi.play(tour, walks, episodes).mean(0), "told": informed.mean(0)}


def return_metrics(found: Mapping[str, Tensor]) -> dict[str, Metric]:
    """Metrics of each policy's returns `[trials, episodes]`: of every episode, and of all together."""
    metrics: dict[str, Metric] = {}
    for name, own in found.items():
        metrics |= {f"{name}/return/episode={k + 1}": over_trials(own[:, k]) for k in range(own.shape[1])}
        metrics[f"{name}/total"] = over_trials(own.sum(1))
    return metrics


def over_trials(values: Tensor) -> Metric:
    """The mean of values `[trials]`, each a mean over all goals."""
    return over_tasks(values.double())._replace(over="trials of all goals")


def returns_figure(metrics: Mapping[str, Metric], labels: Mapping[str, str], episodes: int) -> Figure:
    """Return by episode of a trial, for each policy in `labels`."""
    series, numbers = [], list(range(1, episodes + 1))
    for name, label in labels.items():
        each = [metrics[f"{name}/return/episode={k}"] for k in numbers]
        series.append(Series(label, numbers, [m.mean for m in each], [m.ci95 or 0.0 for m in each]))
    return figures.lines(series, xlabel="episode", ylabel="return of an episode", whole=True)
