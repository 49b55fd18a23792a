"""Statistics over several seeds for recipes of reinforcement learning, as recommended by Agarwal et al. 2021.

(arXiv 2108.13264.) Each learner has scores `[S, R, T]`: after S amounts of experience, for R seeds, on T tasks.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from matplotlib.figure import Figure
from torch import Tensor

from quickstudy.evaluation.intervals import Metric
from quickstudy.experiments.options import Options
from quickstudy.experiments.stage import Stage
from quickstudy.report import figures
from quickstudy.report.tables import PARTS
from quickstudy.rl.evaluation import aggregate, by_adaptation_step, performance_profile, probability_of_improvement

THRESHOLDS = 60  # of a performance profile


def read(stage: Stage, name: str, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """The content of NAME.json, which `stage.keep` wrote, for each seed."""
    return [json.loads((stage.folder / f"seed-{seed}" / f"{name}.json").read_text(encoding="utf-8")) for seed in seeds]


def evaluate(
    scores: Mapping[str, Tensor],
    stage: Stage,
    *,
    by: Literal["steps", "episodes"],
    first: int,
    over_tasks: bool = False,
    reference: str | None = None,
) -> None:
    """Write `evaluation.json`, and draw performance profiles after the largest amount of experience.

    The file holds interquartile means and means with stratified bootstrap intervals, and the probability that the first
    learner beats each of the others. With a `reference` it also holds the mean `shortfall` of the others, with
    intervals of the same kind.

    Args:
        scores: the scores of each learner, by name; the first learner is the subject of the recipe.
        by: the unit of experience.
        first: the number of units after which the first scores were measured.
        over_tasks: whether the bootstrap resamples tasks, too; use it if the runs have different tasks.
        reference: a name in `scores`, of a learner that the others are compared with, task by task.
    """
    found: dict[str, Any] = {}
    for name, values in scores.items():
        rows = by_adaptation_step(values, statistics=("iqm", "mean"), over_tasks=over_tasks)
        found[name] = {
            f"{by}={row['step'] + first}": {key: row[key].to_json() for key in ("iqm", "mean")} for row in rows
        }
    (own, mine), *others = scores.items()
    beaten = {
        f"{own} over {name}": probability_of_improvement(mine[-1], s[-1], over_tasks=over_tasks).to_json()
        for name, s in others
    }
    lost: dict[str, Any] = {}
    if reference is not None and reference in scores:
        best = scores[reference]
        for name in [name for name in scores if name != reference]:
            pairs = [shortfall(mine, theirs) for mine, theirs in zip(scores[name], best, strict=False)]
            rows = by_adaptation_step(pairs, statistics=("mean",), over_tasks=over_tasks)
            lost[name] = {f"{by}={row['step'] + first}": row["mean"].to_json() for row in rows}
    more = {"shortfall": lost} if lost else {}
    stage.keep("evaluation", {"scores": found, "probability_of_improvement": beaten, **more})
    stage.draw("profiles", lambda: profiles({name: s[-1] for name, s in scores.items()}, over_tasks=over_tasks))


def gather(options: Options, stage: Stage) -> None:
    """Combine what the seeds kept as `returns`: interquartile means, probabilities of improvement, a figure."""
    kept = read(stage, "returns", options.seeds)
    scores = {
        name: torch.tensor([seed[name]["return"] for seed in kept], dtype=torch.float64).transpose(0, 1)
        for name in kept[0]
    }
    evaluate(scores, stage, by="steps", first=0)
    stage.draw("returns", lambda: experience(scores, "gradient steps"))


def steps_figure(metrics: Mapping[str, Metric]) -> Figure:
    """Return against gradient steps, one line for each learner."""
    series = []
    for name in dict.fromkeys(key.split("/")[0] for key in metrics):
        found = [metric for key, metric in metrics.items() if key.startswith(f"{name}/return/steps=")]
        means, ci = [m.mean for m in found], [m.ci95 for m in found]
        series.append(figures.Series(PARTS[name], list(range(len(found))), means, ci))
    longest = max(len(item.mean) for item in series) - 1
    series = [level(item, longest) for item in series]
    return figures.lines(series, xlabel="gradient steps", ylabel="return of an episode", whole=True)


def shortfall(scores: Tensor, reference: Tensor) -> Tensor:
    """What `scores` lack of those of a reference on the same tasks, as a share of the size of its mean score.

    >>> shortfall(torch.tensor([-120.0, -90.0]), torch.tensor([-100.0, -100.0]))
    tensor([ 0.2000, -0.1000])
    """
    return (reference - scores) / reference.mean().abs()


def profiles(scores: Mapping[str, Tensor], *, over_tasks: bool = False) -> Figure:
    """The share of seeds and tasks with a return above each threshold, with 95% bands; scores are `[R, T]`."""
    low, high = (f(torch.stack([f(s) for s in scores.values()])) for f in (torch.min, torch.max))
    room = 0.02 * float(high - low) + 1e-9
    thresholds = torch.linspace(float(low) - room, float(high) + room, THRESHOLDS)
    series = []
    for name, values in scores.items():
        profile = performance_profile(values, thresholds, over_tasks=over_tasks)
        half = (profile.high - profile.low) / 2
        series.append(figures.Series(PARTS[name], thresholds.tolist(), profile.share.tolist(), half.tolist()))
    return figures.lines(series, xlabel="return of an episode", ylabel="share of tasks with more", bounds=(0.0, 1.0))


def experience(scores: Mapping[str, Tensor], xlabel: str) -> Figure:
    """Mean score against experience (0, 1 ...), with 95% bands of a bootstrap over seeds and tasks."""
    series, longest = [], max(map(len, scores.values())) - 1
    for name, values in scores.items():
        means = [aggregate(s, statistics=("mean",), over_tasks=True)["mean"] for s in values]
        half = [(m.high - m.low) / 2 for m in means]
        found = figures.Series(PARTS[name], range(len(means)), [m.value for m in means], half)
        series.append(level(found, longest))
    return figures.lines(series, xlabel=xlabel, ylabel="return of an episode", whole=True)


def level(series: figures.Series, last: int) -> figures.Series:
    """A series with one value as a horizontal line up to `last`: a learner that does not adapt keeps its score."""
    if len(series.mean) != 1 or last == series.x[0]:
        return series
    ci95 = None if series.ci95 is None else 2 * list(series.ci95)
    return series._replace(x=[series.x[0], last], mean=2 * list(series.mean), ci95=ci95)
