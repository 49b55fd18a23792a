"""The 1-D regression protocol of Nguyen and Grover 2022 for the Gaussian-process recipes, and their figure.

x in [-2, 2], length scale in [0.1, 0.6], scale in [0.1, 1], noise 0.02. A batch has N support points, 3 to 46, and 3 to
49 - N query points. Training tasks have the RBF kernel; Matern 5/2 and periodic kernels occur only at test time.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import nn

import quickstudy as qs
from quickstudy.data import Tasks
from quickstudy.evaluation.intervals import Metric
from quickstudy.experiments import unseen
from quickstudy.experiments.options import Sampled
from quickstudy.experiments.stage import Stage
from quickstudy.experiments.unseen import Unseen, between
from quickstudy.report import figures, panels
from quickstudy.report.figures import Series
from quickstudy.report.palette import GREEN, INK
from quickstudy.report.panels import Panel
from quickstudy.tasks.kernels import Kernel

KERNELS: tuple[Kernel, ...] = ("rbf", "matern52", "periodic")
FIGURE_SUPPORT = 8  # support points of each task in the figure
SIZES: dict[str, Any] = {"support": (3, 46), "query": (3, 46), "points": 49}
LARGEST = 46  # number of support points in training
LARGER = ("mse", "log_likelihood", "joint_log_likelihood", "oracle_log_likelihood", "oracle_joint_log_likelihood")


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
    times: Sequence[int] = (),
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
        times: support sets beyond training, as multiples of the largest one in training.
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
    for size in (LARGEST * n for n in times):
        stage.say(f"measuring with {size} support points")
        metrics |= with_more_points(trained, train_on, size, options)
    if times:
        caption = f"More and more support points; training had at most {LARGEST}. Intervals over tasks."
        stage.draw("more-points", lambda: _more_points(metrics, train_on, times, title), caption)
    stage.draw(
        "beliefs",
        lambda: panels.side_by_side(three_tasks(trained, family, title, colour, samples)),
        f"Three unseen tasks, kernel {train_on}, {FIGURE_SUPPORT} points seen of each. Grey line: outcomes.",
    )
    return metrics


def measure(learner: Any, kernel: Kernel, options: Sampled) -> dict[str, Metric]:
    """Scores on unseen tasks by the protocol, of the learner and of the exact posterior, which knows the kernel."""
    found = unseen.measure(learner, _unseen(kernel, options.test_tasks, options))
    return {f"{name}/kernel={kernel}": metric for name, metric in found.items()}


def chain_rule(learner: Any, kernel: Kernel, options: Any, orders: int) -> dict[str, Metric]:
    """The joint log-likelihood per point by the chain rule, a mean over orders of each task's density."""
    tasks = _unseen(kernel, min(options.autoregressive_tasks, options.test_tasks), options)
    return {f"autoregressive_joint_log_likelihood/kernel={kernel}": unseen.chain_rule(learner, tasks, orders)}


def with_more_points(learner: nn.Module, kernel: Kernel, support: int, options: Any) -> dict[str, Metric]:
    """Scores with `support` points, for 49 query points of `larger_tasks` unseen tasks."""
    batch = 16 if support <= 10 * LARGEST else 2
    tasks = Unseen(qs.tasks.GaussianProcess(kernel), lambda _: (support, 49), options.larger_tasks, options.test_seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".* was trained on ", RuntimeWarning)  # which is the purpose here
        found = unseen.measure(learner, tasks._replace(batch=batch))
    return {f"{name}/kernel={kernel}/support={support}": found[name] for name in LARGER}


def _more_points(metrics: dict[str, Metric], kernel: Kernel, times: Sequence[int], title: str) -> Figure:
    """The log-likelihood with more and more support points, beside that of the exact posterior."""
    sizes = [LARGEST * n for n in times]
    series = []
    for label, name, colour in ((title, "log_likelihood", GREEN), ("exact posterior", "oracle_log_likelihood", INK)):
        found = [metrics[f"{name}/kernel={kernel}/support={size}"] for size in sizes]
        series.append(Series(label, sizes, [m.mean for m in found], [m.ci95 for m in found], colour))
    return figures.intervals(series, xlabel="support points", ylabel="log-likelihood, nats per point")


def _unseen(kernel: Kernel, count: int, options: Sampled) -> Unseen:
    """The first `count` unseen tasks."""
    return Unseen(qs.tasks.GaussianProcess(kernel), _sizes, count, options.test_seed)


def _sizes(chance: torch.Generator) -> tuple[int, int]:
    support = between(3, 46, chance)
    return support, between(3, 49 - support, chance)


def three_tasks(
    learner: Any, family: qs.tasks.GaussianProcess, title: str, colour: str, samples: int = 0
) -> dict[str, Sequence[Panel]]:
    """Panels with the learner's predictions and the exact posterior for the same three tasks.

    Args:
        learner: the learner.
        family: the family of the tasks.
        title: name of the learner in the figure.
        colour: colour of the learner in the figure.
        samples: number of functions to draw.
    """
    device = next(learner.parameters()).device
    generator = torch.Generator(device).manual_seed(3)
    tasks = family.sample(3, support=FIGURE_SUPPORT, query=200, split="test", grid=True, generator=generator)
    predictor = learner.adapt(tasks.support, generator=generator)
    x = tasks.query.x
    drawn, x_drawn = None, x
    if samples and learner.deterministic:  # joint draws, of no more points at once than in training
        x_drawn = x[:, ::5]
        drawn = predictor(x_drawn).sample(samples, generator)
    elif samples:
        drawn = predictor.functions(samples, generator)(x)
    columns: dict[str, list[Panel]] = {title: [], "Exact posterior": []}
    for column, belief, shown in (
        (title, predictor(x), drawn),
        ("Exact posterior", family.oracle(tasks)(x), None),
    ):
        for t in range(tasks.num_tasks):
            panel = _panel(tasks, t, belief, shown, colour if column == title else INK)
            columns[column].append(panel._replace(samples_x=x_drawn[t, :, 0]))
    return dict(columns)


def _panel(tasks: Tasks, t: int, belief: Any, drawn: torch.Tensor | None, colour: str) -> Panel:
    return Panel(
        tasks.query.x[t, :, 0],
        truth=tasks.query.y[t, :, 0],
        truth_label="outcomes",
        seen=(tasks.support.x[t, :, 0], tasks.support.y[t, :, 0]),
        mean=belief.mean[t, :, 0],
        sd=belief.variance[t, :, 0].sqrt(),
        samples=None if drawn is None else drawn[:, t, :, 0],
        colour=colour,
    )
