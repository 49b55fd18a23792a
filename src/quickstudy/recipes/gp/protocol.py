"""The 1-D regression protocol of Nguyen and Grover 2022 for the Gaussian-process recipes, and their figure.

x in [-2, 2], length scale in [0.1, 0.6], scale in [0.1, 1], noise 0.02. A batch has N support points, 3 to 46, and 3 to
49 - N query points. Training tasks have the RBF kernel; Matern 5/2 and periodic kernels occur only at test time.
"""

from collections.abc import Iterator, Sequence
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


def run(
    learner: nn.Module,
    options: Any,
    stage: Stage,
    *,
    title: str,
    colour: str,
    samples: int,
    train_on: Kernel = "rbf",
    orders: int = 0,
) -> dict[str, Metric]:
    """Train on tasks of one kernel, measure on all kernels, and draw.

    Args:
        learner: the process.
        options: options of the recipe.
        stage: the stage of the run.
        title: name of the process in the figure.
        colour: colour of the process in the figure.
        samples: number of functions to draw in the figure; of a process without a latent variable, of joint draws.
        train_on: the kernel of the training tasks.
        orders: number of random orders for the joint likelihood by the chain rule; 0 leaves it out.
    """
    family = qs.tasks.GaussianProcess(train_on)
    trained = stage.train(learner, family, steps=options.steps, tasks=options.tasks, lr=options.lr, **SIZES)
    metrics: dict[str, Metric] = {}
    for kernel in KERNELS:
        stage.say(f"measuring on {options.test_tasks} {kernel} tasks")
        metrics |= measure(trained, kernel, options)
        if orders:
            stage.say(f"joint likelihoods of {options.autoregressive_tasks} {kernel} tasks by the chain rule")
            metrics |= chain_rule(trained, kernel, options, orders)
    stage.draw(
        "beliefs",
        lambda: panels.side_by_side(_beliefs(trained, title, colour, samples, train_on)),
        f"Three unseen tasks, kernel {train_on}, {FIGURE_SUPPORT} points seen of each. Grey line: the true function.",
    )
    return metrics


def measure(learner: Any, kernel: Kernel, options: Sampled, batch: int = 16) -> dict[str, Metric]:
    """Scores on unseen tasks by the protocol, of the learner and of the exact posterior, which knows the kernel."""
    found: dict[str, list[torch.Tensor]] = {}
    for tasks, generator in _unseen(learner, kernel, options, options.test_tasks, batch):
        scores = scores_by_size(learner, tasks, generator=generator) | oracle_scores(tasks.info, tasks.query)
        for name, values in scores.items():
            found.setdefault(name, []).append(values.cpu())
    joined = {name: torch.cat(values) for name, values in found.items()}
    return {
        f"{name}/kernel={kernel}": (calibration_error if name == "calibration_error" else over_tasks)(values)
        for name, values in joined.items()
    }


def chain_rule(learner: Any, kernel: Kernel, options: Any, orders: int, batch: int = 16) -> dict[str, Metric]:
    """The joint log-likelihood per point by the chain rule, a mean over orders of each task's density."""
    found = []
    for tasks, _ in _unseen(learner, kernel, options, min(options.autoregressive_tasks, options.test_tasks), batch):
        chance = torch.Generator().manual_seed(options.test_seed)
        joint = learner.adapt(tasks.support).autoregressive(samples=orders, generator=chance)(tasks.query.x)
        found.append((joint.log_prob(tasks.query.y, joint=True) / tasks.query.num_points).cpu())
    return {f"autoregressive_joint_log_likelihood/kernel={kernel}": over_tasks(torch.cat(found))}


def _unseen(
    learner: nn.Module, kernel: Kernel, options: Sampled, count: int, batch: int
) -> Iterator[tuple[Tasks, torch.Generator]]:
    """The first `count` unseen tasks in batches, each with its generator of random numbers."""
    family = qs.tasks.GaussianProcess(kernel)
    device = next(learner.parameters()).device
    chance = torch.Generator().manual_seed(options.test_seed)
    for start in range(0, count, batch):
        support = int(torch.randint(3, 47, (), generator=chance))
        query = int(torch.randint(3, 50 - support, (), generator=chance))
        generator = torch.Generator(device).manual_seed(int(torch.randint(2**31, (), generator=chance)))
        tasks = min(batch, count - start)
        yield family.sample(tasks, support=support, query=query, split="test", generator=generator), generator


def _beliefs(learner: Any, title: str, colour: str, samples: int, kernel: Kernel) -> dict[str, Sequence[Panel]]:
    """Panels with the learner's predictions and the exact posterior for the same three tasks."""
    family = qs.tasks.GaussianProcess(kernel)
    device = next(learner.parameters()).device
    generator = torch.Generator(device).manual_seed(3)
    tasks = family.sample(3, support=FIGURE_SUPPORT, query=200, split="test", grid=True, generator=generator)
    predictor = learner.adapt(tasks.support, generator=generator)
    found, drawn = predictor(tasks.query.x), None
    if samples:
        functions = not learner.deterministic  # latent variables; others draw all points together
        drawn = (
            predictor.functions(samples, generator)(tasks.query.x) if functions else found.sample(samples, generator)
        )
    columns: dict[str, list[Panel]] = {title: [], "Exact posterior": []}
    for column, belief, shown in (
        (title, found, drawn),
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
