"""How far a learner's beliefs are from the exact posterior of a Gaussian process: their divergence per query point.

Kernels and sizes are those of Bruinsma et al. 2023: length scale 0.25, noise variance 0.05, x in [-2, 2], 0 to 30
support points, 50 query points; they train on 102,400 batches of 16 tasks (`--steps 102400`). Two references stand
beside `kl`: `diagonal`, the exact posterior with its correlations left out, is the best that a model can do that
predicts each point by itself; `prior` does not look at the support set. The joint density of a model that predicts each
point by itself is also measured by the chain rule (`autoregressive_kl`). Gradient-based learners have a Gaussian
likelihood, whose mean and standard deviation are outputs of the network.

Two more measurements go beyond training: all points in [2, 6] (`shifted/kl`), and support sets that are 1, 2, 5, 10 and
50 times the largest one in training (`--times`).
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from matplotlib.figure import Figure
from torch import nn

import quickstudy as qs
from quickstudy.evaluation.intervals import Metric
from quickstudy.experiments.options import Sampled
from quickstudy.experiments.processes import TITLES, HeadName, Model, build
from quickstudy.experiments.stage import Stage
from quickstudy.experiments.unseen import Unseen, has_chain_rule
from quickstudy.recipes.gp import divergence
from quickstudy.recipes.gp.divergence import MOST_SUPPORT, QUERY, SHIFTED, KLKernel
from quickstudy.recipes.gp.protocol import three_tasks
from quickstudy.report import figures, panels
from quickstudy.report.figures import Series
from quickstudy.report.palette import GREEN, INK

Other = Literal["maml", "meta-sgd", "anil", "cavia", "bayesian-maml", "alpaca"]


def _network(outputs: int = 2, inputs: int = 1) -> nn.Module:
    return qs.nets.MLP(inputs, [128, 128], outputs)


def _density() -> dict[str, Any]:
    return {"lr": 0.01, "steps": 5, "likelihood": qs.likelihoods.HeteroscedasticGaussian(1e-2)}


OTHERS: dict[Other, tuple[str, Callable[[], nn.Module]]] = {
    "maml": ("MAML", lambda: qs.MAML(_network(), **_density())),
    "meta-sgd": ("Meta-SGD", lambda: qs.MetaSGD(_network(), **_density())),
    "anil": ("ANIL", lambda: qs.ANIL(_network(), **_density())),
    "cavia": ("CAVIA", lambda: qs.CAVIA(_network(inputs=1 + 8), context=8, **_density())),
    "bayesian-maml": ("Bayesian MAML", lambda: qs.BayesianMAML(_network(), particles=5, **_density())),
    "alpaca": ("ALPaCA", lambda: qs.ALPaCA(_network(64), noise=0.2)),
}


@dataclass(frozen=True, kw_only=True)
class Options(Sampled):
    """Options of the recipe."""

    model: Model | Other = "conv-cnp"
    """Learner to train: a neural process, or a gradient-based or closed-form learner with a density."""
    head: HeadName = "gaussian"
    """Kind of belief of a neural process at a point, or of all points together; see `qs.heads`."""
    kernel: KLKernel = "rbf"
    """Kernel of training and unseen tasks."""
    support: int = MOST_SUPPORT
    """Largest support set in training, whose sizes are drawn from 0 to this number; 30 in the publication."""
    steps: int = 20_000
    """Meta-training steps; 102,400 in the publication."""
    tasks: int = 16
    """Tasks in a meta-batch."""
    lr: float = 3e-4
    """Initial learning rate of Adam; it falls along a cosine."""
    sigma_floor: float = 1e-3
    """Smallest standard deviation that a neural process can predict."""
    test_tasks: int = 1024
    """Unseen tasks to measure on; 4,096 in the publication."""
    orders: int = 8
    """Random orders of the points for the joint density by the chain rule; 0 leaves it out."""
    autoregressive_tasks: int = 128
    """Number of the unseen tasks on which the chain rule is measured, as it takes one prediction for each point."""
    times: tuple[int, ...] = (1, 2, 5, 10, 50)
    """Support sets beyond training, as multiples of the largest one in training (`--support`)."""
    larger_tasks: int = 64
    """Unseen tasks for each of these support sets."""


def run(options: Options, stage: Stage) -> dict[str, Metric]:
    """Train, measure and draw."""
    family = divergence.process_of(options.kernel)
    title, learner = _made(options)
    sizes: dict[str, Any] = {"support": (0, options.support), "query": QUERY}
    trained = stage.train(learner, family, steps=options.steps, tasks=options.tasks, lr=options.lr, **sizes)
    stage.say(f"measuring on {options.test_tasks} unseen tasks")
    unseen = Unseen(family, divergence.usual_sizes, options.test_tasks, options.test_seed)
    metrics = divergence.divergences(trained, unseen)
    if options.orders and has_chain_rule(trained):
        few = unseen._replace(number=min(options.autoregressive_tasks, options.test_tasks))
        stage.say(f"joint densities of {few.number} tasks by the chain rule")
        metrics["autoregressive_kl"] = divergence.by_the_chain_rule(trained, few, options.orders)
    metrics |= _beyond_training(trained, unseen, options, stage)
    if options.times:
        caption = f"More and more support points; training had at most {options.support}. Intervals over tasks."
        stage.draw("more-points", lambda: _more_points(metrics, options, title), caption)
    stage.draw(
        "beliefs",
        lambda: panels.side_by_side(three_tasks(trained, family, title, GREEN)),
        f"Three unseen tasks, kernel {options.kernel}, beside the exact posterior. Grey line: outcomes, with noise.",
    )
    return metrics


def _made(options: Options) -> tuple[str, nn.Module]:
    """The title and the learner."""
    for name, (title, make) in OTHERS.items():
        if options.model == name:
            if options.head != "gaussian":
                raise ValueError(f"--model {name} has a Gaussian likelihood; leave --head {options.head} out")
            return title, make()
    model: Any = options.model
    domain = divergence.INSIDE
    return TITLES[model], build(model, head=options.head, sigma_floor=options.sigma_floor, domain=domain)


def _beyond_training(learner: nn.Module, unseen: Unseen, options: Options, stage: Stage) -> dict[str, Metric]:
    """Divergences where training has no points, and with larger support sets."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".* was trained on ", RuntimeWarning)  # which is the purpose here
        stage.say(f"measuring on {options.test_tasks} unseen tasks in {list(SHIFTED)}")
        shifted = divergence.divergences(
            learner, unseen._replace(family=divergence.process_of(options.kernel, SHIFTED))
        )
        metrics = {"shifted/kl": shifted["kl"], "shifted/mse": shifted["mse"]}
        for times in options.times:
            size = times * options.support
            stage.say(f"measuring with {size} support points")
            metrics |= divergence.with_more_points(learner, unseen._replace(number=options.larger_tasks), size)
    return metrics


def _more_points(metrics: dict[str, Metric], options: Options, title: str) -> Figure:
    """The divergence with more and more support points."""
    sizes = [options.support * n for n in options.times]
    series = []
    for label, name, colour in ((title, "kl", GREEN), ("exact, each point by itself", "diagonal/kl", INK)):
        found = [metrics[f"{name}/support={size}"] for size in sizes]
        series.append(Series(label, sizes, [m.mean for m in found], [m.ci95 for m in found], colour))
    return figures.intervals(series, xlabel="support points", ylabel="divergence, nats per point")
