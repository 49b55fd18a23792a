"""What the navigation recipes share: learners, rivals, and what is made of them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch

import quickstudy as qs
from quickstudy.evaluation.intervals import Metric, over_tasks
from quickstudy.experiments import together
from quickstudy.experiments.stage import Stage, device
from quickstudy.recipes.navigation2d.board import Navigation, environment
from quickstudy.recipes.navigation2d.figures import film, steps_figure, walks_figure
from quickstudy.recipes.navigation2d.measure import measure, rates
from quickstudy.report.tables import PARTS


@dataclass(frozen=True, kw_only=True)
class WithRivals(Navigation):
    """Of a learner that is measured beside others."""

    rivals: tuple[Literal["pretrained", "random", "oracle"], ...] = ("pretrained", "random")
    """Who else: one policy trained on all goals at once, one without training, one that sees the goal."""
    oracle_steps: int = 200
    """Updates of the oracle; it has more to learn than where to begin."""


def policy(options: Navigation, *, told: bool = False) -> qs.rl.GaussianPolicy:
    """A Gaussian policy with two hidden layers of ReLUs."""
    network = qs.nets.MLP(4 if told else 2, [options.width, options.width], 2)
    return qs.rl.GaussianPolicy(network, 2)


def trpo(options: Navigation, *, told: bool = False, steps: int = 1, **more: Any) -> qs.rl.MAMLTRPO:
    """Meta-trained with TRPO; `steps=0` is TRPO on all goals at once."""
    start = policy(options, told=told)
    return qs.rl.MAMLTRPO(start, lr=options.inner_lr, steps=steps, max_kl=options.max_kl, **more)


def train(learner: Any, options: Navigation, stage: Stage, *, told: bool = False, **more: Any) -> Any:
    """As `stage.train` does, on the recipe's board."""
    board = environment(options, options.episodes, told=told, device=device(options.device))
    size = {"steps": options.steps, "tasks": options.tasks}
    return stage.train(learner, board, fit=qs.rl.fit, **size | more).to("cpu")  # where it is measured


def compare(name: str, learner: Any, options: WithRivals, stage: Stage) -> dict[str, Metric]:
    """Train `learner` and its rivals, measure all on the same unseen goals, and draw them."""
    rivals = {
        "pretrained": trpo(options, steps=0),
        "random": trpo(options, steps=0),
        "oracle": trpo(options, steps=0, told=True),
    }
    trained = {name: train(learner, options, stage)}
    for rival in options.rivals:
        trained[rival] = rivals[rival]
        if rival != "random":
            told = rival == "oracle"
            steps = options.oracle_steps if told else options.steps
            trained[rival] = train(rivals[rival], options, stage, part=rival, told=told, steps=steps)
    return report(trained, options, stage)


def report(trained: Mapping[str, Any], options: Navigation, stage: Stage) -> dict[str, Metric]:
    """Measure learners on the same unseen goals, and draw them."""
    measured = {}
    for name, learner in trained.items():
        told = name == "oracle"
        steps = 0 if told and len(trained) > 1 else options.test_steps
        own = replace(options, test_steps=steps, test_lr=options.test_lr or rates(learner, options, steps, told=told))
        measured[name] = measure(learner, own, told=told)
        shown = " ".join(f"{returns.mean():.1f}" for returns in measured[name].returns["return"])
        used = f", rates {' '.join(f'{rate:g}' for rate in own.test_lr)}" if steps else ""
        stage.say(f"{PARTS[name]}: {shown} on {options.test_tasks} unseen goals{used}")
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
        film(trained[first], options, stage, measured[first], told=first == "oracle")
    return metrics


def gather(options: Navigation, stage: Stage) -> None:
    """Combine all seeds: interquartile means, probabilities of improvement, returns."""
    kept = together.read(stage, "returns", options.seeds)
    scores = {
        name: torch.tensor([seed[name]["return"] for seed in kept], dtype=torch.float64).transpose(0, 1)
        for name in kept[0]
    }
    together.evaluate(scores, stage, by="steps", first=0)
    stage.draw("returns", lambda: together.experience(scores, "gradient steps"))
