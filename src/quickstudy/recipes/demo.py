"""The demonstration: MAML, a Neural Process and their rivals on the same sine waves, in about two minutes.

All learners are trained on the sine waves of the MAML paper and measured on the same unseen ones. Training is shorter
than in the papers; the recipes `sinusoid-maml`, `sinusoid-np` ... have the full budgets.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from torch import nn

import quickstudy as qs
from quickstudy.evaluation.evaluate import Metric
from quickstudy.experiments.options import Stepped
from quickstudy.experiments.stage import Stage
from quickstudy.learner import TaskFamily
from quickstudy.recipes.sinusoid import waves as sinusoids
from quickstudy.report import panels
from quickstudy.report.palette import look
from quickstudy.report.tables import PARTS

LEARNERS = ("maml", "pretrained", "np", "cnp", "oracle")
STEPS = (0, 1, 2, 3, 5, 7, 10)  # gradient steps after which learners are measured, besides those of training


@dataclass(frozen=True, kw_only=True)
class Options(Stepped):
    """Options of the recipe. The defaults take about two minutes on two cores."""

    steps: int = 8_000
    """Training steps of MAML, the pretrained network and the oracle."""
    process_steps: int = 2_500
    """Training steps of the Neural Process and the CNP."""
    shots: tuple[int, ...] = (5, 10, 20)
    """Support points of each unseen wave, K; several numbers are measured one after another."""
    width: int = 64
    """Units of every layer of the Neural Process and the CNP."""
    test_tasks: int = 300
    """Number of unseen tasks."""
    out: Path | None = None
    """Folder of the run; by default runs/demo, or runs/demo-seedN with quickstudy run demo."""


def run(options: Options, stage: Stage) -> dict[str, Metric]:
    """Train five learners, measure them on the same unseen waves, and draw them side by side."""
    waves = qs.tasks.Sinusoid()
    informed = qs.tasks.Informed(waves, ("amplitude", "phase"))
    families: dict[str, TaskFamily] = dict.fromkeys(LEARNERS, waves) | {"oracle": informed}
    learners: dict[str, nn.Module] = {
        "maml": qs.MAML(qs.nets.MLP(1, [40, 40], 1), lr=0.01, steps=1),
        "pretrained": qs.Pretrained(qs.nets.MLP(1, [40, 40], 1), lr=0.01, steps=10),
        "np": qs.NeuralProcess(width=options.width, latent=options.width),
        "cnp": qs.CNP(width=options.width),
        "oracle": qs.Pretrained(qs.nets.MLP(informed.dx, [40, 40], 1), steps=0),
    }
    gradient: dict[str, Any] = {"steps": options.steps, "tasks": 25, "support": 10, "query": 10, "lr": 1e-3}
    process: dict[str, Any] = {"steps": options.process_steps, "tasks": 16, "support": (3, 20), "query": 20}

    for name, learner in learners.items():
        training = process if name in ("np", "cnp") else gradient
        learners[name] = stage.train(learner, families[name], part=name, **training)

    stage.say(f"measuring on {options.test_tasks} unseen waves")
    counts = options.counts(STEPS, 1)
    metrics: dict[str, Metric] = {}
    for name, learner in learners.items():
        steps = {"maml": counts, "pretrained": counts, "oracle": [0]}.get(name)
        found = sinusoids.measure(learner, families[name], options, options.shots, steps)
        metrics |= {
            f"{name}/{key.removesuffix('/steps=0') if name == 'oracle' else key}": m for key, m in found.items()
        }
    metrics |= tuned(learners, waves, options, metrics)

    if stage.draws:
        stage.say("drawing")
    draw(learners, waves, options, metrics, stage)
    return metrics


def draw(
    learners: Mapping[str, nn.Module],
    family: TaskFamily,
    options: Options,
    metrics: Mapping[str, Metric],
    stage: Stage,
) -> None:
    """Draw predictions of all learners for the same waves, from few points and from more; and error against steps."""
    few, middle = min(options.shots), sinusoids.middle(options.shots)
    caption = "Predictions of every learner for three unseen waves, from {} points of each (dots). Grey: the truth."
    stage.draw("functions", lambda: functions_figure(learners, family, middle), caption.format(middle))
    if few < middle:
        stage.draw("functions-few", lambda: functions_figure(learners, family, few), caption.format(few))
    shown = {f"{name}/": name for name in learners}
    untuned = "The steps of MAML and of the pretrained network have the learning rate 0.01, untuned."
    stage.draw(
        "steps",
        lambda: sinusoids.steps_figure(metrics, shown, middle),
        f"{sinusoids.steps_caption(middle)} {untuned}",
    )


def tuned(
    learners: Mapping[str, Any], family: TaskFamily, options: Options, metrics: Mapping[str, Metric]
) -> dict[str, Metric]:
    """Errors of MAML and of the pretrained network with the best adaptation on validation waves, and their ratio.

    For MAML the number of gradient steps is chosen; for the pretrained network also the rule and its learning rate.
    """
    found: dict[str, Metric] = {}
    for k in options.shots:
        rival = qs.tune_adaptation(learners["pretrained"], family, support=k, tasks=100).learner
        [error] = sinusoids.measure(rival, family, options, (k,), (rival.steps,)).values()
        own_rule = [learners["maml"].inner.rule]
        steps = qs.tune_adaptation(
            learners["maml"], family, support=k, rules=own_rule, steps=sinusoids.STEPS, tasks=100
        ).learner.steps
        own = metrics.get(f"maml/mse/k={k}/steps={steps}")
        if own is None:  # --test-steps left this number out
            [own] = sinusoids.measure(learners["maml"], family, options, (k,), (steps,)).values()
        found[f"maml/tuned_mse/k={k}"] = own
        found[f"pretrained/tuned_mse/k={k}"] = error
        found[f"factor/k={k}"] = sinusoids.ratio(error, found[f"maml/tuned_mse/k={k}"])
    return found


def functions_figure(learners: Mapping[str, nn.Module], family: TaskFamily, shots: int) -> Figure:
    """Predictions of all learners for the same unseen waves."""
    tasks = sinusoids.unseen(family, shots)
    grid = {PARTS[k]: sinusoids.gradient_panels(learners[k], tasks, look(k).colour) for k in ("maml", "pretrained")}
    grid |= {
        PARTS[k]: sinusoids.process_panels(learners[k], tasks, look(k).colour, samples)
        for k, samples in (("np", 64), ("cnp", 0))
    }
    return panels.side_by_side(grid)
