"""A comparison of all learners on the same curves, with the same budget.

All learners are trained on the same batches for the same number of steps (or seconds), with Adam and a cosine schedule.
The settings of each learner are chosen by the same number of trials of Optuna on validation tasks, within its ranges
(`methods.py`). Gradient-based learners have the same network, except that CAVIA's has more inputs, WarpGrad's has more
layers, and Bayesian MAML has five networks.

The measurements on unseen curves, for each number of support points, are: the error after 0, 1, 5 and 10 gradient
steps, after the number in training, and after the number that is best on validation tasks (for the pretrained network
its rule is chosen, too); log-likelihood and calibration of learners with a density; the time to adapt, the number of
parameters, and the seconds of training.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from quickstudy.evaluation.intervals import Metric, over_seeds
from quickstudy.experiments import across_seeds
from quickstudy.experiments.side_by_side import at_a_time, side_by_side
from quickstudy.experiments.stage import Stage
from quickstudy.recipes.sinusoid.compare.measuring import (
    Facts,
    best_of,
    errors_figure,
    measure,
    medians,
    training_facts,
)
from quickstudy.recipes.sinusoid.compare.options import Options as Options
from quickstudy.recipes.sinusoid.compare.options import check, curves
from quickstudy.recipes.sinusoid.compare.training import train, train_alone
from quickstudy.recipes.sinusoid.compare.tuning import Found, choices, require_optuna
from quickstudy.report.runs import read_result
from quickstudy.report.tables import PARTS


def check_packages(options: Options) -> None:
    """Raise ModuleNotFoundError without the package that tunes."""
    require_optuna()


def run(options: Options, stage: Stage) -> dict[str, Metric]:
    """Tune, train, measure and draw."""
    check(options)
    family = curves(options)
    stage.describe()
    found = choices(options, family, stage)
    metrics: dict[str, Metric] = {}
    facts: dict[str, Facts] = {}
    earlier = training_facts(stage)
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
    """Tune once for all seeds; if several processes may run, train the learners of all seeds at the same time."""
    check(options)
    family = curves(options)
    found = choices(options, family, stage)
    names = usable(options, found)
    at_once = at_a_time(options, len(names) * len(options.seeds))
    if stage.mode == "measure" or at_once == 1:
        return
    # The longest trainings start first, so that the processes end at about the same time.
    names = sorted(names, key=lambda name: -found[name]["seconds"])
    assert options.out is not None
    by_seed = [replace(options, seed=seed, seeds=(), out=options.out / f"seed-{seed}") for seed in options.seeds]
    jobs = {
        f"seed {own.seed}, {PARTS[name]}": partial(train_alone, name, found[name], own, stage.command)
        for name in names
        for own in by_seed
    }
    stage.say(f"{len(names)} learners of {len(options.seeds)} seeds, {at_once} at a time")
    side_by_side(jobs, stage.reporter, at_once)


def usable(options: Options, found: dict[str, Found]) -> list[str]:
    """The methods for which tuning found settings.

    Raises:
        RuntimeError: if every trial of every method diverged.
    """
    names = [name for name in options.methods if found[name]["choice"] is not None]
    if not names:
        raise RuntimeError(f"every trial of every learner diverged ({', '.join(options.methods)})")
    return names


def gather(options: Options, stage: Stage) -> None:
    """Draw the results of all seeds."""
    seeds: Sequence[Any] = [read_result(stage.folder / f"seed-{seed}")["metrics"] for seed in options.seeds]
    metrics = over_seeds(seeds)
    stage.keep("facts", medians(across_seeds.read(stage, "facts", options.seeds)))
    stage.draw("errors", lambda: errors_figure(metrics, options.shots))
