"""Choose the settings of every method by the same number of trials, scored on validation tasks."""

import json
import math
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

import quickstudy as qs
from quickstudy.experiments.options import to_json
from quickstudy.experiments.side_by_side import at_a_time, side_by_side
from quickstudy.experiments.stage import Reporter, Stage
from quickstudy.extras import require_package
from quickstudy.learner import TaskFamily
from quickstudy.recipes.sinusoid.compare.methods import METHODS, Choice, Method
from quickstudy.recipes.sinusoid.compare.options import Options
from quickstudy.report.runs import read_config
from quickstudy.report.tables import PARTS
from quickstudy.training.loop import NonFiniteLossError

FILE = "choices.json"
STEPS = (1, 5, 10)  # a trial is scored after these numbers of gradient steps and that of training; the best counts
TASKS = 200  # number of validation tasks

Found = dict[str, Any]
"""`{"choice": best settings, "loss": its error, "trials": [...], "seconds": time of all trials}`; choice and loss are
None if every trial diverged."""


def choices(options: Options, family: TaskFamily, stage: Stage) -> dict[str, Found]:
    """Settings for every method, by name: read from the folder of the run or of all its seeds, or else tuned.

    With several seeds, methods are tuned at the same time if `options.parallel` or the cores allow it.
    """
    above = stage.folder.parent
    shared = stage.folder.name == f"seed-{options.seed}" and of_all_seeds(above, options)
    found: dict[str, Found] = {}
    for folder in (stage.folder, *([above] if shared else [])):
        if (folder / FILE).exists():
            found |= json.loads((folder / FILE).read_text(encoding="utf-8"))
    missing = [name for name in options.methods if name not in found]
    at_once = at_a_time(options, len(missing)) if options.seeds and missing else 1

    def keep(name: str, content: Found) -> None:
        found[name] = content
        stage.say(f"{PARTS[name]}: {described(content)}")
        stage.keep(Path(FILE).stem, {name: found[name] for name in METHODS if name in found})

    if at_once > 1:
        stage.say(f"tuning {len(missing)} learners, {at_once} at a time")
        missing.sort(key=lambda name: -METHODS[name].cost)
        jobs = {PARTS[name]: partial(tune, name, options, family) for name in missing}
        names = {PARTS[name]: name for name in missing}
        side_by_side(jobs, stage.reporter, at_once, lambda part, content: keep(names[part], content))
    else:
        for name in missing:
            keep(name, tune(name, options, family, stage.reporter))
    return found


def of_all_seeds(folder: Path, options: Options) -> bool:
    """Whether `folder` holds the run of several seeds to which the run with these options belongs."""
    if not (folder / "config.json").exists():
        return False
    outer = read_config(folder).get("options") or {}
    own = to_json(options)
    return all(outer.get(name) == own[name] for name in own if name not in ("seed", "seeds"))


def tune(name: str, options: Options, family: TaskFamily, reporter: Reporter) -> Found:
    """Find the settings of one method."""
    del reporter  # a trial is too short for progress messages
    return search(METHODS[name], partial(trial, METHODS[name], options, family), options.trials)


def ranked(found: Found) -> list[Choice]:
    """The settings whose trials did not diverge, the best first."""
    finite = [each for each in found["trials"] if each["loss"] is not None]
    return [each["choice"] for each in sorted(finite, key=lambda each: each["loss"])]


def described(found: Found) -> str:
    """The settings, in one line."""
    trials = len(found["trials"])
    if found["choice"] is None:
        return f"all {trials} trials diverged; left out"
    shown = ", ".join(f"{k} {v:.3g}" for k, v in found["choice"].items())
    return f"{shown} (error {found['loss']:.3g}, best of {trials})"


def require_optuna() -> None:
    """Raise ModuleNotFoundError, which names the extra, unless Optuna is installed."""
    require_package("optuna", "tune", "tuning needs Optuna")


def search(method: Method, judge: Callable[[Choice], float], trials: int) -> Found:
    """The best of `trials` choices of Optuna's TPESampler with a fixed seed; its first ten choices are random.

    Raises:
        ModuleNotFoundError: if Optuna is not installed.
    """
    require_optuna()
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study, start = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0)), time.perf_counter()
    done: list[Found] = []
    for _ in range(trials):
        current = study.ask()
        choice = {name: suggest(current, name, values) for name, values in method.space.items()}
        loss = judge(choice)
        done.append({"choice": choice, "loss": loss if math.isfinite(loss) else None})
        if math.isfinite(loss):
            study.tell(current, loss)
        else:
            study.tell(current, state=optuna.trial.TrialState.FAIL)
    finite = [each for each in done if each["loss"] is not None]
    best = min(finite, key=lambda each: each["loss"]) if finite else {"choice": None, "loss": None}
    return {**best, "trials": done, "seconds": round(time.perf_counter() - start, 3)}


def suggest(trial: Any, name: str, values: Any) -> Any:
    """Ask Optuna for one value of a search space."""
    if isinstance(values, list):
        return trial.suggest_categorical(name, values)
    low, high = values
    return trial.suggest_float(name, low, high, log=True)


def trial(method: Method, options: Options, family: TaskFamily, choice: Choice) -> float:
    """The error on validation tasks after a short training; infinite if it diverged."""
    torch.manual_seed(options.seed)
    learner = method.make(options.width, choice)
    with tempfile.TemporaryDirectory() as folder:
        try:
            qs.fit(learner, family, out=Path(folder) / "trial", **training(options, choice, options.trial_steps))
        except NonFiniteLossError:
            return math.inf
    return validation_error(learner, method, options, family)


def training(options: Options, choice: Choice, steps: int) -> dict[str, Any]:
    """Arguments of `fit`, which are the same for every method except for the learning rate."""
    sizes = {"tasks": options.tasks, "support": options.support, "query": options.query}
    updates = {"lr": choice["lr"], "schedule": "cosine", "clip": options.clip}
    return {"steps": steps, **sizes, **updates, "seed": options.seed, "device": options.device, "evaluate_every": steps}


def validation_error(learner: nn.Module, method: Method, options: Options, family: TaskFamily) -> float:
    """The mean squared error with the middle number of support points, after the best number of gradient steps."""
    shots = options.shots[len(options.shots) // 2]
    own: Any = learner
    found: Mapping[str, Any] = qs.evaluate(
        learner,
        family,
        tasks=TASKS,
        support=shots,
        steps=sorted({*STEPS, own.steps}) if method.kind == "gradient" else None,
        query=100,
        grid=True,
        split="validation",
    )
    return min(m.mean if math.isfinite(m.mean) else math.inf for name, m in found.items() if name.startswith("mse/"))
