"""Which learner predicts an unknown cart best, by the number of transitions that it has seen of it?

Every learner is trained on the same transitions of simulated carts (`cartpole-np` plays with them). On unseen carts its
one-step error is measured after more and more transitions of each cart: the root of the mean squared error over the
components of the change of state, each in units of its root mean square. `worst_tenth` is the mean over the tenth of
the carts with the largest errors. Some of them are light and strong: their accelerations are many times the usual.

`fixed` is a network that never adapts; `tuned` is the same one, fine-tuned on the transitions of each cart with the
rule and the number of steps that suit 50 transitions of validation carts best.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

import quickstudy as qs
from quickstudy.evaluation.intervals import Metric, over_tasks
from quickstudy.experiments.options import Sampled
from quickstudy.experiments.processes import TITLES, Model, build
from quickstudy.experiments.stage import Stage
from quickstudy.recipes.cartpole import carts
from quickstudy.report import figures
from quickstudy.report.figures import Series

Other = Literal["alpaca", "deep-mean-gp", "maml", "tuned", "fixed"]
NAMES: dict[str, str] = dict(TITLES) | {
    "alpaca": "ALPaCA",
    "deep-mean-gp": "GP with a deep mean and kernel",
    "maml": "MAML",
    "tuned": "fine-tuned",
    "fixed": "never adapts",
}
GRIDS = ("conv-cnp", "conv-np")  # of up to three inputs, and these tasks have five
MOST_PAIRS = 4_000_000  # of support and query points at a time


@dataclass(frozen=True, kw_only=True)
class Options(Sampled):
    """Options of the recipe."""

    models: tuple[Model | Other, ...] = ("np", "cnp", "attentive-cnp", "tnp", "alpaca", "maml", "tuned", "fixed")
    """Learners to compare: neural processes but conv-cnp and conv-np, alpaca, deep-mean-gp, maml, tuned, fixed."""
    unknown: carts.Carts = "gains"
    """What varies: the masses; with gains also the pole's length, the force and its sign."""
    steps: int = 4_000
    """Meta-training steps of each learner."""
    tasks: int = 32
    """Carts in a meta-batch."""
    support: int = 50
    """Largest number of support transitions in training, where it is drawn from 0 to this for every batch."""
    query: int = 64
    """Query transitions of each cart in training."""
    lr: float = 2e-3
    """Initial learning rate of Adam; it falls along a cosine."""
    width: int = 64
    """Units of each layer of networks."""
    transitions: tuple[int, ...] = (0, 5, 50, 500, 2000)
    """Numbers of transitions seen of each unseen cart."""
    test_tasks: int = 60
    """Unseen carts."""
    test_query: int = 512
    """Transitions of each unseen cart that are predicted."""


def run(options: Options, stage: Stage) -> dict[str, Metric]:
    """Train, measure and draw."""
    _check(options)
    family = carts.family(options.unknown)
    learners: dict[str, Any] = {name: learner(name, family.dx, family.dy, options.width) for name in options.models}
    training: dict[str, Any] = {"steps": options.steps, "tasks": options.tasks, "query": options.query}
    training |= {"support": (0, options.support), "lr": options.lr, "schedule": "cosine", "clip": 1.0}
    for name, made in list(learners.items()):
        learners[name] = stage.train(made, family, part=name, **training).to("cpu")
    stage.describe()
    generator = torch.Generator().manual_seed(options.test_seed)
    sizes = {"support": max(*options.transitions, 1), "query": options.test_query}
    unseen = family.sample(options.test_tasks, **sizes, split="test", generator=generator)
    errors: dict[str, list[list[float]]] = {}
    if "tuned" in learners:
        learners["tuned"] = qs.tune_adaptation(learners["tuned"], family, support=50, query=64, tasks=32).learner
    for name, trained in learners.items():
        stage.say(f"measuring {NAMES[name]} on {options.test_tasks} unseen carts")
        errors[name] = [error(trained, unseen, count).tolist() for count in options.transitions]
    stage.keep("errors", {"seen": list(options.transitions), "errors": errors})
    metrics: dict[str, Metric] = {}
    for part, each in errors.items():
        for count, values in zip(options.transitions, each, strict=True):
            found = torch.tensor(values, dtype=torch.float64)
            metrics[f"{part}/rmse/k={count}"] = over_tasks(found)
            metrics[f"{part}/worst_tenth/k={count}"] = over_tasks(found.topk(max(1, len(found) // 10)).values)
    caption = (
        f"One-step error on {options.test_tasks} unseen carts, means and 95% intervals over carts. In training at most "
        f"{options.support} transitions of a cart were seen."
    )
    stage.draw("errors", lambda: _figure(metrics, options, "rmse"), caption)
    worst = f"The same for the {max(1, options.test_tasks // 10)} carts with the largest errors."
    stage.draw("worst", lambda: _figure(metrics, options, "worst_tenth"), worst)
    return metrics


def learner(name: str, dx: int, dy: int, width: int) -> nn.Module:
    """A learner of the changes of state; `width` is that of networks that have a choice of it."""

    def network(outputs: int) -> qs.nets.MLP:
        return qs.nets.MLP(dx, [width, width], outputs, activation="gelu")

    sizes: dict[str, Any] = {"width": width, "encoder_depth": 3, "decoder_depth": 3, "sigma_floor": 3e-3}
    others: dict[str, Callable[[], nn.Module]] = {
        "np": lambda: qs.NeuralProcess(dx, dy, latent=16, **sizes),
        "cnp": lambda: qs.CNP(dx, dy, **sizes),
        "alpaca": lambda: qs.ALPaCA(network(width), dy=dy, features=width, noise=0.03),
        "deep-mean-gp": lambda: qs.DeepMeanGP(
            dx, dy, network=network(dy), features=network(16), width=16, noise=0.03, rows=2000
        ),
        "maml": lambda: qs.MAML(network(dy), lr=0.03, steps=3),
        "tuned": lambda: qs.Pretrained(network(dy), lr=0.1, steps=1),
        "fixed": lambda: qs.Pretrained(network(dy), steps=0),
    }
    if name in others:
        return others[name]()
    process: Any = name
    return build(process, dx, dy, sigma_floor=1e-3 if name == "flow-np" else 3e-3)


@torch.no_grad()
def error(learner: Any, unseen: qs.Tasks, count: int) -> Tensor:
    """The root mean squared error `[T]` of the mean prediction for each cart after its first `count` transitions."""
    each = max(1, MOST_PAIRS // (max(count, 1) * (count + unseen.query.num_points)))
    found = []
    for part in torch.arange(unseen.support.num_tasks).split(each):
        support, query = (points.select(part) for points in (unseen.support, unseen.query))
        generator = torch.Generator().manual_seed(0)
        belief = learner.adapt(support.first(count), generator=generator)(query.x)
        found.append((belief.mean - query.y).square().mean((1, 2)).sqrt())
    return torch.cat(found)


def _check(options: Options) -> None:
    for name in options.models:
        if name in GRIDS:
            raise ValueError(f"--models {name}: it takes at most three inputs, and a transition has five; leave it out")
    if not options.models or len(set(options.models)) < len(options.models):
        raise ValueError(f"--models {' '.join(options.models)}: expected at least one, each once")
    if not options.transitions or min(options.transitions) < 0:
        raise ValueError(
            f"--transitions {' '.join(map(str, options.transitions))}: expected numbers of transitions, 0 or more"
        )


def _figure(metrics: dict[str, Metric], options: Options, metric: str) -> Figure:
    counts = [count for count in options.transitions if count]
    series = []
    for name in options.models:
        each = [metrics[f"{name}/{metric}/k={count}"] for count in counts]
        series.append(Series(NAMES[name], counts, [m.mean for m in each], [m.ci95 or 0.0 for m in each]))
    drawn = figures.lines(series, xlabel="transitions seen of each cart", ylabel="one-step error", log=True, whole=True)
    figures.log_scale(drawn.axes[0], "x")
    return drawn
