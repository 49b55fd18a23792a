"""Every learner on the same curves, under an equal budget: the comparison that papers make in passing.

Everybody sees the same batches, for the same number of steps (or of seconds), with Adam, a cosine schedule and as many
trials of Optuna to choose its settings by, on validation tasks. Gradient-based learners have one kind of network, of
which CAVIA's has more inputs, WarpGrad's more layers, and Bayesian MAML five. The ranges to choose from are everybody's
own (`contenders.py`).

Measured on unseen curves, of MAML's sine waves or of a harder family: error after 0, 1, 5 and 10 gradient steps and
after as many as serve best on validation tasks, for each number of points seen (the pretrained rival's rule is chosen
with them); log-likelihood and calibration where there is a density; how long adapting takes, parameters, and seconds of
training.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from quickstudy.evaluation.intervals import Metric, over_seeds
from quickstudy.experiments import together
from quickstudy.experiments.side_by_side import at_a_time, side_by_side
from quickstudy.experiments.stage import Stage
from quickstudy.recipes.sinusoid.compare.measuring import (
    Facts,
    best_of,
    errors_figure,
    measure,
    medians,
    what_training_took,
)
from quickstudy.recipes.sinusoid.compare.options import Options as Options
from quickstudy.recipes.sinusoid.compare.options import check, curves
from quickstudy.recipes.sinusoid.compare.training import train, train_alone
from quickstudy.recipes.sinusoid.compare.tuning import Found, choices
from quickstudy.report.runs import read_result
from quickstudy.report.tables import PARTS


def run(options: Options, stage: Stage) -> dict[str, Metric]:
    """Tune, train, measure, draw."""
    check(options)
    family = curves(options)
    stage.describe()
    found = choices(options, family, stage)
    metrics: dict[str, Metric] = {}
    facts: dict[str, Facts] = {}
    earlier = what_training_took(stage)
    for name in taking_part(options, found):
        learner, trained = train(name, found[name], options, stage, family)
        if learner is None:
            continue
        own, facts[name] = measure(name, learner, family, options)
        facts[name] |= earlier.get(name, trained) if stage.mode == "measure" else trained
        metrics |= {f"{name}/{key}": metric for key, metric in own.items()}
        middle = options.shots[len(options.shots) // 2]
        stage.say(f"{PARTS[name]}: error {best_of(metrics, name, middle).mean:.3g} with {middle} points seen")
    stage.keep("facts", facts)
    stage.draw("errors", lambda: errors_figure(metrics, options.shots))
    return metrics


def prepare(options: Options, stage: Stage) -> None:
    """Tune once for all seeds; where several processes may run, train every learner of every seed side by side."""
    check(options)
    family = curves(options)
    found = choices(options, family, stage)
    names = taking_part(options, found)
    at_once = at_a_time(options, len(names) * len(options.seeds))
    if stage.mode == "measure" or at_once == 1:
        return
    names = sorted(names, key=lambda name: -found[name]["seconds"])  # the longest first, so that none is left alone
    assert options.out is not None
    each = [replace(options, seed=seed, seeds=(), out=options.out / f"seed-{seed}") for seed in options.seeds]
    jobs = {
        f"seed {one.seed}, {PARTS[name]}": partial(train_alone, name, found[name], one, stage.command)
        for name in names
        for one in each
    }
    stage.say(f"{len(names)} learners of {len(options.seeds)} seeds, {at_once} at a time")
    side_by_side(jobs, stage.reporter, at_once)


def taking_part(options: Options, found: dict[str, Found]) -> list[str]:
    """Whose tuning has found settings.

    Raises:
        RuntimeError: if nobody's has.
    """
    names = [name for name in options.methods if found[name]["choice"] is not None]
    if not names:
        raise RuntimeError(f"every trial of every learner diverged ({', '.join(options.methods)})")
    return names


def gather(options: Options, stage: Stage) -> None:
    """The figure of all seeds."""
    seeds: Sequence[Any] = [read_result(stage.folder / f"seed-{seed}")["metrics"] for seed in options.seeds]
    metrics = over_seeds(seeds)
    stage.keep("facts", medians(together.read(stage, "facts", options.seeds)))
    stage.draw("errors", lambda: errors_figure(metrics, options.shots))
