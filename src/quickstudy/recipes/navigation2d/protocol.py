"""Code that the navigation recipes share: the learners and their baselines, training, measurement and results."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import quickstudy as qs
from quickstudy.evaluation.intervals import Metric, over_tasks
from quickstudy.experiments.across_seeds import steps_figure
from quickstudy.experiments.stage import Stage, device
from quickstudy.recipes.navigation2d.board import Navigation, environment
from quickstudy.recipes.navigation2d.figures import film, walks_figure
from quickstudy.recipes.navigation2d.measure import measure, rates
from quickstudy.report.tables import PARTS


@dataclass(frozen=True, kw_only=True)
class WithRivals(Navigation):
    """Options of the recipes that compare a learner with baselines."""

    rivals: tuple[Literal["pretrained", "random", "oracle"], ...] = ("pretrained", "random")
    """Baselines to measure: a policy trained on all goals at once, an untrained one, and one that sees the goal."""
    oracle_steps: int = 200
    """Updates of the oracle; it needs more than --steps, since it learns to reach every goal."""


def policy(options: Navigation, *, sees_goal: bool = False) -> qs.rl.GaussianPolicy:
    """A Gaussian policy with two hidden layers and ReLU activations."""
    network = qs.nets.MLP(4 if sees_goal else 2, [options.width, options.width], 2)
    return qs.rl.GaussianPolicy(network, 2)


def trpo(options: Navigation, *, sees_goal: bool = False, steps: int = 1, **more: Any) -> qs.rl.MAMLTRPO:
    """A policy that is meta-trained by TRPO; `steps=0` is TRPO on all goals at once, without adaptation."""
    start = policy(options, sees_goal=sees_goal)
    return qs.rl.MAMLTRPO(start, lr=options.inner_lr, steps=steps, max_kl=options.max_kl, **more)


def train(learner: Any, options: Navigation, stage: Stage, *, sees_goal: bool = False, **more: Any) -> Any:
    """Train `learner` by `stage.train` on the recipe's board, and return it on the CPU, where it is measured."""
    board = environment(options, options.episodes, sees_goal=sees_goal, device=device(options.device))
    size = {"steps": options.steps, "tasks": options.tasks}
    return stage.train(learner, board, fit=qs.rl.fit, **size | more).to("cpu")


def compare(name: str, learner: Any, options: WithRivals, stage: Stage) -> dict[str, Metric]:
    """Train `learner` and its rivals, measure them on the same unseen goals, and draw the results."""
    rivals = {
        "pretrained": trpo(options, steps=0),
        "random": trpo(options, steps=0),
        "oracle": trpo(options, steps=0, sees_goal=True),
    }
    trained = {name: train(learner, options, stage)}
    for rival in options.rivals:
        trained[rival] = rivals[rival]
        if rival != "random":
            sees_goal = rival == "oracle"
            steps = options.oracle_steps if sees_goal else options.steps
            trained[rival] = train(rivals[rival], options, stage, part=rival, sees_goal=sees_goal, steps=steps)
    return report(trained, options, stage)


def report(trained: Mapping[str, Any], options: Navigation, stage: Stage) -> dict[str, Metric]:
    """Measure learners on the same unseen goals, draw the results, and return the metrics."""
    measured = {}
    for name, learner in trained.items():
        sees_goal = name == "oracle"
        steps = 0 if sees_goal and len(trained) > 1 else options.test_steps
        own = replace(
            options, test_steps=steps, test_lr=options.test_lr or rates(learner, options, steps, sees_goal=sees_goal)
        )
        measured[name] = measure(learner, own, sees_goal=sees_goal)
        means = " ".join(f"{returns.mean():.1f}" for returns in measured[name].returns["return"])
        rates_used = f", learning rates {' '.join(f'{rate:g}' for rate in own.test_lr)}" if steps else ""
        stage.say(f"{PARTS[name]}: return {means} on {options.test_tasks} unseen goals{rates_used}")
    stage.keep("returns", {name: each.to_json() for name, each in measured.items()})
    stage.draw("walks", lambda: walks_figure({name: each.walks for name, each in measured.items()}, options))
    metrics = {
        f"{name}/{way}/steps={k}": over_tasks(returns)
        for name, each in measured.items()
        for way, found in each.returns.items()
        for k, returns in enumerate(found)
    }
    stage.draw("returns", lambda: steps_figure(metrics))
    if stage.mode != "measure":
        first = next(iter(trained))
        film(trained[first], options, stage, measured[first], sees_goal=first == "oracle")
    return metrics
