"""The baseline on 2-D navigation: one policy for all goals, then fine-tuned (Finn et al. 2017, section 5.3).

TRPO trains the policy on the mixture of goals, without adaptation. It is measured like `navigation2d-maml`, on the same
goals. Published returns after 0 to 3 gradient steps: -40.8, -19.7, -11.7, -8.5.
"""

from dataclasses import dataclass

from quickstudy.evaluation.intervals import Metric
from quickstudy.experiments.across_seeds import gather as gather
from quickstudy.experiments.stage import Stage
from quickstudy.recipes.navigation2d import protocol as navigation
from quickstudy.recipes.navigation2d.board import Navigation


@dataclass(frozen=True, kw_only=True)
class Options(Navigation):
    """Options of the recipe. The defaults are the authors', except for the learning rates at test time."""


def run(options: Options, stage: Stage) -> dict[str, Metric]:
    """Train, measure and draw."""
    pretrained = navigation.train(navigation.trpo(options, steps=0), options, stage)
    return navigation.report({"pretrained": pretrained}, options, stage)
