"""`quickstudy.rl.fit`: meta-train what acts, into a run folder that survives being killed."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from quickstudy.chance import Stream, mix
from quickstudy.checks import check_whole
from quickstudy.devices import pick_device
from quickstudy.evaluation.intervals import over_tasks
from quickstudy.learner import check_trainable
from quickstudy.parallel.distributed import find_world
from quickstudy.rl.environment import Environment, home
from quickstudy.rl.envs.failure import EnvironmentFailure
from quickstudy.runs.atomic import make_folder
from quickstudy.runs.checkpoint import write_checkpoint
from quickstudy.runs.config import check_json, describe_run, write_config
from quickstudy.runs.lock import locked
from quickstudy.runs.resume import check_obeyed, earlier_run, finished_run, is_finished, restore
from quickstudy.runs.run import FIGURES, LAST, Run
from quickstudy.runs.signals import Signals
from quickstudy.runs.standing import Standing
from quickstudy.training.arguments import check_folder, check_surroundings
from quickstudy.training.loggers import Logger
from quickstudy.training.loop import NonFiniteLossError
from quickstudy.training.recorder import Progress, Recorder
from quickstudy.training.surroundings import surroundings


def fit(
    learner: nn.Module,
    environment: Environment,
    *,
    steps: int,
    out: str | Path,
    seed: int = 0,
    exist: Literal["error", "resume"] = "error",
    tasks: int = 20,
    checkpoint_every: int = 10,
    device: torch.device | str = "auto",
    loggers: Sequence[Logger] = (),
    progress: Progress | None = None,
    recipe: str | None = None,
    options: dict[str, Any] | None = None,
    command: str | None = None,
) -> Run:
    """Meta-train `learner` on tasks of `environment`, in place, and keep everything in the folder `out`.

    The tasks of a step and all chance in its episodes are a pure function of (seed, step), so that a run killed at any
    moment and called again with `exist="resume"` ends with the same weights, to the bit. `metrics.jsonl` has a line a
    step: the returns after 0, 1, ... inner steps, `loss` (minus the last of them) and transitions a second.

    Args:
        learner: with `update(environment, generator=...) -> metrics` and `practise(environment, generator=...)`, such
            as `MAMLTRPO`; an `optimizer` that it has is kept with it.
        environment: with as many environments a task as episodes are wanted before every step.
        steps: updates.
        tasks: T, in an update.
        checkpoint_every: in steps.
        device: that of the environment, which "auto" takes.
        out, seed, exist, loggers, progress, recipe, options, command: as of `quickstudy.fit`.

    Raises:
        ValueError, TypeError: for bad arguments, before anything is written.
        FileExistsError: if `out` holds a run (with `exist="error"`) or anything else.
        NonFiniteLossError: if returns or parameters are not finite; the last good checkpoint stays.
        EnvironmentFailure: if an environment fails; the last checkpoint stays.

    >>> import quickstudy as qs, tempfile
    >>> learner = qs.rl.MAMLTRPO(qs.rl.GaussianPolicy(qs.nets.MLP(2, [8], 2), 2))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run = qs.rl.fit(learner, qs.rl.Navigation2D(num_envs=2, horizon=5), steps=2, tasks=2, out=f"{folder}/run")
    >>> run.steps, [line["step"] for line in run.metrics]
    (2, [1, 2])
    """
    if find_world().size > 1:
        raise ValueError("rl.fit trains in one process; start it without torchrun")
    folder = check_folder(out)
    check_surroundings("auto", loggers, progress, {"recipe": recipe, "command": command})
    check_trainable(learner)
    for method in ("update", "practise"):
        if not callable(getattr(learner, method, None)):
            raise TypeError(f"{type(learner).__name__} has no {method}(environment, generator=...); use quickstudy.fit")
    if not isinstance(environment, Environment):
        raise TypeError(f"{type(environment).__name__} is no environment; see quickstudy.rl.Environment")
    plan = {
        "steps": check_whole("steps", steps, 1),
        "seed": check_whole("seed", seed, 0),
        "tasks": check_whole("tasks", tasks, 1),
        "checkpoint_every": check_whole("checkpoint_every", checkpoint_every, 1),
    }
    config = describe_run(learner, environment, plan) | {
        "recipe": recipe,
        "options": check_json("options", options),
        "command": command,
        "compile": False,
        "threads": torch.get_num_threads(),
        "device": str(_device(device, environment)),
    }
    before = earlier_run(folder, exist, config)
    if before is not None:
        check_obeyed(before, "auto", device)
        if is_finished(folder):
            return finished_run(folder, learner, before)
        if str(before["device"]) != config["device"]:
            raise ValueError(
                f"the run in {folder} is on {before['device']!r}, and the environment on {config['device']!r}; "
                f"build it with device={before['device']!r}"
            )
        config = before
    with surroundings(learner, config):
        make_folder(folder)
        with locked(folder):
            if earlier_run(folder, exist, config) is None:
                write_config(folder, config)
            make_folder(folder / FIGURES)
            _train(folder, learner, environment, plan, config, loggers, progress)
        return finished_run(folder, learner, config)


def _device(device: torch.device | str, environment: Environment) -> torch.device:
    """The environment's, which is where its observations will be; of one that does not say, the one asked for."""
    place = home(environment)
    if place is None:
        return torch.device("cpu") if device == "auto" else pick_device(device)
    if device != "auto" and pick_device(device).type != place.type:
        raise ValueError(
            f"device {str(device)!r}, and the environment is on {str(place)!r}; build it with device={str(device)!r}"
        )
    return place


def _train(
    folder: Path,
    learner: nn.Module,
    environment: Environment,
    plan: dict[str, int],
    config: dict[str, Any],
    loggers: Sequence[Logger],
    progress: Progress | None,
) -> None:
    optimizer = getattr(learner, "optimizer", None)
    at = restore(folder, learner, (lambda state: None) if optimizer is None else optimizer.load_state_dict)
    if at.finished:
        return
    recorder = Recorder(
        folder,
        config,
        loggers=loggers,
        progress=progress,
        steps=plan["steps"],
        step=at.step,
        seconds=at.seconds,
        keep=at.metrics_bytes,
    )
    with recorder, Signals() as signals:
        if at.step == 0:
            _save(folder, learner, at, recorder, config)
        while at.step < plan["steps"] and signals.received is None:
            values = _update(learner, environment, at.step, plan, config, folder)
            at.step += 1
            recorder.record(at.step, values)
            last = at.step == plan["steps"] or signals.received is not None
            if last or at.step % plan["checkpoint_every"] == 0:
                _save(folder, learner, at, recorder, config)
        if at.step == plan["steps"]:  # kept already, should this fail
            at.validation, at.finished = _validated(learner, environment, plan, config), True
            _save(folder, learner, at, recorder, config)
    signals.leave()


def _update(
    learner: Any, environment: Environment, step: int, plan: dict[str, int], config: dict[str, Any], folder: Path
) -> dict[str, float]:
    chance = torch.Generator(device=config["device"]).manual_seed(mix(plan["seed"], step, Stream.BATCH))
    torch.manual_seed(mix(plan["seed"], step, Stream.NOISE))
    try:
        environment.set_tasks(environment.sample_tasks(plan["tasks"], generator=chance))
        values = learner.update(environment, generator=chance)
    except (EnvironmentFailure, ValueError) as error:
        name, last = type(getattr(environment, "environment", environment)).__name__, folder / LAST
        kind = EnvironmentFailure if isinstance(error, EnvironmentFailure) else ValueError
        raise kind(
            f"{error} ({name}, in update {step + 1} of seed {plan['seed']}; the last checkpoint is {last}, from which "
            "exist='resume' goes on)"
        ) from error
    bad = [name for name, value in values.items() if name.startswith(("loss", "return")) and not math.isfinite(value)]
    bad += [name for name, p in learner.named_parameters() if not bool(p.isfinite().all())]
    if bad:
        raise NonFiniteLossError(
            f"{bad[0]} is not finite after step {step} (seed {plan['seed']}); the last good checkpoint is "
            f"{folder / LAST}; try a smaller lr",
            step=step,
            seed=plan["seed"],
            checkpoint=folder / LAST,
        )
    return {name: value for name, value in values.items() if math.isfinite(value)}


def _validated(learner: Any, environment: Environment, plan: dict[str, int], config: dict[str, Any]) -> dict[str, Any]:
    """Minus the return after adapting, on as many tasks of the validation split as an update has."""
    chance = torch.Generator(device=config["device"]).manual_seed(mix(plan["seed"], 0, Stream.VALIDATION))
    environment.set_tasks(environment.sample_tasks(plan["tasks"], split="validation", generator=chance))
    last = learner.practise(environment, generator=chance).episodes[-1]
    return over_tasks(-last.returns().mean(1)).to_json()


def _save(folder: Path, learner: nn.Module, at: Standing, recorder: Recorder, config: dict[str, Any]) -> None:
    at.seconds, at.metrics_bytes = recorder.seconds(), recorder.flush()
    optimizer = getattr(learner, "optimizer", None)
    training = {"optimizer": {} if optimizer is None else optimizer.state_dict()}
    facts = {"kind": "run", "learner": config["learner"], "standing": asdict(at)}
    write_checkpoint(folder / LAST, learner.state_dict(), training, facts)
