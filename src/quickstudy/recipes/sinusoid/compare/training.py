"""Train each method with its best settings, or with the next best ones if those diverge."""

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

DIVERGED = "diverged.json"  # file in the folder of a training that diverged, which is not repeated


def train_alone(name: str, found: Found, options: Options, command: str | None, reporter: Reporter) -> None:
    """Train one learner for one seed, in the folder that the run of that seed uses."""
    stage = Stage("sinusoid-compare", options, "resume", command, reporter)
    train(name, found, options, stage, curves(options))


def train(name: str, found: Found, options: Options, stage: Stage, family: TaskFamily) -> tuple[Any, Facts]:
    """Train a learner with its best settings, or the next best ones if those diverge; return it and its facts.

    The learner is None if it diverges with all settings; then it has no result for this seed, and no mean over seeds.
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
        arguments = training(options, choice, steps)
        for set_by_stage in ("seed", "device", "evaluate_every"):
            del arguments[set_by_stage]
        try:
            learner = stage.train(learner, family, part=part, **arguments)
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
    stage.say(f"{PARTS[name]} diverged with all of its settings and is left out")
    return None, {}


def budget(options: Options, stage: Stage, part: str, learner: nn.Module, family: TaskFamily) -> int:
    """The number of meta-training steps: `options.steps`, that of the existing run, or as many as the seconds allow."""
    if not options.seconds:
        return options.steps
    folder = stage.folder / part
    if (folder / "config.json").exists():
        return int(read_config(folder)["steps"])
    return steps_within(options.seconds, learner.to(device(options.device)), family, options)
