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

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn

from quickstudy.learner import TaskFamily
from quickstudy.recipes import together
from quickstudy.recipes.compared import (
    Facts,
    best_of,
    errors_figure,
    measure,
    medians,
    steps_within,
    what_training_took,
)
from quickstudy.recipes.contenders import CONTENDERS
from quickstudy.recipes.families import FAMILIES, Family
from quickstudy.recipes.options import Sampled
from quickstudy.recipes.side_by_side import at_a_time, side_by_side
from quickstudy.recipes.stage import Reporter, Stage, device
from quickstudy.recipes.tuned import Found, choices, ranked, training
from quickstudy.report.runs import read_config, read_result
from quickstudy.report.tables import PARTS
from quickstudy.training.atomic import write_file
from quickstudy.training.loop import NonFiniteLossError
from quickstudy.training.statistics import Metric, over_seeds

DIVERGED = "diverged.json"  # in the folder of a training: it is not tried again


@dataclass(frozen=True, kw_only=True)
class Options(Sampled):
    """One budget for all."""

    steps: int = 20_000
    """Meta-training steps of every learner."""
    seconds: float = 0.0
    """In place of steps: about so many seconds of losses and gradients, as timed when training begins; 0: the steps."""
    methods: tuple[str, ...] = tuple(CONTENDERS)
    """Who takes part."""
    trials: int = 6
    """Settings tried for everybody, on validation tasks."""
    trial_steps: int = 4_000
    """Meta-training steps of a trial."""
    family: Family = "sinusoid"
    """The curves: MAML's waves, those of the Meta-SGD paper (frequency varies too), or a harder family."""
    noise: float = 0.0
    """Standard deviation of the observations' noise."""
    shots: tuple[int, ...] = (5, 10, 20)
    """Points seen of each unseen curve when measuring."""
    tasks: int = 25
    """Tasks in a meta-batch."""
    support: tuple[int, int] = (5, 20)
    """Fewest and most points to adapt to in training; drawn anew for every batch."""
    query: int = 10
    """Points to be judged on in training."""
    width: int = 40
    """Units in each of the two hidden layers of the gradient-based learners' network."""
    clip: float = 10.0
    """Largest norm of a meta-gradient."""
    test_tasks: int = 1_000
    """Unseen curves to measure on."""


def run(options: Options, stage: Stage) -> dict[str, Metric]:
    """Tune, train, measure, draw."""
    check(options)
    family = curves(options)
    stage.describe()
    found = choices(options, family, stage)
    metrics: dict[str, Metric] = {}
    facts: dict[str, dict[str, float]] = {}
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
    found = choices(options, curves(options), stage)
    names = taking_part(options, found)
    at_once = at_a_time(options, len(names) * len(options.seeds))
    if stage.mode == "measure" or at_once == 1:
        return
    names = sorted(names, key=lambda name: -found[name]["seconds"])  # the longest first, so that none is left alone
    jobs = {
        f"seed {seed}, {PARTS[name]}": partial(train_alone, name, found[name], options, seed, stage.command)
        for name in names
        for seed in options.seeds
    }
    stage.say(f"{len(names)} learners of {len(options.seeds)} seeds, {at_once} at a time")
    side_by_side(jobs, stage.reporter, at_once)


def train_alone(name: str, found: Found, options: Options, seed: int, command: str | None, reporter: Reporter) -> None:
    """Train one learner of one seed, where a run of that seed will find it."""
    assert options.out is not None
    alone = replace(options, seed=seed, seeds=(), out=options.out / f"seed-{seed}")
    stage = Stage("sinusoid-compare", alone, "resume", command, reporter)
    train(name, found, alone, stage, curves(options))


def train(name: str, found: Found, options: Options, stage: Stage, family: TaskFamily) -> tuple[Any, Facts]:
    """A learner with the settings found for it, or with the next best where those diverge; and what that took.

    None where all of them diverge: this seed has no result of it then, and so have the means over seeds.
    """
    steps, before = 0, stage.seconds
    settings = ranked(found)
    for number, choice in enumerate(settings):
        part = name if not number else f"{name}-{number + 1}"
        diverged = stage.folder / part / DIVERGED
        if diverged.exists():
            continue
        torch.manual_seed(options.seed)
        learner = CONTENDERS[name].make(options.width, choice)
        steps = budget(options, stage, part, learner, family)
        how = training(options, choice, steps)
        for said_by_the_stage in ("seed", "device", "evaluate_every"):
            del how[said_by_the_stage]
        try:
            learner = stage.train(learner, family, part=part, **how)
        except NonFiniteLossError as error:
            stage.say(f"{PARTS[name]} diverged at step {error.step:,} with settings {number + 1} of {len(settings)}")
            diverged.parent.mkdir(parents=True, exist_ok=True)
            write_file(diverged, json.dumps({"step": error.step}).encode())
            continue
        return learner, {
            "steps": steps,
            "training_seconds": round(stage.seconds - before, 3),
            "diverged": number,
        }
    stage.say(f"{PARTS[name]} diverged with each of its settings, and is left out")
    return None, {}


def budget(options: Options, stage: Stage, part: str, learner: nn.Module, family: TaskFamily) -> int:
    """Meta-training steps: as the run has them already, as asked for, or as many as the seconds allow."""
    if not options.seconds:
        return options.steps
    begun = stage.folder / part
    if (begun / "config.json").exists():
        return int(read_config(begun)["steps"])
    return steps_within(options.seconds, learner.to(device(options.device)), family, options)


def taking_part(options: Options, found: dict[str, Found]) -> list[str]:
    """Whose tuning has found settings.

    Raises:
        RuntimeError: if nobody's has.
    """
    names = [name for name in options.methods if found[name]["choice"] is not None]
    if not names:
        raise RuntimeError(f"every trial of every learner diverged ({', '.join(options.methods)})")
    return names


def curves(options: Options) -> TaskFamily:
    """Where tasks come from."""
    return FAMILIES[options.family](noise=options.noise)


def gather(options: Options, stage: Stage) -> None:
    """The figure of all seeds."""
    seeds: Sequence[Any] = [read_result(stage.folder / f"seed-{seed}")["metrics"] for seed in options.seeds]
    metrics = over_seeds(seeds)
    stage.keep("facts", medians(together.read(stage, "facts", options.seeds)))
    stage.draw("errors", lambda: errors_figure(metrics, options.shots))


def check(options: Options) -> None:
    """Raise ValueError for options that make no sense."""
    unknown = [name for name in options.methods if name not in CONTENDERS]
    if unknown:
        raise ValueError(f"--methods {unknown[0]}: choose from {', '.join(CONTENDERS)}")
    if not options.methods or len(set(options.methods)) < len(options.methods):
        raise ValueError(f"--methods {' '.join(options.methods)}: expected at least one, and none twice")
    if not options.shots:
        raise ValueError("--shots: expected at least one number of points")
    for name in ("trials", "trial_steps", "tasks", "query", "width"):
        if getattr(options, name) < 1:
            raise ValueError(f"--{name.replace('_', '-')} {getattr(options, name)}: expected at least 1")
    if options.seconds < 0:
        raise ValueError(f"--seconds {options.seconds}: expected a number of at least 0")
