"""The oracle of section 5.1 of Finn et al. 2017: the same network receives amplitude and phase, and does not adapt.

Its error is a practical lower bound for learners that see only points.
"""

from dataclasses import dataclass

import quickstudy as qs
from quickstudy.evaluation.evaluate import Metric
from quickstudy.experiments.options import Sampled
from quickstudy.experiments.stage import Stage
from quickstudy.recipes.sinusoid import waves as sinusoids
from quickstudy.report import panels
from quickstudy.report.palette import look
from quickstudy.report.panels import Curve


@dataclass(frozen=True, kw_only=True)
class Options(Sampled):
    """Options of the recipe. The defaults are those of the paper."""

    steps: int = 70_000
    """Training steps."""
    tasks: int = 25
    """Waves in a batch."""
    shots: tuple[int, ...] = (5, 10, 20)
    """Support points of each unseen wave, K; the oracle does not use them, so that its error does not depend on K."""
    query: int = 10
    """Points of each wave in a batch."""
    lr: float = 1e-3
    """Learning rate of Adam."""
    width: int = 40
    """Units in each of the two hidden layers."""


def run(options: Options, stage: Stage) -> dict[str, Metric]:
    """Train, measure and draw."""
    family = qs.tasks.Informed(qs.tasks.Sinusoid(), ("amplitude", "phase"))
    learner = qs.Pretrained(qs.nets.MLP(family.dx, [options.width, options.width], 1), steps=0)

    oracle = stage.train(
        learner, family, steps=options.steps, tasks=options.tasks, support=1, query=options.query, lr=options.lr
    )

    stage.say(f"measuring on {options.test_tasks} unseen waves")
    found = sinusoids.measure(oracle, family, options, options.shots, steps=(0,))
    metrics = {name.removesuffix("/steps=0"): metric for name, metric in found.items()}

    tasks = sinusoids.unseen(family)
    there = tasks.to(next(oracle.parameters()).device)
    mean = oracle.adapt(there.support)(there.query.x).mean.cpu()
    drawn = [
        panels.Panel(
            tasks.query.x[t, :, 0],
            truth=tasks.query.y[t, :, 0],
            curves=(Curve("told the task", mean[t, :, 0]),),
            colour=look("oracle").colour,
        )
        for t in range(tasks.num_tasks)
    ]
    caption = "Three unseen waves, by a network that receives amplitude and phase and sees no points. Pale: the truth."
    stage.draw("told", lambda: panels.in_a_row(drawn, title="Told the task"), caption)
    return metrics
