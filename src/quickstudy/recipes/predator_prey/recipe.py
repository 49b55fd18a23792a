"""A neural process of your choice on predators and prey: simulated populations, and the record of hares and lynxes.

Training tasks are simulated (`qs.tasks.PredatorPrey`, the ranges of Bruinsma et al. 2023), half of them interpolation
and half forecasting. The process sees times in units of 25 years around the middle of the century, and numbers in
hundreds of thousands; log-likelihoods are those of both species at a time, in thousands, so that `-3` means a density
of e^-3 for a pair of numbers. Those per number are half of it. The publication has batches of 16 tasks, 204,800 of
them (`--steps 204800 --lr 1e-4`), 50 to 150 observed times of each species, and 100 to be predicted.

With `--record`, the process is also measured on the record of the Hudson's Bay Company, 91 years from 1845, which it
has never seen. The package astsa ships the record (`pip install "quickstudy[hares]"`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from quickstudy.data import Examples, Tasks
from quickstudy.evaluation.evaluate import scores_by_size
from quickstudy.evaluation.intervals import Metric, over_tasks
from quickstudy.experiments.options import Sampled
from quickstudy.experiments.processes import TITLES, HeadName, Model, build
from quickstudy.experiments.stage import Stage
from quickstudy.experiments.unseen import (
    Moments,
    Unseen,
    between,
    chain_rule,
    has_chain_rule,
    in_units,
    measure,
    moments,
    place,
)
from quickstudy.recipes.predator_prey import record
from quickstudy.report import panels
from quickstudy.report.palette import BLUE, ORANGE
from quickstudy.report.panels import Panel
from quickstudy.tasks import PredatorPrey, Rescaled

LEAST, MOST, QUERY = 50, 150, 100  # support points, and query points, of Bruinsma et al. 2023
MIDDLE, YEARS, THOUSANDS = 50.0, 25.0, 100.0  # the units of the process
KINDS = {"interpolation": 0.0, "forecasting": 1.0}
RECORD_TASKS, RECORD_SEEN = 100, 60  # of interpolation: choices of years, and years seen
RECORD_FIRST, RECORD_LAST = 30, 75  # of forecasting: numbers of years seen


@dataclass(frozen=True, kw_only=True)
class Options(Sampled):
    """Options of the recipe."""

    model: Model = "tnp"
    """Neural process to train."""
    head: HeadName = "gaussian"
    """Kind of belief at a point, or of all points together; see `qs.heads`."""
    steps: int = 20_000
    """Meta-training steps; 204,800 in the publication."""
    tasks: int = 16
    """Tasks in a meta-batch."""
    lr: float = 5e-4
    """Initial learning rate of Adam; it falls along a cosine."""
    sigma_floor: float = 1e-3
    """Smallest standard deviation that the model can predict, in hundreds of thousands."""
    test_tasks: int = 512
    """Unseen tasks of each kind to measure on."""
    orders: int = 4
    """Random orders of the points for the joint likelihood by the chain rule; 0 leaves it out."""
    autoregressive_tasks: int = 32
    """Number of the unseen tasks on which the chain rule is measured, as it takes one prediction for each point."""
    simulation_step: float = 0.1
    """Length of a step of the simulation in years; see `qs.tasks.PredatorPrey`."""
    record: bool = False
    """Whether to measure on the record of hares and lynxes too, which needs the package astsa."""


def check_packages(options: Options) -> None:
    """Raise ModuleNotFoundError without the package that has the record, if it is needed."""
    if options.record:
        record.hares_and_lynxes()


def run(options: Options, stage: Stage) -> dict[str, Metric]:
    """Train, measure and draw."""
    if options.record:
        record.hares_and_lynxes()  # before a long training
    learner = build(options.model, 1, 2, head=options.head, sigma_floor=options.sigma_floor)
    sizes: dict[str, Any] = {"support": (LEAST, MOST), "query": QUERY}
    training = family(0.5, options.simulation_step)
    trained = stage.train(learner, training, steps=options.steps, tasks=options.tasks, lr=options.lr, **sizes)
    normal = moments(training, tasks=256)
    metrics: dict[str, Metric] = {}
    for kind, share in KINDS.items():
        unseen = Unseen(family(share, options.simulation_step), _sizes, options.test_tasks, options.test_seed)
        stage.say(f"measuring on {options.test_tasks} unseen tasks of {kind}")
        found = measure(trained, unseen, {"normal/log_likelihood": normal.log_likelihood})
        if options.orders and has_chain_rule(trained):
            few = min(options.autoregressive_tasks, options.test_tasks)
            stage.say(f"joint likelihoods of {few} tasks by the chain rule")
            joint = chain_rule(trained, unseen._replace(number=few), options.orders)
            found["autoregressive_joint_log_likelihood"] = joint
        metrics |= {f"{kind}/{name}": metric for name, metric in found.items()}
    if options.record:
        metrics |= {f"record, {name}": metric for name, metric in _measure_record(trained, normal).items()}
    _draw(trained, options, stage)
    return in_units(metrics, THOUSANDS, 2)


def family(forecasting: float, step: float) -> Rescaled:
    """Simulated populations in the units of the process."""
    plain = PredatorPrey(forecasting=forecasting, step=step)
    return Rescaled(plain, x_center=MIDDLE, x_scale=YEARS, y_scale=THOUSANDS)


def _sizes(chance: torch.Generator) -> tuple[int, int]:
    return between(LEAST, MOST, chance), QUERY


def _scaled(points: Examples) -> Examples:
    return Examples((points.x - MIDDLE) / YEARS, points.y / THOUSANDS)


def _measure_record(learner: Any, normal: Moments) -> dict[str, Metric]:
    """Scores on the record. Its tasks are parts of one series, so that their intervals are too narrow."""
    sets = {
        "interpolation": [record.interpolation(RECORD_TASKS, RECORD_SEEN, seed=0)],
        "forecasting": record.forecasting(RECORD_FIRST, RECORD_LAST),
    }
    found: dict[str, Metric] = {}
    for kind, batches in sets.items():
        scores: dict[str, list[Tensor]] = {}
        for tasks in batches:
            scaled = Tasks(_scaled(tasks.support), _scaled(tasks.query), {}).to(place(learner))
            generator = torch.Generator(place(learner)).manual_seed(0)
            own = scores_by_size(learner, scaled, generator=generator)
            own |= {"normal/log_likelihood": normal.log_likelihood(scaled.query)}
            for name in ("mse", "log_likelihood", "normal/log_likelihood"):
                scores.setdefault(name, []).append(own[name].cpu())
        found |= {f"{kind}/{name}": over_tasks(torch.cat(values)) for name, values in scores.items()}
    return found


def _draw(learner: Any, options: Options, stage: Stage) -> None:
    """Interpolation and forecasting of simulated populations, and of the record."""
    rows = [(kind, *_simulated(learner, share, options)) for kind, share in KINDS.items()]
    if options.record:
        (known,) = record.forecasting(RECORD_FIRST + 25, RECORD_FIRST + 25)
        rows.append(("hares and lynxes", known.support, known.query))
    grid: dict[str, Sequence[Panel]] = {
        title: [_panel(learner, support, truth, output, colour) for _, support, truth in rows]
        for output, (title, colour) in enumerate((("prey", BLUE), ("predators", ORANGE)))
    }
    stage.draw(
        "populations",
        lambda: panels.side_by_side(grid, xlabel="year", ylabel="thousands", rows=[row[0] for row in rows], width=3.4),
        f"Predictions of a {TITLES[options.model]}. Grey line: the true populations. Forecasts see the years before a "
        "time only.",
    )


def _simulated(learner: Any, forecasting: float, options: Options) -> tuple[Examples, Examples]:
    """The support set and the true populations of one unseen task, in years and thousands."""
    generator = torch.Generator(place(learner)).manual_seed(1)
    plain = PredatorPrey(forecasting=forecasting, step=options.simulation_step)
    tasks = plain.sample(1, support=60, query=301, split="test", grid=True, generator=generator)
    return tasks.support, tasks.query


def _panel(learner: Any, support: Examples, truth: Examples, output: int, colour: str) -> Panel:
    support = support.to(place(learner))
    x = torch.linspace(0, 100, 301).view(1, -1, 1).to(support.x)
    belief = learner.adapt(_scaled(support))((x - MIDDLE) / YEARS)
    mean, sd = belief.mean[0, :, output] * THOUSANDS, belief.variance[0, :, output].sqrt() * THOUSANDS
    whole = len(truth.x[0]) == len(x[0])
    return Panel(
        x[0, :, 0],
        truth=truth.y[0, :, output] if whole else None,
        seen=(support.x[0, :, 0], support.y[0, :, output]),
        unseen=None if whole else (truth.x[0, :, 0], truth.y[0, :, output]),
        mean=mean,
        sd=sd,
        colour=colour,
    )
