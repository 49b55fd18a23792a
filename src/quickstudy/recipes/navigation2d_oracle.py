"""The upper bound on 2-D navigation: a policy that sees the goal (Finn et al. 2017, section 5.3). Published: -2.3."""

from dataclasses import dataclass

from quickstudy.recipes import navigation
from quickstudy.recipes.navigation import gather as gather
from quickstudy.recipes.navigation_board import Navigation
from quickstudy.recipes.stage import Stage
from quickstudy.training.statistics import Metric


@dataclass(frozen=True, kw_only=True)
class Options(Navigation):
    """As of its rivals."""

    steps: int = 200
    """Updates of the policy; it has more to learn than where to begin."""
    test_steps: int = 0
    """Gradient steps when measuring: none, since it is told the goal."""


def run(options: Options, stage: Stage) -> dict[str, Metric]:
    """Train, measure, draw."""
    oracle = navigation.train(navigation.trpo(options, steps=0, told=True), options, stage, told=True)
    return navigation.report({"oracle": oracle}, options, stage)
