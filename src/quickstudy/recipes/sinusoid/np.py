"""A Neural Process (Garnelo et al. 2018) on the waves of `sinusoid-maml`, measured in the same way.

The Neural Process adapts without gradient steps: it encodes the support points and decodes functions.
"""

from dataclasses import dataclass
from typing import Literal

import quickstudy as qs
from quickstudy.evaluation.evaluate import Metric
from quickstudy.experiments.options import Sampled
from quickstudy.experiments.stage import Stage
from quickstudy.recipes.sinusoid import waves as sinusoids
from quickstudy.report import panels
from quickstudy.report.palette import look


@dataclass(frozen=True, kw_only=True)
class Options(Sampled):
    """Options of the recipe. The defaults were chosen by hand on validation tasks."""

    steps: int = 50_000
    """Meta-training steps."""
    tasks: int = 16
    """Tasks in a meta-batch."""
    shots: tuple[int, ...] = (5, 10, 20)
    """Support points of each unseen wave, K; several numbers are measured one after another."""
    support: tuple[int, int] = (3, 20)
    """Fewest and most support points in training; the number is drawn for every batch."""
    query: int = 20
    """Query points of each task in training."""
    lr: float = 1e-3
    """Initial learning rate of Adam; it falls along a cosine."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    width: int = 128
    """Units of every layer and of the representations."""
    paths: Literal["latent", "deterministic", "both"] = "both"
    """Paths from the support set to the decoder: a latent variable, a deterministic representation, or both."""
    objective: Literal["elbo", "iwae", "ml"] = "elbo"
    """Objective: evidence lower bound (elbo), importance-weighted bound (iwae) or Monte-Carlo likelihood (ml)."""
    sigma_floor: float = 1e-3
    """Smallest standard deviation that the decoder can predict."""
    waves: sinusoids.Waves = "maml"
    """Family of waves: amplitude and phase vary (maml), or also frequency, as in the Meta-SGD paper (meta-sgd)."""


def run(options: Options, stage: Stage) -> dict[str, Metric]:
    """Train, measure and draw."""
    family = sinusoids.waves(options.waves)
    learner = qs.NeuralProcess(
        width=options.width, paths=options.paths, objective=options.objective, sigma_floor=options.sigma_floor
    )

    process = stage.train(
        learner,
        family,
        steps=options.steps,
        tasks=options.tasks,
        support=options.support,
        query=options.query,
        lr=options.lr,
        schedule="cosine",
        clip=options.clip,
    )

    stage.say(f"measuring on {options.test_tasks} unseen waves")
    metrics = sinusoids.measure(process, family, options, options.shots)

    samples = 0 if options.paths == "deterministic" else 64
    shots = min(options.shots)
    drawn = sinusoids.process_panels(process, sinusoids.unseen(family, shots), look("np").colour, samples)
    caption = f"Three unseen waves, {shots} points seen of each (dots). Grey: the truth."
    stage.draw("beliefs", lambda: panels.in_a_row(drawn, title="Neural Process"), caption)
    return metrics
