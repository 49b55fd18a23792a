"""Choosing the settings of contenders: the same number of trials for each, judged on validation tasks."""

import json
import math
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

import quickstudy as qs
from quickstudy.learner import TaskFamily
from quickstudy.recipes.contenders import CONTENDERS, Choice, Contender
from quickstudy.recipes.stage import Stage
from quickstudy.report.tables import PARTS
from quickstudy.training.loop import NonFiniteLossError

if TYPE_CHECKING:
    from quickstudy.recipes.sinusoid_compare import Options

FILE = "choices.json"
STEPS = (1, 5, 10)  # gradient steps after which a trial is judged; the best of them counts
TASKS = 200  # of the validation split


def choices(options: "Options", family: TaskFamily, stage: Stage) -> dict[str, dict[str, Any]]:
    """Settings for every contender: those in the run's folder, or in that of all its seeds, or found now and kept.

    Returns:
        name -> `{"choice": settings, "loss": of the best trial, "trials": [...]}`.
    """
    above = stage.folder.parent
    shared = stage.folder.name == f"seed-{options.seed}" and (above / "config.json").exists()
    found: dict[str, dict[str, Any]] = {}
    for folder in (stage.folder, *([above] if shared else [])):
        if (folder / FILE).exists():
            found |= json.loads((folder / FILE).read_text())
    for name in (name for name in options.methods if name not in found):
        found[name] = search(CONTENDERS[name], partial(trial, CONTENDERS[name], options, family), options.trials)
        shown = ", ".join(f"{k} {v:.3g}" for k, v in found[name]["choice"].items())
        stage.say(f"{PARTS[name]}: {shown} (error {found[name]['loss']:.3g}, best of {options.trials})")
        stage.keep(Path(FILE).stem, found)
    return found


def search(contender: Contender, judge: Callable[[Choice], float], trials: int) -> dict[str, Any]:
    """The best of `trials` choices, by Optuna's tree-structured Parzen estimator with a fixed seed.

    Raises:
        ModuleNotFoundError: without Optuna.
        RuntimeError: if every trial diverged.
    """
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("tuning needs Optuna; install it by: pip install 'quickstudy[tune]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))
    done = []
    for _ in range(trials):
        asked = study.ask()
        choice = {name: suggest(asked, name, values) for name, values in contender.space.items()}
        loss = judge(choice)
        done.append({"choice": choice, "loss": loss if math.isfinite(loss) else None})
        if math.isfinite(loss):
            study.tell(asked, loss)
        else:
            study.tell(asked, state=optuna.trial.TrialState.FAIL)
    finite = [each for each in done if each["loss"] is not None]
    if not finite:
        raise RuntimeError(f"all {trials} trials diverged")
    best: dict[str, Any] = min(finite, key=lambda each: each["loss"])
    return {**best, "trials": done}


def suggest(trial: Any, name: str, values: Any) -> Any:
    """One value of a space."""
    if isinstance(values, list):
        return trial.suggest_categorical(name, values)
    low, high = values
    return trial.suggest_float(name, low, high, log=True)


def trial(contender: Contender, options: "Options", family: TaskFamily, choice: Choice) -> float:
    """The error on validation tasks after a short training; infinite if it diverged."""
    torch.manual_seed(options.seed)
    learner = contender.make(options.width, choice)
    with tempfile.TemporaryDirectory() as folder:
        try:
            qs.fit(learner, family, out=Path(folder) / "trial", **training(options, choice, options.trial_steps))
        except NonFiniteLossError:
            return math.inf
    return validation_error(learner, contender, options, family)


def training(options: "Options", choice: Choice, steps: int) -> dict[str, Any]:
    """What `fit` is told, for every contender alike but for the rate."""
    sizes = {"tasks": options.tasks, "support": options.support, "query": options.query}
    how = {"lr": choice["lr"], "schedule": "cosine", "clip": options.clip}
    return {"steps": steps, **sizes, **how, "seed": options.seed, "device": options.device, "evaluate_every": steps}


def validation_error(learner: nn.Module, contender: Contender, options: "Options", family: TaskFamily) -> float:
    """The mean squared error for the middle number of points seen, after the best number of steps."""
    shots = options.shots[len(options.shots) // 2]
    found: Mapping[str, Any] = qs.evaluate(
        learner,
        family,
        tasks=TASKS,
        support=shots,
        steps=STEPS if contender.kind == "gradient" else None,
        query=100,
        grid=True,
        split="validation",
    )
    return min(m.mean if math.isfinite(m.mean) else math.inf for name, m in found.items() if name.startswith("mse/"))
