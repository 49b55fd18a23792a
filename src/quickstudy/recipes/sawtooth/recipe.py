"""A neural process of your choice on sawtooth waves, which jump and of which publications have several versions.

Which one is in `--process`: see `qs.tasks.Sawtooth.named`. Likelihoods of different processes cannot be compared, and
without noise (`bruinsma2023`) a likelihood has no upper bound but that of the smallest standard deviation,
`--sigma-floor`. Training and unseen tasks have 0 to 30 support points and 100 query points in [-2, 2], as in Bruinsma
et al. 2023, who train on 102,400 batches of 16 tasks (`--steps 102400`).

The joint log-likelihood is also measured by the chain rule, over `--orders` random orders of the points of the first
`--autoregressive-tasks` tasks. A normal distribution with the moments of all outputs stands beside the process.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from quickstudy.data import Examples
from quickstudy.evaluation.intervals import Metric
from quickstudy.experiments.options import Sampled
from quickstudy.experiments.processes import TITLES, HeadName, Model, build
from quickstudy.experiments.stage import Stage
from quickstudy.experiments.unseen import Unseen, between, chain_rule, growing, has_chain_rule, measure, moments, place
from quickstudy.report import panels
from quickstudy.report.palette import GREEN, PURPLE
from quickstudy.report.panels import Curve, Panel
from quickstudy.tasks import Sawtooth
from quickstudy.tasks.sampling import bounds
from quickstudy.tasks.sawtooth import NAMED as NAMED
from quickstudy.tasks.sawtooth import Named

MOST_SUPPORT, QUERY = 30, 100  # of Bruinsma et al. 2023
FIGURE_SUPPORT = 7  # support points of each task in the figure, which shows the middle half of the domain
FIGURE_PLACES = 20  # places at which each of them is drawn
FIGURE_DRAWS = 2  # functions drawn for each task in the figure


@dataclass(frozen=True, kw_only=True)
class Options(Sampled):
    """Options of the recipe."""

    process: Named = "bruinsma2023"
    """Publication whose sawtooth it is."""
    model: Model = "conv-cnp"
    """Neural process to train."""
    head: HeadName = "gaussian"
    """Kind of belief at a point, or of all points together; see `qs.heads`."""
    steps: int = 20_000
    """Meta-training steps; 102,400 in the publication."""
    tasks: int = 16
    """Tasks in a meta-batch."""
    lr: float = 3e-4
    """Initial learning rate of Adam; it falls along a cosine."""
    sigma_floor: float = 1e-3
    """Smallest standard deviation that the model can predict."""
    test_tasks: int = 1024
    """Unseen tasks to measure on; 4,096 in the publication."""
    orders: int = 8
    """Random orders of the points for the joint likelihood by the chain rule; 0 leaves it out."""
    autoregressive_tasks: int = 64
    """Number of the unseen tasks on which the chain rule is measured, as it takes one prediction for each point."""


def run(options: Options, stage: Stage) -> dict[str, Metric]:
    """Train, measure and draw."""
    family = Sawtooth.named(options.process)
    stage.say(f"sawtooth waves: {described(family, options.process)}")
    learner = build(options.model, head=options.head, sigma_floor=options.sigma_floor, domain=family.domain)
    sizes: dict[str, Any] = {"support": (0, MOST_SUPPORT), "query": QUERY}
    trained = stage.train(learner, family, steps=options.steps, tasks=options.tasks, lr=options.lr, **sizes)
    stage.say(f"measuring on {options.test_tasks} unseen tasks")
    unseen = Unseen(family, _sizes, options.test_tasks, options.test_seed)
    metrics = measure(trained, unseen, {"normal/log_likelihood": moments(family).log_likelihood})
    if options.orders and has_chain_rule(trained):
        few = min(options.autoregressive_tasks, options.test_tasks)
        stage.say(f"joint likelihoods of {few} tasks by the chain rule")
        found = chain_rule(trained, unseen._replace(number=few), options.orders)
        metrics["autoregressive_joint_log_likelihood"] = found
    stage.draw(
        "beliefs",
        lambda: panels.side_by_side(_beliefs(trained, family, TITLES[options.model]), width=2.6),
        f"Three unseen sawtooth waves ({described(family, options.process)}), {FIGURE_SUPPORT} points seen of each. "
        "Grey line: the true function.",
    )
    return metrics


def described(family: Sawtooth, name: str) -> str:
    """The process in words, since its name alone does not say what likelihoods mean."""
    low, high = bounds(family.frequency)
    least, most = bounds(family.noise)
    noise = f"noise {least:g}" if least == most else f"noise {least:g} to {most:g}"
    return f"{name}: frequency {low:g} to {high:g}, {noise if most else 'no noise'}"


def _sizes(chance: torch.Generator) -> tuple[int, int]:
    return between(0, MOST_SUPPORT, chance), QUERY


def _beliefs(learner: Any, family: Sawtooth, title: str) -> dict[str, Sequence[Panel]]:
    """Panels with the belief about each point, and with functions drawn from the process, for the same tasks."""
    generator = torch.Generator(place(learner)).manual_seed(3)
    middle = (family.domain[0] / 2, family.domain[1] / 2)
    clean = Sawtooth(frequency=family.frequency, domain=middle)
    tasks = clean.sample(3, support=FIGURE_SUPPORT, query=200, split="test", grid=True, generator=generator)
    y = tasks.support.y
    noise = bounds(family.noise)[1] * torch.randn(y.shape, generator=generator, device=y.device, dtype=y.dtype)
    tasks = tasks._replace(support=tasks.support._replace(y=y + noise))
    predictor = learner.adapt(tasks.support, generator=generator)
    belief, drawn = predictor(tasks.query.x), _drawn(learner, predictor, tasks.query.x, generator)
    columns: dict[str, list[Panel]] = {title: [], "functions drawn": []}
    for t in range(tasks.num_tasks):
        x, truth = tasks.query.x[t, :, 0], tasks.query.y[t, :, 0]
        seen = (tasks.support.x[t, :, 0], tasks.support.y[t, :, 0])
        mean, sd = belief.mean[t, :, 0], belief.variance[t, :, 0].sqrt()
        columns[title].append(Panel(x, truth=truth, seen=seen, mean=mean, sd=sd, colour=GREEN))
        styles = zip(drawn[:, t, :, 0], ("a function drawn", "another"), ("-", "--"), strict=True)
        curves = tuple(Curve(label, y, style, width=0.9) for y, label, style in styles)
        columns["functions drawn"].append(Panel(x, truth=truth, seen=seen, curves=curves, colour=PURPLE))
    return dict(columns)


def _drawn(learner: Any, predictor: Any, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Functions of each task, `[S, T, M, 1]`, without noise.

    By the chain rule, values are drawn at a few places in random order, so that the support set stays as small as in
    training; the function is the mean given these values (Bruinsma et al. 2023, section 2).
    """
    if not has_chain_rule(learner):
        drawn: torch.Tensor = predictor(x).sample(FIGURE_DRAWS, generator, noise=False)
        return drawn
    few = x[:, torch.randperm(x.shape[1], generator=generator, device=x.device)[:FIGURE_PLACES]]
    with growing():
        values = predictor.autoregressive(order="given", samples=1)(few).sample(FIGURE_DRAWS, generator)
        return torch.stack([predictor.append(Examples(few, y))(x).mean for y in values])
