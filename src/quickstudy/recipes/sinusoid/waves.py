"""Code that the sinusoid recipes share: the families of waves, the measurement and the figures."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from matplotlib.figure import Figure
from torch import nn

import quickstudy as qs
from quickstudy.data import Tasks
from quickstudy.evaluation.evaluate import Metric
from quickstudy.evaluation.intervals import over_tasks
from quickstudy.experiments.options import Sampled
from quickstudy.learner import TaskFamily
from quickstudy.report import figures
from quickstudy.report.figures import Series
from quickstudy.report.palette import look
from quickstudy.report.panels import Curve, Panel
from quickstudy.report.tables import PARTS

Waves = Literal["maml", "meta-sgd"]
GRID = 100  # points over the domain on which errors are measured, as in the MAML paper's figures
CHOOSING = 200  # validation waves on which a number of gradient steps is chosen
STEPS = tuple(range(11))  # gradient steps after which learners are measured, besides those of training


def waves(name: Waves) -> TaskFamily:
    """The waves of the MAML paper, or those of the Meta-SGD paper, whose frequency varies, too."""
    return qs.tasks.Sinusoid() if name == "maml" else qs.tasks.Sinusoid.meta_sgd()


def measure(
    learner: nn.Module, family: TaskFamily, options: Sampled, shots: Sequence[int], steps: Sequence[int] | None = None
) -> dict[str, Metric]:
    """Error (and log-likelihood, if the learner has one) on unseen waves, on a grid over the whole domain."""
    return qs.evaluate(
        learner,
        family,
        tasks=options.test_tasks,
        support=tuple(shots),
        steps=steps,
        query=GRID,
        grid=True,
        seed=options.test_seed,
    )


def best_count(learner: Any, family: TaskFamily, shots: int) -> int:
    """The number of gradient steps with the smallest error on validation tasks; one of `STEPS`, or as in training."""
    counts = sorted({*STEPS, learner.steps})
    protocol: dict[str, Any] = {"query": GRID, "grid": True, "split": "validation"}
    found = qs.evaluate(learner, family, tasks=CHOOSING, support=shots, steps=counts, **protocol)
    errors = {count: found[f"mse/k={shots}/steps={count}"].mean for count in counts}
    return min(counts, key=lambda count: errors[count] if math.isfinite(errors[count]) else math.inf)


def ratio(above: Metric, below: Metric) -> Metric:
    """The ratio of two means over the same tasks, with its 95% interval (delta method on the paired values)."""
    assert above.values is not None and below.values is not None
    mean = above.mean / below.mean
    return over_tasks(mean + (above.values - mean * below.values) / below.mean)


def unseen(family: Any, shots: int = 10, tasks: int = 3, points: int = 200) -> Tasks:
    """A few unseen tasks for a figure, the same for every call; the query set is a grid on the function."""
    generator = torch.Generator().manual_seed(9)
    drawn = family.sample(tasks, support=max(10, shots), query=points, split="test", grid=True, generator=generator)
    return drawn._replace(support=drawn.support.first(shots))


def gradient_panels(learner: Any, tasks: Tasks, colour: str, last: int = 10) -> list[Panel]:
    """Panels with the predictions for each task before adapting, after 1 step and after `last` steps."""
    looks = {0: ("before", ":", 1.2), 1: ("after 1 step", "--", 1.2)}
    looks[last] = ("after 1 step" if last == 1 else f"after {last} steps", "-", 1.6)
    there = tasks.to(next(learner.parameters()).device)
    means = [learner.adapt(there.support, steps=steps)(there.query.x).mean.cpu() for steps in looks]
    panels = []
    for t in range(tasks.num_tasks):
        curves = [
            Curve(label, m[t, :, 0], style, width=w) for m, (label, style, w) in zip(means, looks.values(), strict=True)
        ]
        panels.append(_panel(tasks, t, curves=tuple(curves), colour=colour))
    return panels


def process_panels(process: Any, tasks: Tasks, colour: str, samples: int = 0) -> list[Panel]:
    """Panels with the mean and band for each task, and `samples` functions drawn from the predictive distribution."""
    there = tasks.to(next(process.parameters()).device)
    predictor = process.adapt(there.support, generator=torch.Generator().manual_seed(0))
    belief = predictor(there.query.x)
    mean, sd = belief.mean.cpu(), belief.variance.sqrt().cpu()
    drawn = predictor.functions(samples, torch.Generator().manual_seed(1))(there.query.x).cpu() if samples else None
    return [
        _panel(
            tasks,
            t,
            mean=mean[t, :, 0],
            sd=sd[t, :, 0],
            samples=None if drawn is None else drawn[:, t, :, 0],
            colour=colour,
        )
        for t in range(tasks.num_tasks)
    ]


def steps_figure(metrics: Mapping[str, Metric], learners: Mapping[str, str], shots: int) -> Figure:
    """Error against gradient steps. Learners without steps are horizontal lines; divergent curves are cut off.

    Args:
        metrics: the metrics of all learners.
        learners: the key of each learner, such as "maml", by the prefix of its metrics' names.
        shots: number of support points.
    """
    series = []
    curves = {prefix: by_steps(metrics, f"{prefix}mse/k={shots}") for prefix in learners}
    counts = sorted({count for curve in curves.values() for count in curve}) or list(STEPS)
    for prefix, learner in learners.items():
        flat = metrics.get(f"{prefix}mse/k={shots}")
        known = {counts[0]: flat, counts[-1]: flat} if flat else curves[prefix]
        means, widths = [m.mean for m in known.values()], [m.ci95 for m in known.values()]
        series.append(Series(PARTS[learner], list(known), means, widths, *look(learner)))
    title, top = f"{shots} points seen", 2 * max(item.mean[0] for item in series)
    return figures.lines(
        series,
        xlabel="gradient steps",
        ylabel="mean squared error",
        log=True,
        title=title,
        whole=True,
        top=top,
        bounds=(0.0, math.inf),
    )


def by_steps(metrics: Mapping[str, Metric], name: str) -> dict[int, Metric]:
    """The metrics called `name`, by the number of gradient steps, in increasing order."""
    start = f"{name}/steps="
    found = {int(key.removeprefix(start)): metric for key, metric in metrics.items() if key.startswith(start)}
    return dict(sorted(found.items()))


def steps_caption(shots: int) -> str:
    """The caption of `steps_figure`."""
    return (
        f"Error on unseen waves, {shots} points seen of each, against gradient steps, with 95% intervals over waves. "
        "Learners without gradient steps are horizontal lines; divergent curves are cut off."
    )


def middle(shots: Sequence[int]) -> int:
    """The middle one of the measured numbers of support points, which figures show."""
    return sorted(shots)[len(shots) // 2]


def _panel(tasks: Tasks, t: int, **what: object) -> Panel:
    seen = (tasks.support.x[t, :, 0], tasks.support.y[t, :, 0])
    return Panel(tasks.query.x[t, :, 0], truth=tasks.query.y[t, :, 0], seen=seen, **what)  # type: ignore[arg-type]
