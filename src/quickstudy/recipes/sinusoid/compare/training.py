"""Training with the settings found for each method, or with the next best where those diverge."""

import json
from typing import Any

import torch
from torch import nn

from quickstudy.experiments.stage import Reporter, Stage, device
from quickstudy.learner import TaskFamily
from quickstudy.recipes.sinusoid.compare.measuring import Facts, steps_within
from quickstudy.recipes.sinusoid.compare.methods import METHODS
from quickstudy.recipes.sinusoid.compare.options import Options, curves
from quickstudy.recipes.sinusoid.compare.tuning import Found, ranked, training
from quickstudy.report.runs import read_config
from quickstudy.report.tables import PARTS
from quickstudy.runs.atomic import write_file
from quickstudy.training.loop import NonFiniteLossError

DIVERGED = "diverged.json"  # in the folder of a training: it is not tried again


def train_alone(name: str, found: Found, options: Options, command: str | None, reporter: Reporter) -> None:
    """Train one learner of one seed, in the folder where a run of that seed will find it."""
    stage = Stage("sinusoid-compare", options, "resume", command, reporter)
    train(name, found, options, stage, curves(options))


def train(name: str, found: Found, options: Options, stage: Stage, family: TaskFamily) -> tuple[Any, Facts]:
    """Train a learner with the settings found for it, or the next best where those diverge; return it and its facts.

    The learner is None where all settings diverge: then it has no result for this seed, nor a mean over seeds.
    """
    steps, before = 0, stage.seconds
    settings = ranked(found)
    for number, choice in enumerate(settings):
        part = name if not number else f"{name}-{number + 1}"
        diverged = stage.folder / part / DIVERGED
        if diverged.exists():
            continue
        torch.manual_seed(options.seed)
        learner = METHODS[name].make(options.width, choice)
        steps = budget(options, stage, part, learner, family)
        how = training(options, choice, steps)
        for set_by_the_stage in ("seed", "device", "evaluate_every"):
            del how[set_by_the_stage]
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
