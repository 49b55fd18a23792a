"""Normalisation layers in MAML: handwritten digits, 5 classes, 1 image of each, a convolutional network of four blocks.

Four networks start from the same weights and are trained alike; only their normalisation differs. The results have six
rows:

- BatchNorm, transductive: query images are normalised by the statistics of all query images, as in most publications.
- BatchNorm, running statistics: the same weights in eval mode. Means over tasks do not fit adapted weights.
- TaskNorm, MetaBatchNorm (Bronskill et al. 2020, arXiv 2003.03284): query images are normalised by statistics of the
  support images.
- GroupNorm: every image is normalised by its own statistics.
- nearest image: the label of the support image with the smallest pixel distance, without any learning.

All but the first are inductive: a prediction does not depend on the other query images. K is the number of support
images of each class.
The digits are scikit-learn's. Training, validation and test tasks have different images of the same ten digits, since
ten are too few for three splits of five. So the tasks are easy: a row shows how well MAML learns with its layer. The
last weights are measured and not the best ones, since BatchNorm is validated with running statistics.
"""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from matplotlib.figure import Figure

import quickstudy as qs
from quickstudy.evaluation.intervals import Metric, over_seeds, over_tasks
from quickstudy.experiments.options import Stepped
from quickstudy.experiments.stage import Stage
from quickstudy.recipes.digits.family import SIDE, Digits, pool
from quickstudy.report import figures
from quickstudy.report.runs import read_result

Norm = Literal["batch", "task", "meta", "group"]
WAYS, TEST_QUERY = 5, 15  # classes of a task, and query images of each class in the measurement
NORMS: dict[Norm, str] = {"batch": "BatchNorm", "task": "TaskNorm", "meta": "MetaBatchNorm", "group": "GroupNorm"}
ROWS = ("BatchNorm/transductive", "BatchNorm/running statistics", "TaskNorm", "MetaBatchNorm", "GroupNorm")


@dataclass(frozen=True, kw_only=True)
class Options(Stepped):
    """Options of the recipe. With the defaults, three seeds take a quarter of an hour on two cores."""

    steps: int = 800
    """Meta-training steps of each network."""
    tasks: int = 4
    """Tasks in a meta-batch."""
    shots: int = 1
    """Support images of each class, K."""
    query: int = 5
    """Query images of each class in training."""
    inner_lr: float = 0.1
    """Learning rate of the inner steps."""
    inner_steps: int = 3
    """Inner gradient steps in training."""
    lr: float = 1e-3
    """Initial learning rate of Adam; it falls along a cosine."""
    validation_tasks: int = 100
    """Validation tasks; the loss on them is computed 20 times during training."""
    filters: int = 32
    """Filters of each convolution."""
    which: Literal["best", "last"] = "last"
    """Weights to measure: the last, or the best on validation tasks (for BatchNorm with running statistics)."""


def check_packages(options: Options) -> None:
    """Raise ModuleNotFoundError without the package that has the digits."""
    pool("train")


def run(options: Options, stage: Stage) -> dict[str, Metric]:
    """Train all networks, measure them on the same unseen tasks, and draw the results."""
    stage.say("training, validation and test tasks have the same ten digits, and different images")
    family = Digits(ways=WAYS)
    learners: dict[Norm, Any] = {
        norm: qs.MAML(
            qs.nets.Conv4(1, WAYS, side=SIDE, filters=options.filters, norm=norm),
            lr=options.inner_lr,
            steps=options.inner_steps,
        )
        for norm in NORMS
    }
    for learner in learners.values():  # all start from the same weights
        learner.load_state_dict(learners["batch"].state_dict(), strict=False)

    metrics: dict[str, Metric] = {}
    with _without_warning():
        for norm, learner in learners.items():
            trained = stage.train(
                learner,
                family,
                part=f"{norm}_norm",
                steps=options.steps,
                tasks=options.tasks,
                support=WAYS * options.shots,
                query=WAYS * options.query,
                lr=options.lr,
                schedule="cosine",
                validation_tasks=options.validation_tasks,
                compile=False,
            )
            metrics |= _measure(NORMS[norm], trained, family, options)
    stage.draw("accuracy", lambda: accuracy_figure(metrics, options))
    found = {name: metrics[name] for row in ROWS for name in metrics if name.startswith(f"{row}/")}
    return found | {f"nearest image/accuracy/k={options.shots}": _nearest(family, options)}


def gather(options: Options, stage: Stage) -> None:
    """Draw the results of all seeds."""
    found: list[Any] = [read_result(stage.folder / f"seed-{seed}")["metrics"] for seed in options.seeds]
    stage.draw("accuracy", lambda: accuracy_figure(over_seeds(found), options))


def accuracy_figure(metrics: Mapping[str, Metric], options: Options) -> Figure:
    """Accuracy against gradient steps, one line for each row."""
    series = []
    for row in ROWS:
        found = {s: metrics[f"{row}/accuracy/k={options.shots}/steps={s}"] for s in _counts(options)}
        means, widths = [m.mean for m in found.values()], [m.ci95 for m in found.values()]
        series.append(figures.Series(row.replace("/", ", "), list(found), means, widths))
    return figures.lines(series, xlabel="gradient steps", ylabel="accuracy", whole=True, bounds=(0.0, 1.0))


def _measure(name: str, learner: Any, family: Digits, options: Options) -> dict[str, Metric]:
    """Accuracy and log-likelihood on unseen tasks; for BatchNorm with both kinds of statistics."""
    points = WAYS * options.shots
    protocol: dict[str, Any] = {"tasks": options.test_tasks, "support": points, "query": WAYS * TEST_QUERY}
    protocol |= {"steps": _counts(options), "seed": options.test_seed}
    found = qs.evaluate(learner, family, **protocol)
    if name == "BatchNorm":
        found = {f"running statistics/{key}": metric for key, metric in found.items()}
        found |= qs.evaluate(learner, family, transductive=True, **protocol)
    return {f"{name}/{key}".replace(f"/k={points}", f"/k={options.shots}"): metric for key, metric in found.items()}


def _nearest(family: Digits, options: Options) -> Metric:
    """Accuracy of predicting the label of the nearest support image."""
    chance = torch.Generator().manual_seed(options.test_seed)
    points = {"support": WAYS * options.shots, "query": WAYS * TEST_QUERY}
    support, query, _ = family.sample(options.test_tasks, **points, split="test", generator=chance)
    nearest = torch.cdist(query.x.flatten(2), support.x.flatten(2)).argmin(2)
    return over_tasks((support.y.gather(1, nearest) == query.y).double().mean(1))


def _counts(options: Options) -> list[int]:
    return options.counts((0, 1, 2 * options.inner_steps), options.inner_steps)


@contextmanager
def _without_warning() -> Iterator[None]:
    """Ignore the warning about running statistics, which one of the rows shows."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"MAML .*BatchNorm", RuntimeWarning)
        yield
