"""The rival on 2-D navigation: one policy for all goals, then fine-tuned (Finn et al. 2017, section 5.3).

TRPO on the mixture of goals, without adapting; measured as `navigation2d-maml` is, with the same rates, on the same
goals. Published: -40.8, -19.7, -11.7, -8.5.
"""

from dataclasses import dataclass

import quickstudy as qs
from quickstudy.recipes import navigation
from quickstudy.recipes.stage import Stage
from quickstudy.training.evaluation import Metric


@dataclass(frozen=True, kw_only=True)
class Options(navigation.Navigation):
    """The authors' settings by default, but for the second rate of measuring."""


def run(options: Options, stage: Stage) -> dict[str, Metric]:
    """Train, measure, draw."""
    pretrained = stage.train(
        navigation.learner(options, steps=0),
        navigation.board(options, options.episodes),
        fit=qs.rl.fit,
        steps=options.steps,
        tasks=options.tasks,
    )

    stage.say(f"measuring on {options.test_tasks} unseen goals")
    metrics, walks = navigation.measure(pretrained, options)

    stage.draw("walks", lambda: navigation.walks_figure(walks, options, "Pretrained, towards goals that it cannot see"))
    stage.draw("steps", lambda: navigation.steps_figure({"pretrained": metrics}, "2-D navigation"))
    return metrics
