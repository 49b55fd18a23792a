"""The upper bound on 2-D navigation: a policy that observes the goal (Finn et al. 2017, section 5.3; return -2.3)."""

from dataclasses import dataclass

from quickstudy.evaluation.intervals import Metric
from quickstudy.experiments.across_seeds import gather as gather
from quickstudy.experiments.stage import Stage
from quickstudy.recipes.navigation2d import protocol as navigation
from quickstudy.recipes.navigation2d.board import Navigation


@dataclass(frozen=True, kw_only=True)
class Options(Navigation):
    """Options of the recipe. The defaults are those of the other navigation recipes, except for the steps."""

    steps: int = 200
    """Updates of the policy; more than in the other recipes, since it learns to reach every goal."""
    test_steps: int = 0
    """Gradient steps on each unseen goal; by default none, since the policy sees the goal."""


def run(options: Options, stage: Stage) -> dict[str, Metric]:
    """Train, measure and draw."""
    oracle = navigation.train(navigation.trpo(options, steps=0, sees_goal=True), options, stage, sees_goal=True)
    return navigation.report({"oracle": oracle}, options, stage)
