"""The 1-D regression protocol of Nguyen and Grover 2022 for the Gaussian-process recipes, and their figure.

x in [-2, 2], length scale in [0.1, 0.6], scale in [0.1, 1], noise 0.02. A batch has N support points, 3 to 46, and 3 to
49 - N query points. Training tasks have the RBF kernel; Matern 5/2 and periodic kernels occur only at test time.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

import quickstudy as qs
from quickstudy.data import Tasks
from quickstudy.evaluation.evaluate import scores_by_size
from quickstudy.evaluation.intervals import Metric, over_tasks
from quickstudy.evaluation.scores import calibration_error, oracle_scores
from quickstudy.experiments.options import Sampled
from quickstudy.experiments.stage import Stage
from quickstudy.report import panels
from quickstudy.report.palette import INK
from quickstudy.report.panels import Panel
from quickstudy.tasks.kernels import Kernel

KERNELS: tuple[Kernel, ...] = ("rbf", "matern52", "periodic")
FIGURE_SUPPORT = 8  # support points of each task in the figure
SIZES: dict[str, Any] = {"support": (3, 46), "query": (3, 46), "points": 49}


def run(learner: nn.Module, options: Any, stage: Stage, *, title: str, colour: str, samples: int) -> dict[str, Metric]:
    """Train on RBF tasks, measure on all kernels, and draw."""
    family = qs.tasks.GaussianProcess("rbf")
    trained = stage.train(learner, family, steps=options.steps, tasks=options.tasks, lr=options.lr, **SIZES)
    metrics: dict[str, Metric] = {}
    for kernel in KERNELS:
        stage.say(f"measuring on {options.test_tasks} {kernel} tasks")
        metrics |= measure(trained, kernel, options)
    stage.draw(
        "beliefs",
        lambda: panels.side_by_side(_beliefs(trained, title, colour, samples)),
        f"Three unseen tasks with the RBF kernel, {FIGURE_SUPPORT} points seen of each. Grey line: the true function.",
    )
    return metrics


def measure(learner: Any, kernel: Kernel, options: Sampled, batch: int = 16) -> dict[str, Metric]:
    """Scores on unseen tasks by the protocol, of the learner and of the exact posterior, which knows the kernel."""
    family = qs.tasks.GaussianProcess(kernel)
    device = next(learner.parameters()).device
    chance = torch.Generator().manual_seed(options.test_seed)
    found: dict[str, list[torch.Tensor]] = {}
    for start in range(0, options.test_tasks, batch):
        support = int(torch.randint(3, 47, (), generator=chance))
        query = int(torch.randint(3, 50 - support, (), generator=chance))
        generator = torch.Generator(device).manual_seed(int(torch.randint(2**31, (), generator=chance)))
        count = min(batch, options.test_tasks - start)
        tasks = family.sample(count, support=support, query=query, split="test", generator=generator)
        scores = scores_by_size(learner, tasks, generator=generator) | oracle_scores(tasks.info, tasks.query)
        for name, values in scores.items():
            found.setdefault(name, []).append(values.cpu())
    joined = {name: torch.cat(values) for name, values in found.items()}
    return {
        f"{name}/kernel={kernel}": (calibration_error if name == "calibration_error" else over_tasks)(values)
        for name, values in joined.items()
    }


def _beliefs(learner: Any, title: str, colour: str, samples: int) -> dict[str, Sequence[Panel]]:
    """Panels with the learner's predictions and the exact posterior for the same three tasks."""
    family = qs.tasks.GaussianProcess("rbf")
    device = next(learner.parameters()).device
    generator = torch.Generator(device).manual_seed(3)
    tasks = family.sample(3, support=FIGURE_SUPPORT, query=200, split="test", grid=True, generator=generator)
    predictor = learner.adapt(tasks.support, generator=generator)
    drawn = predictor.functions(samples, generator)(tasks.query.x) if samples else None
    columns: dict[str, list[Panel]] = {title: [], "Exact posterior": []}
    for column, belief, shown in (
        (title, predictor(tasks.query.x), drawn),
        ("Exact posterior", family.oracle(tasks)(tasks.query.x), None),
    ):
        for t in range(tasks.num_tasks):
            columns[column].append(_panel(tasks, t, belief, shown, colour if column == title else INK))
    return dict(columns)


def _panel(tasks: Tasks, t: int, belief: Any, drawn: torch.Tensor | None, colour: str) -> Panel:
    return Panel(
        tasks.query.x[t, :, 0],
        truth=tasks.query.y[t, :, 0],
        seen=(tasks.support.x[t, :, 0], tasks.support.y[t, :, 0]),
        mean=belief.mean[t, :, 0],
        sd=belief.variance[t, :, 0].sqrt(),
        samples=None if drawn is None else drawn[:, t, :, 0],
        colour=colour,
    )
