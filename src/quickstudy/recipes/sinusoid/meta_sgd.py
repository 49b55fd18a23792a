"""Meta-SGD and MAML on sine waves of varying frequency: the regression experiment of Li et al. 2017.

y = A sin(w x - b), A in [0.1, 5], w in [0.8, 1.2], b in [0, pi], x in [-5, 5] (the paper has + b, which gives the
mirror images of these tasks); one inner step on 10 support points in training, and 10 query points; 60,000 steps. Both
learners start from the same weights and see the same batches. The error is measured on 100 points over the domain.

The paper draws 100 curves with K points of each, and repeats this 100 times. Here each of the 10,000 adaptations has a
curve of its own, so that the tasks are independent, as the confidence intervals assume.

A meta-batch has 25 tasks, as in the MAML paper's experiment. In the Meta-SGD paper it may have 4 (`--tasks 4`); this
has not been checked. The paper draws the initial values of the learned rates from a small interval; here they are
MAML's rate.
"""

import copy
from dataclasses import dataclass

from torch import nn

import quickstudy as qs
from quickstudy.evaluation.evaluate import Metric
from quickstudy.experiments.options import Stepped
from quickstudy.experiments.stage import Stage
from quickstudy.recipes.sinusoid import waves as sinusoids
from quickstudy.report import panels
from quickstudy.report.palette import look
from quickstudy.report.tables import PARTS

STEPS = (0, 1, 2, 5, 10)  # gradient steps after which learners are measured; both are trained for 1


@dataclass(frozen=True, kw_only=True)
class Options(Stepped):
    """Options of the recipe. The defaults are those of the paper."""

    steps: int = 60_000
    """Meta-training steps of each learner."""
    tasks: int = 25
    """Tasks in a meta-batch."""
    shots: tuple[int, ...] = (5, 10, 20)
    """Support points of each unseen wave, K; several numbers are measured one after another."""
    support: int = 10
    """Support points of each task in training; the query set has as many."""
    inner_lr: float = 0.01
    """Learning rate of MAML's inner step, alpha in the paper."""
    initial_lr: float = 0.01
    """Initial value of every one of Meta-SGD's learned rates."""
    lr: float = 1e-3
    """Learning rate of Adam in the outer loop."""
    width: int = 40
    """Units in each of the two hidden layers."""
    waves: sinusoids.Waves = "meta-sgd"
    """Family of waves: amplitude, phase and frequency vary (meta-sgd), or amplitude and phase alone (maml)."""
    test_tasks: int = 10_000
    """Unseen tasks to measure on; as many as in the paper, which repeats 100 curves 100 times."""


def run(options: Options, stage: Stage) -> dict[str, Metric]:
    """Train both learners, measure them on the same unseen waves, and draw the results."""
    family = sinusoids.waves(options.waves)
    network = qs.nets.MLP(1, [options.width, options.width], 1)
    learners: dict[str, nn.Module] = {
        "meta_sgd": qs.MetaSGD(copy.deepcopy(network), lr=options.initial_lr, steps=1),
        "maml": qs.MAML(network, lr=options.inner_lr, steps=1),
    }
    for name, learner in learners.items():
        learners[name] = stage.train(
            learner,
            family,
            part=name,
            steps=options.steps,
            tasks=options.tasks,
            support=options.support,
            query=options.support,
            lr=options.lr,
        )

    stage.say(f"measuring on {options.test_tasks} unseen waves")
    metrics: dict[str, Metric] = {}
    for name, learner in learners.items():
        found = sinusoids.measure(learner, family, options, options.shots, options.counts(STEPS, 1))
        metrics |= {f"{name}/{key}": metric for key, metric in found.items()}

    shots = sinusoids.middle(options.shots)
    tasks = sinusoids.unseen(family, shots)
    drawn = {PARTS[k]: sinusoids.gradient_panels(learners[k], tasks, look(k).colour, last=1) for k in learners}
    caption = f"The same unseen waves by both learners, before and after a gradient step on {shots} points (dots)."
    stage.draw("adaptation", lambda: panels.side_by_side(drawn), f"{caption} Grey: the truth.")
    shown = {f"{name}/": name for name in learners}
    stage.draw("steps", lambda: sinusoids.steps_figure(metrics, shown, shots), sinusoids.steps_caption(shots))
    return metrics
