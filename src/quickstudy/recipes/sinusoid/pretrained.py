"""The baseline of section 5.1 of Finn et al. 2017: one network trained on the points of all waves, then fine-tuned.

The network, the batches and the measurements are those of `sinusoid-maml`; only the training differs.
"""

from dataclasses import dataclass

import quickstudy as qs
from quickstudy.evaluation.evaluate import Metric
from quickstudy.experiments.options import Stepped
from quickstudy.experiments.stage import Stage
from quickstudy.recipes.sinusoid import waves as sinusoids
from quickstudy.report import panels
from quickstudy.report.palette import look


@dataclass(frozen=True, kw_only=True)
class Options(Stepped):
    """Options of the recipe. The defaults are those of the paper."""

    steps: int = 70_000
    """Training steps."""
    tasks: int = 25
    """Waves in a batch."""
    shots: tuple[int, ...] = (5, 10, 20)
    """Support points of each unseen wave, K; several numbers are measured one after another."""
    query: int = 10
    """Points of each wave in a batch."""
    inner_lr: float = 0.01
    """Learning rate of the gradient steps on each unseen wave."""
    lr: float = 1e-3
    """Learning rate of Adam in training."""
    width: int = 40
    """Units in each of the two hidden layers."""
    waves: sinusoids.Waves = "maml"
    """Family of waves: amplitude and phase vary (maml), or also frequency, as in the Meta-SGD paper (meta-sgd)."""


def run(options: Options, stage: Stage) -> dict[str, Metric]:
    """Train, measure and draw."""
    family = sinusoids.waves(options.waves)
    learner = qs.Pretrained(qs.nets.MLP(1, [options.width, options.width], 1), lr=options.inner_lr, steps=10)

    pretrained = stage.train(
        learner, family, steps=options.steps, tasks=options.tasks, support=1, query=options.query, lr=options.lr
    )

    stage.say(f"measuring on {options.test_tasks} unseen waves")
    counts = options.counts(sinusoids.STEPS, learner.steps)
    metrics = sinusoids.measure(pretrained, family, options, options.shots, counts)

    shots = sinusoids.middle(options.shots)
    drawn = sinusoids.gradient_panels(pretrained, sinusoids.unseen(family, shots), look("pretrained").colour)
    caption = f"Three unseen waves before and after gradient steps on {shots} points (dots). Grey: the truth."
    stage.draw("adaptation", lambda: panels.in_a_row(drawn, title="Pretrained"), caption)
    steps_caption = sinusoids.steps_caption(shots)
    stage.draw("steps", lambda: sinusoids.steps_figure(metrics, {"": "pretrained"}, shots), steps_caption)
    return metrics
