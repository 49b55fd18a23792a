"""Measuring processes on unseen tasks of changing sizes: scores, joint densities by the chain rule, and references."""

import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from quickstudy.data import Examples, Tasks
from quickstudy.evaluation.evaluate import scores_by_size
from quickstudy.evaluation.intervals import Metric, over_tasks
from quickstudy.evaluation.scores import calibration_error, oracle_scores, task_mean
from quickstudy.learner import TaskFamily
from quickstudy.predictive.outcomes import LOG_2PI
from quickstudy.processes.conditional import Conditional

Sizes = Callable[[torch.Generator], tuple[int, int]]
"""Draws the numbers of support and query points of a batch."""


class Unseen(NamedTuple):
    """Unseen tasks, drawn in batches whose sizes differ.

    Args:
        family: the family of the tasks.
        sizes: draws the sizes of each batch.
        number: number of tasks.
        seed: seed of sizes and tasks.
        batch: number of tasks in a batch.
    """

    family: TaskFamily
    sizes: Sizes
    number: int
    seed: int
    batch: int = 16

    def batches(self, device: torch.device) -> Iterator[tuple[Tasks, torch.Generator]]:
        """Batches of tasks on `device`, each with its generator of random numbers."""
        chance = torch.Generator().manual_seed(self.seed)
        for start in range(0, self.number, self.batch):
            support, query = self.sizes(chance)
            generator = torch.Generator(device).manual_seed(int(torch.randint(2**31, (), generator=chance)))
            tasks, sizes = min(self.batch, self.number - start), {"support": support, "query": query}
            yield self.family.sample(tasks, **sizes, split="test", generator=generator), generator


def between(low: int, high: int, chance: torch.Generator) -> int:
    """A whole number from `low` to `high`, ends included."""
    return int(torch.randint(low, high + 1, (), generator=chance))


def measure(
    learner: nn.Module, unseen: Unseen, references: Mapping[str, Callable[[Examples], Tensor]] | None = None
) -> dict[str, Metric]:
    """Scores of a learner, of the oracle if the family has one, and of references.

    Args:
        learner: the learner.
        unseen: the tasks.
        references: by the name of its metric, the value `[T]` of a model that knows no support set, at query points.
    """
    found: dict[str, list[Tensor]] = {}
    for tasks, generator in unseen.batches(place(learner)):
        scores = scores_by_size(learner, tasks, generator=generator) | oracle_scores(tasks.info, tasks.query)
        scores |= {name: score(tasks.query) for name, score in (references or {}).items()}
        for name, values in scores.items():
            found.setdefault(name, []).append(values.cpu())
    joined = {name: torch.cat(values) for name, values in found.items()}
    return {
        name: (calibration_error if name == "calibration_error" else over_tasks)(values)
        for name, values in joined.items()
    }


def has_chain_rule(learner: Any) -> bool:
    """Whether the chain rule adds anything: not to samples of a latent variable, nor to a belief about all points."""
    return isinstance(learner, Conditional) and not learner.head.joint


def chain_rule(learner: Any, unseen: Unseen, orders: int) -> Metric:
    """The joint log-likelihood per point by the chain rule, a mean over random orders of each task's density."""
    return over_tasks(torch.cat([density.cpu() for _, density in chained(learner, unseen, orders)]))


def chained(learner: Any, unseen: Unseen, orders: int) -> Iterator[tuple[Tasks, Tensor]]:
    """Batches of tasks, and their joint log densities by the chain rule, divided by the number of points, `[T]`."""
    for tasks, _ in unseen.batches(place(learner)):
        chance = torch.Generator().manual_seed(unseen.seed)
        joint = learner.adapt(tasks.support).autoregressive(samples=orders, generator=chance)(tasks.query.x)
        with growing():
            density = joint.log_prob(tasks.query.y, joint=True) / tasks.query.num_points
        yield tasks, density


@contextmanager
def growing() -> Iterator[None]:
    """Without the warning about large support sets: the chain rule adds query points to those of training."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "a task has .* support points", RuntimeWarning)
        yield


class Moments(NamedTuple):
    """A normal distribution for every point of every task: the model that learns nothing but the moments of y.

    Args:
        mean, variance: of each output, `[dy]`.
    """

    mean: Tensor
    variance: Tensor

    def log_likelihood(self, query: Examples) -> Tensor:
        """The mean log density of the query points of each task, `[T]`."""
        mean, variance = self.mean.to(query.y), self.variance.to(query.y)
        points = -0.5 * ((query.y - mean).square() / variance + variance.log() + LOG_2PI)
        return task_mean(points.sum(2), query.mask)


def moments(family: TaskFamily, *, tasks: int = 1000, points: int = 50) -> Moments:
    """The moments of the outputs of training tasks, from a seed of its own."""
    chance = torch.Generator().manual_seed(0)
    y = family.sample(tasks, support=0, query=points, generator=chance).query.y.flatten(0, 1)
    return Moments(y.mean(0), y.var(0))


def in_units(metrics: Mapping[str, Metric], scale: float, outputs: int) -> dict[str, Metric]:
    """Metrics of tasks whose outputs were divided by `scale`, in the units before.

    Log densities of all outputs of a point fall by outputs * log(scale); squared errors rise by scale^2.
    """
    found = {}
    for name, metric in metrics.items():
        kind, factor, shift = name.split("/")[-1], 1.0, 0.0
        if kind.endswith("log_likelihood"):
            shift = -outputs * math.log(scale)
        elif kind == "mse":
            factor = scale**2
        values = None if metric.values is None else metric.values * factor + shift
        found[name] = metric._replace(mean=metric.mean * factor + shift, ci95=metric.ci95 * factor, values=values)
    return found


def place(learner: nn.Module) -> torch.device:
    """The device of a learner."""
    return next(learner.parameters()).device
