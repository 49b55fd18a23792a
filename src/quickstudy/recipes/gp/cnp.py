"""A Conditional Neural Process on samples of Gaussian processes, by the protocol in `gp/protocol.py`.

With `--sigma-floor 0.1` the decoder has the bound of the published runs.
"""

from dataclasses import dataclass

import quickstudy as qs
from quickstudy.evaluation.evaluate import Metric
from quickstudy.experiments.options import Sampled
from quickstudy.experiments.stage import Stage
from quickstudy.recipes.gp import protocol as gp_protocol
from quickstudy.report.palette import PURPLE


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
    """Units of every layer and of the representation."""
    sigma_floor: float = 1e-3
    """Smallest standard deviation that the decoder can predict; 0.1 in the published runs."""
    test_tasks: int = 4800
    """Unseen tasks of each kernel to measure on."""


def run(options: Options, stage: Stage) -> dict[str, Metric]:
    """Train, measure and draw."""
    learner = qs.CNP(width=options.width, sigma_floor=options.sigma_floor)
    return gp_protocol.run(learner, options, stage, title="CNP", colour=PURPLE, samples=0)
