"""A Neural Process on draws of Gaussian processes, beside the exact posterior: see `gp_protocol` for the protocol.

With `--sigma-floor 0.1` its decoder is bounded as in the published figures, where even the exact posterior's moments
would score at most 0.98.
"""

from dataclasses import dataclass
from typing import Literal

import quickstudy as qs
from quickstudy.evaluation.evaluate import Metric
from quickstudy.experiments.options import Sampled
from quickstudy.experiments.stage import Stage
from quickstudy.recipes.gp import protocol as gp_protocol
from quickstudy.report import figures


@dataclass(frozen=True, kw_only=True)
class Options(Sampled):
    """Settings of the protocol by default."""

    steps: int = 100_000
    """Meta-training steps."""
    tasks: int = 16
    """Tasks in a meta-batch."""
    lr: float = 1e-3
    """Rate of Adam, at the start of its cosine."""
    width: int = 128
    """Units of every layer, and of the representations."""
    paths: Literal["latent", "deterministic", "both"] = "both"
    """What carries the points to the decoder: a latent, their mean, or both."""
    objective: Literal["elbo", "iwae", "ml"] = "elbo"
    """The evidence bound, its importance-weighted form, or the Monte-Carlo likelihood."""
    samples: int = 50
    """Latents drawn for a prediction."""
    sigma_floor: float = 1e-3
    """Least standard deviation that it may predict; 0.1 in the published figures."""
    test_tasks: int = 4800
    """Unseen tasks of each kernel to measure on."""


def run(options: Options, stage: Stage) -> dict[str, Metric]:
    """Train, measure, draw."""
    learner = qs.NeuralProcess(
        width=options.width,
        latent=options.width,
        paths=options.paths,
        objective=options.objective,
        samples=options.samples,
        sigma_floor=options.sigma_floor,
    )
    samples = 0 if options.paths == "deterministic" else 64
    return gp_protocol.run(learner, options, stage, title="Neural Process", colour=figures.GREEN, samples=samples)
