"""MAML on sine waves: section 5.1 of Finn et al. 2017, with the settings of its code (but alpha 0.01, as its text).

y = A sin(x - b), A in [0.1, 5], b in [0, pi], x in [-5, 5]; one gradient step on 10 points in training. The
squared error on 100 points over the domain is measured on 600 unseen waves, after 0 to 10 steps on 5, 10 and 20 points.
"""

from dataclasses import dataclass
from typing import Literal

import quickstudy as qs
from quickstudy.evaluation.evaluate import Metric
from quickstudy.experiments.options import Stepped
from quickstudy.experiments.stage import Stage
from quickstudy.recipes.sinusoid import waves as sinusoids
from quickstudy.report import panels
from quickstudy.report.palette import look

COMPILE: dict[str, bool | Literal["auto"]] = {"auto": "auto", "on": True, "off": False}


@dataclass(frozen=True, kw_only=True)
class Options(Stepped):
    """Options of the recipe. The defaults are those of the paper."""

    steps: int = 70_000
    """Meta-training steps."""
    tasks: int = 25
    """Tasks in a meta-batch."""
    shots: tuple[int, ...] = (5, 10, 20)
    """Support points of each unseen wave, K; several numbers are measured one after another."""
    support: int = 10
    """Support points of each task in training; the query set has as many."""
    inner_lr: float = 0.01
    """Learning rate of the inner step, alpha in the paper."""
    inner_steps: int = 1
    """Inner gradient steps in training."""
    first_order: bool = False
    """Leave the second-order terms out of the meta-gradient (first-order MAML)."""
    lr: float = 1e-3
    """Learning rate of Adam in the outer loop."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Schedule of the outer learning rate; constant in the paper. With cosine, 10 steps diverge on some tasks."""
    width: int = 40
    """Units in each of the two hidden layers."""
    waves: sinusoids.Waves = "maml"
    """Family of waves: amplitude and phase vary (maml), or also frequency, as in the Meta-SGD paper (meta-sgd)."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Whether to compile the meta-gradient; auto decides from the shapes and the number of steps."""


def run(options: Options, stage: Stage) -> dict[str, Metric]:
    """Train, measure and draw."""
    family = sinusoids.waves(options.waves)
    network = qs.nets.MLP(1, [options.width, options.width], 1)
    learner = qs.MAML(network, lr=options.inner_lr, steps=options.inner_steps, first_order=options.first_order)

    maml = stage.train(
        learner,
        family,
        steps=options.steps,
        tasks=options.tasks,
        support=options.support,
        query=options.support,
        lr=options.lr,
        schedule=options.schedule,
        compile=COMPILE[options.compile],
    )

    stage.say(f"measuring on {options.test_tasks} unseen waves")
    counts = options.counts(sinusoids.STEPS, options.inner_steps)
    metrics = sinusoids.measure(maml, family, options, options.shots, counts)

    shots = sinusoids.middle(options.shots)
    drawn = sinusoids.gradient_panels(maml, sinusoids.unseen(family, shots), look("maml").colour, max(1, *counts))
    caption = f"Three unseen waves before and after gradient steps on {shots} points (dots). Grey: the truth."
    stage.draw("adaptation", lambda: panels.in_a_row(drawn, title="MAML"), caption)
    stage.draw("steps", lambda: sinusoids.steps_figure(metrics, {"": "maml"}, shots), sinusoids.steps_caption(shots))
    return metrics
