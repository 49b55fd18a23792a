"""`fit`: meta-train a learner on a family of tasks, into a run folder that survives being killed."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from quickstudy.chance import Stream, mix
from quickstudy.checks import check_fits
from quickstudy.compiling.compiled import Gradient
from quickstudy.compiling.graph import Untraceable
from quickstudy.data import Tasks
from quickstudy.learner import TaskFamily, check_drawn, check_family, check_learner, check_trainable
from quickstudy.parallel.distributed import World, find_world, is_restart, job
from quickstudy.parallel.shares import Share, Shared, check_dealt, deal
from quickstudy.runs.atomic import make_folder
from quickstudy.runs.config import check_alike, check_json, describe_run, write_config
from quickstudy.runs.lock import locked
from quickstudy.runs.resume import check_obeyed, earlier_run, finished_run, is_finished, restore
from quickstudy.runs.run import FIGURES, Run, is_run, read_config
from quickstudy.training.arguments import check_folder, check_settings, check_surroundings
from quickstudy.training.batches import Batches, Size
from quickstudy.training.gradients import attempt, compare, decide, make_gradient, resolved_engine, verification
from quickstudy.training.loggers import Logger
from quickstudy.training.loggers.tensorboard import TensorBoard, available
from quickstudy.training.loop import Loop
from quickstudy.training.recorder import Progress, Recorder
from quickstudy.training.schedules import Schedule, make_schedule
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
    accumulate: int = 1,
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
    Started by `torchrun`, all processes train the one run together.

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
        accumulate: take the batch, or a process's share of it, in so many slices, one after another, which bounds
            memory; the gradient is that of the whole.
        device: "auto" is a GPU if there is one; started by `torchrun`, each process takes its own.
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
        LostProcessError: if another process of the training is gone; the last checkpoint stays.

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
    plan: dict[str, Any] = {"steps": steps, "seed": seed, "tasks": tasks, "support": support, "query": query}
    plan |= {"points": points, "lr": lr, "optimizer": optimizer, "schedule": schedule, "clip": clip}
    plan |= {"evaluate_every": evaluate_every, "validation_tasks": validation_tasks, "accumulate": accumulate}
    plan |= {"checkpoint_every": checkpoint_every, "log_every": log_every, "patience": patience}
    plan = check_settings(plan)
    world = find_world()
    check_dealt(plan["tasks"], world.size, plan["accumulate"])
    noted = {"recipe": recipe, "options": check_json("options", options), "command": command}
    config = _describe(learner, family, plan, noted, compile, device, world)
    mode, before = world.once(lambda: _look(folder, exist, config, compile, device))
    if before is not None:
        config = before
        if world.once(lambda: is_finished(folder)):
            return _finished(folder, learner, config, world)
    with surroundings(learner, config):
        world.spread(learner)
        batches, first, validation = _check_together(learner, family, plan, config, world)
        if before is None:
            fixed = isinstance(plan["support"], int) and isinstance(plan["query"], int)
            config["compile"] = world.once(lambda: decide(compile, learner, plan["steps"], first, fixed_sizes=fixed))
        updates = _make_updates(learner, plan)
        gradient = _try_gradient(learner, config, compile, deal(first, world, plan["accumulate"])[0], world)
        if before is None:
            config["verify"] = verification(learner, config["compile"])
        if world.size * plan["accumulate"] > 1:
            gradient = Shared(learner, gradient, world, plan["accumulate"])
        with ExitStack() as held:
            world.once(lambda: _begin(folder, mode, config, held))
            _train(folder, learner, plan, config, batches, validation, updates, gradient, loggers, progress, world)
        return _finished(folder, learner, config, world)


def _describe(
    learner: nn.Module,
    family: TaskFamily,
    plan: dict[str, Any],
    noted: dict[str, Any],
    compile: bool | str,
    device: torch.device | str,
    world: World,
) -> dict[str, Any]:
    """What `config.json` will say, the same in all processes."""
    config = describe_run(learner, family, plan) | {
        **noted,
        "engine": resolved_engine(learner),
        "verify": verification(learner, bool(compile)),
        "compile": compile,
        "threads": torch.get_num_threads(),
        "device": str(world.together(lambda: world.pick(device))),
        "processes": world.size,
        "job": job(),
    }
    if world.size > 1:
        told = world.once(lambda: config)
        world.together(lambda: check_alike(config, told, world.rank))
    return config


def _look(
    folder: Path, exist: str, config: dict[str, Any], compile: bool | str, device: torch.device | str
) -> tuple[str, dict[str, Any] | None]:
    """What `exist` means here, and the config of the run to go on with."""
    if exist == "error" and is_run(folder) and is_restart(read_config(folder)):
        exist = "resume"
    before = earlier_run(folder, exist, config)
    if before is not None:
        check_obeyed(before, compile, device)
    return exist, before


def _try_gradient(
    learner: nn.Module, config: dict[str, Any], compile: bool | str, share: Share, world: World
) -> Gradient:
    """The gradient of a slice, tried on the first one; eager where "auto" could not compile it."""
    gradient, noise = make_gradient(learner, config["compile"]), mix(config["seed"], 0, Stream.NOISE)
    look = compare if config["compile"] else attempt
    try:
        world.together(lambda: look(learner, gradient, share.tasks, noise))
    except Untraceable as error:
        if compile != "auto":
            raise ValueError(f"compile=True: {error}; use compile=False or 'auto'") from error
        config["compile"] = False
        gradient = make_gradient(learner, False)
        world.together(lambda: attempt(learner, gradient, share.tasks, noise))
    return gradient


def _begin(folder: Path, exist: str, config: dict[str, Any], held: ExitStack) -> None:
    """Make the folder and lock it until `held` is closed."""
    make_folder(folder)
    held.enter_context(locked(folder))
    if earlier_run(folder, exist, config) is None:  # again: another process may have been here since
        write_config(folder, config)
    make_folder(folder / FIGURES)


def _finished(folder: Path, learner: nn.Module, config: dict[str, Any], world: World) -> Run:
    """The run as the disk has it, read by the first process and told to the others."""
    runs: list[Run] = []

    def read() -> tuple[int, float, int | None, list[dict[str, Any]]]:
        runs.append(finished_run(folder, learner, config))
        return runs[0].steps, runs[0].seconds, runs[0].best_step, runs[0].metrics

    found = world.once(read)
    world.spread(learner)
    return runs[0] if runs else Run(folder, learner, config, *found)


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
    world: World,
) -> None:
    standing = world.once(lambda: restore(folder, learner, updates.load_state_dict))
    if standing.finished:
        return
    world.spread(learner)
    if standing.step and world.size > 1:
        updates.load_state_dict(world.hand_on(updates.state_dict() if world.first else None))

    def record() -> Recorder | None:
        if not world.first:
            return None
        return Recorder(
            folder,
            config,
            loggers=[*loggers, *([TensorBoard()] if available() else [])],
            progress=progress,
            steps=plan["steps"],
            step=standing.step,
            seconds=standing.seconds,
            keep=standing.metrics_bytes,
        )

    recorder = world.together(record)
    with ExitStack() as held:
        if recorder is not None:
            held.enter_context(recorder)
        Loop(
            learner,
            gradient=gradient,
            batches=batches,
            updates=updates,
            validation=validation,
            recorder=recorder,
            standing=standing,
            folder=folder,
            world=world,
            steps=plan["steps"],
            log_every=plan["log_every"],
            evaluate_every=plan["evaluate_every"],
            checkpoint_every=plan["checkpoint_every"],
            patience=plan["patience"],
            facts={"kind": "run", "learner": config["learner"]},
        ).run()
        world.together(held.pop_all().close)  # a logger that cannot be closed ends all processes alike


def _make_updates(learner: nn.Module, plan: dict[str, Any]) -> Updates:
    schedule = make_schedule(plan["schedule"], plan["steps"])
    return Updates(learner, lr=plan["lr"], optimizer=plan["optimizer"], schedule=schedule, clip=plan["clip"])


def _check_together(
    learner: nn.Module, family: TaskFamily, plan: dict[str, Any], config: dict[str, Any], world: World
) -> tuple[Batches, Tasks, Validation]:
    """What training needs, tried once before anything is written: the tasks, and the learner on held-out ones."""
    sizes = {name: plan[name] for name in ("seed", "tasks", "support", "query", "points")}
    batches = Batches(family, **sizes, device=config["device"])

    def draw() -> tuple[Tasks, list[Tasks]]:
        held_out = batches.validation(plan["validation_tasks"])
        first = batches(0)
        for tasks, count in ((first, plan["tasks"]), (held_out[0], min(plan["tasks"], plan["validation_tasks"]))):
            check_drawn(tasks, count)
            check_fits(learner, tasks.support)
        return first, held_out

    first, held_out = world.together(draw)
    validation = Validation(learner, held_out, plan["seed"], world, plan["accumulate"])
    validation()
    return batches, first, validation
