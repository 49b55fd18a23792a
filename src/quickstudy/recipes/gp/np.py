"""A Neural Process on samples of Gaussian processes, compared with the exact posterior, by `gp/protocol.py`.

With `--sigma-floor 0.1` the decoder has the bound of the published runs. Under this bound, a decoder with the exact
posterior's moments would have a log-likelihood of at most 0.98.
"""

from dataclasses import dataclass
from typing import Literal

import quickstudy as qs
from quickstudy.evaluation.evaluate import Metric
from quickstudy.experiments.options import Sampled
from quickstudy.experiments.stage import Stage
from quickstudy.recipes.gp import protocol as gp_protocol
from quickstudy.report.palette import GREEN


@dataclass(frozen=True, kw_only=True)
class Options(Sampled):
    """Options of the recipe. The defaults are those of the protocol."""

    steps: int = 100_000
    """Meta-training steps."""
    tasks: int = 16
    """Tasks in a meta-batch."""
    lr: float = 1e-3
    """Initial learning rate of Adam; it falls along a cosine."""
    width: int = 128
    """Units of every layer and of the representations."""
    paths: Literal["latent", "deterministic", "both"] = "both"
    """Paths from the support set to the decoder: a latent variable, a deterministic representation, or both."""
    objective: Literal["elbo", "iwae", "ml"] = "elbo"
    """Objective: evidence lower bound (elbo), importance-weighted bound (iwae) or Monte-Carlo likelihood (ml)."""
    samples: int = 50
    """Number of latent samples for a prediction."""
    sigma_floor: float = 1e-3
    """Smallest standard deviation that the decoder can predict; 0.1 in the published runs."""
    test_tasks: int = 4800
    """Unseen tasks of each kernel to measure on."""


def run(options: Options, stage: Stage) -> dict[str, Metric]:
    """Train, measure and draw."""
    learner = qs.NeuralProcess(
        width=options.width,
        latent=options.width,
        paths=options.paths,
        objective=options.objective,
        samples=options.samples,
        sigma_floor=options.sigma_floor,
    )
    samples = 0 if options.paths == "deterministic" else 64
    return gp_protocol.run(learner, options, stage, title="Neural Process", colour=GREEN, samples=samples)
