"""The rival on 2-D navigation: one policy for all goals, then fine-tuned (Finn et al. 2017, section 5.3).

TRPO on the mixture of goals, without adapting; measured as `navigation2d-maml` is, on the same goals. Published: -40.8,
-19.7, -11.7, -8.5.
"""

from dataclasses import dataclass

from quickstudy.evaluation.intervals import Metric
from quickstudy.experiments.stage import Stage
from quickstudy.recipes.navigation2d import protocol as navigation
from quickstudy.recipes.navigation2d.board import Navigation
from quickstudy.recipes.navigation2d.protocol import gather as gather


@dataclass(frozen=True, kw_only=True)
class Options(Navigation):
    """The authors' settings by default, but for the rates of measuring."""


def run(options: Options, stage: Stage) -> dict[str, Metric]:
    """Train, measure, draw."""
    pretrained = navigation.train(navigation.trpo(options, steps=0), options, stage)
    return navigation.report({"pretrained": pretrained}, options, stage)
