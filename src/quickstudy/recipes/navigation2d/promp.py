"""ProMP on 2-D navigation: like `navigation2d-maml`, with the outer steps of Rothfuss et al. 2019 (arXiv 1810.06784).

Each update takes five clipped steps of Adam on its episodes, in place of one step within a trust region. The board and
the measurement are those of Finn et al. 2017; the ProMP paper uses other environments.
"""

from dataclasses import dataclass

import quickstudy as qs
from quickstudy.evaluation.intervals import Metric
from quickstudy.experiments.across_seeds import gather as gather
from quickstudy.experiments.stage import Stage
from quickstudy.recipes.navigation2d import protocol as navigation


@dataclass(frozen=True, kw_only=True)
class Options(navigation.WithRivals):
    """Options of the recipe. The defaults are those of `navigation2d-maml`, and the paper's clip, penalty and steps."""

    inner_steps: int = 1
    """Inner gradient steps in training."""
    clip: float = 0.3
    """Distance from 1 at which the likelihood ratio is clipped (0.3 in the paper)."""
    inner_kl: float = 5e-4
    """Weight of the KL penalty between the policy before an update and after it (5e-4 in the paper)."""
    outer_lr: float = 3e-3
    """Learning rate of Adam in the outer loop (1e-3 in the paper, for 1,000 updates)."""
    outer_steps: int = 5
    """Steps of Adam on the episodes of one update (5 in the paper)."""


def run(options: Options, stage: Stage) -> dict[str, Metric]:
    """Train, measure and draw."""
    promp = qs.rl.ProMP(
        navigation.policy(options),
        lr=options.inner_lr,
        steps=options.inner_steps,
        clip=options.clip,
        inner_kl=options.inner_kl,
        outer_lr=options.outer_lr,
        outer_steps=options.outer_steps,
    )
    return navigation.compare("promp", promp, options, stage)
