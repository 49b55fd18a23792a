"""Every learner on the same curves, with the same budget.

All learners see the same batches for the same number of steps (or seconds), with Adam and a cosine schedule. The
settings of each are chosen by the same number of trials of Optuna on validation tasks, within its ranges
(`methods.py`). Gradient-based learners have the same network, but CAVIA's has more inputs, WarpGrad's more layers, and
Bayesian MAML has five of them.

Measured on unseen curves, for each number of support points: the error after 0, 1, 5 and 10 gradient steps and those of
training, and after the number of steps that is best on validation tasks (for the pretrained network its rule is chosen,
too); log-likelihood and calibration where there is a density; the time to adapt, the number of parameters, and the
seconds of training.
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
    for name in usable(options, found):
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
    """Tune once for all seeds; train all learners of all seeds side by side where several processes may run."""
    check(options)
    family = curves(options)
    found = choices(options, family, stage)
    names = usable(options, found)
    at_once = at_a_time(options, len(names) * len(options.seeds))
    if stage.mode == "measure" or at_once == 1:
        return
    names = sorted(
        names, key=lambda name: -found[name]["seconds"]
    )  # the longest first, so that processes end at about the same time
    assert options.out is not None
    each = [replace(options, seed=seed, seeds=(), out=options.out / f"seed-{seed}") for seed in options.seeds]
    jobs = {
        f"seed {one.seed}, {PARTS[name]}": partial(train_alone, name, found[name], one, stage.command)
        for name in names
        for one in each
    }
    stage.say(f"{len(names)} learners of {len(options.seeds)} seeds, {at_once} at a time")
    side_by_side(jobs, stage.reporter, at_once)


def usable(options: Options, found: dict[str, Found]) -> list[str]:
    """The methods for which tuning found settings.

    Raises:
        RuntimeError: if there is none.
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
