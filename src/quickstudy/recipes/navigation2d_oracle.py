"""The upper bound on 2-D navigation: a policy that sees the goal (Finn et al. 2017, section 5.3). Published: -2.3."""

from dataclasses import dataclass

import quickstudy as qs
from quickstudy.recipes import navigation
from quickstudy.recipes.stage import Stage
from quickstudy.training.evaluation import Metric


@dataclass(frozen=True, kw_only=True)
class Options(navigation.Navigation):
    """As of its rivals."""

    steps: int = 200
    """Updates of the policy; it has more to learn than where to begin."""


def run(options: Options, stage: Stage) -> dict[str, Metric]:
    """Train, measure, draw."""
    oracle = stage.train(
        navigation.learner(options, inputs=4, steps=0),
        qs.rl.Informed(navigation.board(options, options.episodes), ("goal",)),
        fit=qs.rl.fit,
        steps=options.steps,
        tasks=options.tasks,
    )

    stage.say(f"measuring on {options.test_tasks} unseen goals")
    metrics, walks = navigation.measure(oracle, options, told=True, steps=0)

    stage.draw("walks", lambda: navigation.walks_figure(walks, options, "Told the goal"))
    return metrics
