"""Train the learners of the page that `quickstudy play` opens, on one of its families, and measure them.

Five learners see the same tasks: MAML, a network that is pretrained on all tasks and fine-tuned, ALPaCA, a Neural
Process and a Transformer Neural Process. On unseen tasks they are measured beside the exact posterior, by the
log-likelihood of query points and by how many of these are within the 90% interval, for several numbers of points seen.

`python -m quickstudy.recipes.page.ship RUN...` copies the learners into the package.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from quickstudy.chance import Stream, mix
from quickstudy.evaluation.intervals import Metric, over_tasks
from quickstudy.experiments.options import Sampled
from quickstudy.experiments.stage import Stage
from quickstudy.recipes.page.families import FAMILIES, PageFamily
from quickstudy.recipes.page.learners import LEARNERS
from quickstudy.report import panels
from quickstudy.report.palette import look
from quickstudy.report.panels import Panel
from quickstudy.report.tables import PARTS
from quickstudy.tasks.sampling import bounds

QUERY = 50
LEVEL = 0.9


@dataclass(frozen=True, kw_only=True)
class Options(Sampled):
    """Options of the recipe."""

    family: Literal["sine", "rbf", "sawtooth", "drug"] = "sine"
    """Family of functions."""
    steps: int = 6_000
    """Meta-training steps of MAML, the pretrained network and ALPaCA."""
    process_steps: int = 15_000
    """Meta-training steps of the Neural Process and of the Transformer Neural Process."""
    learners: tuple[str, ...] = tuple(LEARNERS)
    """Learners to train: maml, pretrained, alpaca, np, tnp."""
    shots: tuple[int, ...] = (0, 1, 2, 4, 8, 16)
    """Points seen of each unseen task; each number is measured."""
    test_tasks: int = 200
    """Unseen tasks to measure on."""


def run(options: Options, stage: Stage) -> dict[str, Metric]:
    """Train, measure and draw."""
    page = FAMILIES[options.family]
    noise = bounds(page.family.noise)[0]
    unknown = [name for name in options.learners if name not in LEARNERS]
    if unknown:
        raise ValueError(f"learners={unknown[0]!r}; choose among {', '.join(LEARNERS)}")
    learners = {name: LEARNERS[name].make(noise, page.rate) for name in options.learners}
    for name, learner in learners.items():
        steps = options.process_steps if name in ("np", "tnp") else options.steps
        learners[name] = stage.train(learner, page.family, part=name, steps=steps, **LEARNERS[name].training).to("cpu")
    stage.say(f"measuring on {options.test_tasks} unseen tasks")
    metrics: dict[str, Metric] = {}
    for shots in options.shots:
        for name in (*learners, "exact"):
            found = _measure(page, learners.get(name), shots, options)
            metrics |= {f"{name}/{score}/k={shots}": over_tasks(values) for score, values in found.items()}
    caption = "One unseen task, 5 points seen (dots), by every learner: mean and 90% interval. Grey: the truth."
    stage.draw("beliefs", lambda: _figure(page, learners, options), caption)
    return metrics


def _measure(page: PageFamily, learner: Any, shots: int, options: Options) -> dict[str, Tensor]:
    """Scores of each unseen task, `[T]`; the exact posterior's without a learner."""
    chance = torch.Generator().manual_seed(mix(options.test_seed, 0, Stream.EVALUATION))
    tasks = page.family.sample(options.test_tasks, support=shots, query=QUERY, split="test", generator=chance)
    rows = [task(tasks, t) for t in range(options.test_tasks)] if learner is None else [tasks]
    scores, inside = [], []
    for row in rows:
        predictor = page.posterior(row.support) if learner is None else learner.adapt(row.support, generator=chance)
        with torch.no_grad():
            belief = predictor(row.query.x)
        y = row.query.y.to(belief.mean)
        interval = belief.interval(LEVEL)
        scores.append(belief.log_prob(y).mean(1))
        inside.append(((y >= interval.lower) & (y <= interval.upper)).double().mean((1, 2)))
    return {"log_likelihood": torch.cat(scores), "coverage": torch.cat(inside)}


def task(tasks: Any, which: int) -> Any:
    """One of the tasks, as a batch of one."""
    support, query = (
        part._replace(x=part.x[which : which + 1], y=part.y[which : which + 1]) for part in (tasks.support, tasks.query)
    )
    return tasks._replace(support=support, query=query, info={k: v[which : which + 1] for k, v in tasks.info.items()})


def _figure(page: PageFamily, learners: dict[str, Any], options: Options) -> Any:
    chance = torch.Generator().manual_seed(options.test_seed)
    tasks = page.family.sample(1, support=5, query=200, split="test", grid=True, generator=chance)
    drawn = {}
    for name in (*learners, "exact"):
        learner = learners.get(name)
        predictor = page.posterior(tasks.support) if learner is None else learner.adapt(tasks.support, generator=chance)
        belief = predictor(tasks.query.x)
        drawn[PARTS[name]] = [
            Panel(
                tasks.query.x[0, :, 0],
                truth=tasks.query.y[0, :, 0],
                seen=(tasks.support.x[0, :, 0], tasks.support.y[0, :, 0]),
                mean=belief.mean[0, :, 0].detach(),
                sd=belief.variance[0, :, 0].sqrt().detach(),
                colour=look(name).colour,
            )
        ]
    return panels.side_by_side(drawn, width=2.2)
