"""`fit`: meta-train a learner on a family of tasks, into a run folder that survives being killed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from quickstudy.checks import check_fits
from quickstudy.compiled import Gradient
from quickstudy.data import Tasks
from quickstudy.graph import Untraceable
from quickstudy.learner import TaskFamily
from quickstudy.training.arguments import (
    check_drawn,
    check_family,
    check_folder,
    check_learner,
    check_settings,
    check_surroundings,
    check_trainable,
    pick_device,
)
from quickstudy.training.atomic import make_folder
from quickstudy.training.batches import Batches, Size
from quickstudy.training.config import check_json, describe_run, write_config
from quickstudy.training.gradients import attempt, compare, decide, make_gradient, resolved_engine
from quickstudy.training.lock import locked
from quickstudy.training.loggers import Logger
from quickstudy.training.loggers.tensorboard import TensorBoard, available
from quickstudy.training.loop import Loop
from quickstudy.training.recorder import Progress, Recorder
from quickstudy.training.resume import check_obeyed, earlier_run, finished_run, is_finished, restore
from quickstudy.training.run import FIGURES, Run
from quickstudy.training.schedules import Schedule, make_schedule
from quickstudy.training.seeds import Stream, mix
from quickstudy.training.surroundings import surroundings
from quickstudy.training.updates import OptimizerMaker, Updates
from quickstudy.training.validation import Validation


def fit(
    learner: nn.Module,
    family: TaskFamily,
    *,
    steps: int,
    out: str | Path,
    seed: int = 0,
    exist: Literal["error", "resume"] = "error",
    tasks: int = 25,
    support: Size = 10,
    query: Size = 10,
    points: int | None = None,
    lr: float = 1e-3,
    optimizer: OptimizerMaker | None = None,
    schedule: str | Schedule = "constant",
    clip: float | None = None,
    evaluate_every: int | None = None,
    validation_tasks: int = 100,
    checkpoint_every: int | None = None,
    log_every: int | None = None,
    patience: int | None = None,
    compile: bool | Literal["auto"] = "auto",
    device: torch.device | str = "auto",
    loggers: Sequence[Logger] = (),
    progress: Progress | None = None,
    recipe: str | None = None,
    options: dict[str, Any] | None = None,
    command: str | None = None,
) -> Run:
    """Meta-train `learner` on tasks of `family`, in place, and keep everything in the folder `out`.

    Killed at any moment and called again with `exist="resume"`, it ends with the same weights and metrics, to the
    bit, on the same machine and torch version. The learner is trained in training mode and judged in eval mode.

    Args:
        steps: updates of the meta-parameters.
        out: the run folder, made here.
        seed: of the batches and of all noise. The initial weights are the learner's own.
        exist: what to do if there is a run in `out`: "error", or "resume" it (a finished one is returned untouched).
        tasks: in a batch; 25 as in the MAML paper's sinusoids.
        support, query: points per task; an inclusive range (low, high) is drawn from once per step.
        points: the most that support and query may have together.
        lr: of Adam, the default optimiser.
        optimizer: parameters -> `torch.optim.Optimizer`, in place of Adam.
        schedule: "constant", "cosine", "warmup_cosine", or step -> factor on the rate.
        clip: the largest norm of the meta-gradient.
        evaluate_every: steps between evaluations on held-out tasks; a 20th of the run by default.
        validation_tasks: how many held-out tasks, the same each time.
        checkpoint_every: steps between checkpoints; a 10th of the run by default, at most 2000.
        log_every: steps between lines of metrics; a 200th of the run by default.
        patience: stop after so many evaluations without a better validation loss.
        compile: compile the meta-gradient; "auto" decides by shapes and step count.
        device: "auto" is a GPU if there is one.
        loggers: besides `metrics.jsonl`, and TensorBoard where it is installed.
        progress: is told how far training is; see `quickstudy.training.recorder.Progress`.
        recipe, options, command: noted in `config.json` and `result.json`.

    Returns:
        The run; its `learner` is the one given, with the last weights.

    Raises:
        ValueError, TypeError: for bad arguments, before anything is written.
        FileExistsError: if `out` holds a run (with `exist="error"`) or anything else.
        NonFiniteLossError: if the loss or its gradient is not finite; the last good checkpoint stays.
        CheckpointError: if the run to resume is damaged.
        OSError: if the disk is full or cannot be written; the last checkpoint stays.

    >>> import quickstudy as qs, tempfile
    >>> learner = qs.MAML(qs.nets.MLP(1, [8], 1))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run = qs.fit(learner, qs.tasks.Sinusoid(), steps=20, out=f"{folder}/run")
    >>> run.steps, [line["step"] for line in run.metrics][:3]
    (20, [1, 2, 3])
    """
    folder = check_folder(out)
    check_surroundings(compile, loggers, progress, {"recipe": recipe, "command": command})
    check_learner(learner)
    check_trainable(learner)
    check_family(family)
    plan: dict[str, Any] = {
        "steps": steps,
        "seed": seed,
        "tasks": tasks,
        "support": support,
        "query": query,
        "points": points,
    }
    plan |= {"lr": lr, "optimizer": optimizer, "schedule": schedule, "clip": clip, "patience": patience}
    plan |= {"evaluate_every": evaluate_every, "validation_tasks": validation_tasks}
    plan |= {"checkpoint_every": checkpoint_every, "log_every": log_every}
    plan = check_settings(plan)
    config = describe_run(learner, family, plan) | {
        "recipe": recipe,
        "options": check_json("options", options),
        "command": command,
        "engine": resolved_engine(learner),
        "compile": compile,
        "threads": torch.get_num_threads(),
        "device": str(pick_device(device)),
    }
    before = earlier_run(folder, exist, config)
    if before is not None:
        check_obeyed(before, compile, device)
        if is_finished(folder):
            return finished_run(folder, learner, before)
        config = before
    with surroundings(learner, config):
        batches, first, validation = _check_together(learner, family, plan, config)
        if before is None:
            fixed = isinstance(plan["support"], int) and isinstance(plan["query"], int)
            config["compile"] = decide(compile, learner, plan["steps"], first, fixed_sizes=fixed)
        updates = _make_updates(learner, plan)
        gradient = make_gradient(learner, config["compile"])
        noise = mix(plan["seed"], 0, Stream.NOISE)
        try:
            (compare if config["compile"] else attempt)(learner, gradient, first, noise)
        except Untraceable as error:
            if compile != "auto":
                raise ValueError(f"compile=True: {error}; use compile=False or 'auto'") from error
            config["compile"] = False
            gradient = make_gradient(learner, False)
            attempt(learner, gradient, first, noise)
        make_folder(folder)
        with locked(folder):
            if earlier_run(folder, exist, config) is None:  # again: another process may have been here since
                write_config(folder, config)
            make_folder(folder / FIGURES)
            _train(folder, learner, plan, config, batches, validation, updates, gradient, loggers, progress)
        return finished_run(folder, learner, config)


def _train(
    folder: Path,
    learner: nn.Module,
    plan: dict[str, Any],
    config: dict[str, Any],
    batches: Batches,
    validation: Validation,
    updates: Updates,
    gradient: Gradient,
    loggers: Sequence[Logger],
    progress: Progress | None,
) -> None:
    standing = restore(folder, learner, updates.load_state_dict)
    if standing.finished:
        return
    recorder = Recorder(
        folder,
        config,
        loggers=[*loggers, *([TensorBoard()] if available() else [])],
        progress=progress,
        steps=plan["steps"],
        step=standing.step,
        seconds=standing.seconds,
        keep=standing.metrics_bytes,
    )
    with recorder:
        Loop(
            learner,
            gradient=gradient,
            batches=batches,
            updates=updates,
            validation=validation,
            recorder=recorder,
            standing=standing,
            folder=folder,
            steps=plan["steps"],
            log_every=plan["log_every"],
            evaluate_every=plan["evaluate_every"],
            checkpoint_every=plan["checkpoint_every"],
            patience=plan["patience"],
            facts={"kind": "run", "learner": config["learner"]},
        ).run()


def _make_updates(learner: nn.Module, plan: dict[str, Any]) -> Updates:
    schedule = make_schedule(plan["schedule"], plan["steps"])
    return Updates(learner, lr=plan["lr"], optimizer=plan["optimizer"], schedule=schedule, clip=plan["clip"])


def _check_together(
    learner: nn.Module, family: TaskFamily, plan: dict[str, Any], config: dict[str, Any]
) -> tuple[Batches, Tasks, Validation]:
    """What training needs, tried once before anything is written: the tasks, and the learner on held-out ones."""
    sizes = {name: plan[name] for name in ("seed", "tasks", "support", "query", "points")}
    batches = Batches(family, **sizes, device=config["device"])
    held_out = batches.validation(plan["validation_tasks"])
    first = batches(0)
    for tasks, count in ((first, plan["tasks"]), (held_out[0], min(plan["tasks"], plan["validation_tasks"]))):
        check_drawn(tasks, count)
        check_fits(learner, tasks.support)
    validation = Validation(learner, held_out, plan["seed"])
    validation()
    return batches, first, validation
