"""`fit`: meta-train a learner on a family of tasks, into a run folder that survives being killed."""

from collections.abc import Sequence
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
from quickstudy.parallel.distributed import World, find_world, job
from quickstudy.parallel.shares import Share, Shared, check_dealt, deal
from quickstudy.runs.config import check_alike, describe_run
from quickstudy.runs.resume import planned_steps
from quickstudy.runs.run import Run
from quickstudy.training.arguments import Notes, Request, give_notice, make_notes, make_request
from quickstudy.training.batches import Batches, Size
from quickstudy.training.gradients import attempt, compare, decide, make_gradient, resolved_engine, verification
from quickstudy.training.loggers import Logger
from quickstudy.training.loggers.tensorboard import TensorBoard, available
from quickstudy.training.loop import Loop
from quickstudy.training.plan import Plan, make_plan
from quickstudy.training.recorder import Progress
from quickstudy.training.schedules import Schedule
from quickstudy.training.session import Session
from quickstudy.training.surroundings import surroundings
from quickstudy.training.updates import OptimizerMaker, Updates
from quickstudy.training.validation import Validation


def fit(
    learner: nn.Module,
    family: TaskFamily,
    *,
    steps: int,
    out: str | Path | None = None,
    seed: int = 0,
    exist: Literal["error", "resume", "overwrite", "extend"] = "error",
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
    progress: bool | Progress | None = None,
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
        out: the run folder, made here. None keeps the run in memory, with a warning: it has metrics, the last and the
            best weights, cannot be resumed, and is gone with the `Run`.
        seed: of the batches and of all noise. The initial weights are the learner's own.
        exist: what to do if there is a run in `out`. "error": refuse. "resume": go on with it; a finished one is
            returned untouched. "overwrite": delete it, if the folder holds what `fit` wrote and nothing else. "extend":
            lengthen a finished run to `steps`, those that it has included; a schedule with a name begins anew with the
            added steps, a learner that anneals stays as it was at the end, and intervals stay what they were.
        tasks: in a batch; 25 as in the MAML paper's sinusoids.
        support, query: points per task; an inclusive range (low, high) is drawn from once per step.
        points: the most that support and query may have together.
        lr: of Adam, the default optimiser.
        optimizer: parameters -> `torch.optim.Optimizer`, in place of Adam.
        schedule: "constant", "cosine", "warmup_cosine", or step -> factor on the rate.
        clip: the largest norm of the meta-gradient.
        evaluate_every: steps between evaluations on held-out tasks; a 20th of the run by default.
        validation_tasks: how many held-out tasks, the same each time. Where support or query is a range, their sizes
            are evenly spaced from its low to its high end, whatever the seed.
        checkpoint_every: steps between checkpoints; a 10th of the run by default, at most 2000.
        log_every: steps between lines of metrics; a 200th of the run by default.
        patience: stop after so many evaluations without a better validation loss.
        compile: compile the meta-gradient; "auto" decides by shapes and step count.
        accumulate: take the batch, or a process's share of it, in so many slices, one after another, which bounds
            memory; the gradient is that of the whole.
        device: "auto" is a GPU if there is one; started by `torchrun`, each process takes its own.
        loggers: besides `metrics.jsonl`, and TensorBoard where it is installed.
        progress: True shows a bar, in a notebook or on stderr (where that is no terminal, a line every ten seconds);
            False shows nothing. By default there is a bar where a person watches: in a notebook, and where stderr is a
            terminal. A function of your own receives (step, steps, loss, steps per second).
        recipe, options, command: noted in `config.json` and `result.json`.

    Returns:
        The run; its `learner` is the one given, with the last weights.

    Raises:
        ValueError, TypeError: for bad arguments, before anything is written.
        FileExistsError: if `out` holds a run (with `exist="error"`) or anything else; with `exist="overwrite"` if it
            holds something that `fit` did not write.
        BlockingIOError: if another process trains there.
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
    request = make_request(out=out, exist=exist, compile=compile, device=device, loggers=loggers, progress=progress)
    world = find_world()
    plan = make_plan(
        steps=steps,
        seed=seed,
        tasks=tasks,
        support=support,
        query=query,
        points=points,
        lr=lr,
        optimizer=optimizer,
        schedule=schedule,
        clip=clip,
        evaluate_every=evaluate_every,
        validation_tasks=validation_tasks,
        accumulate=accumulate,
        checkpoint_every=checkpoint_every,
        log_every=log_every,
        patience=patience,
        planned=world.once(lambda: planned_steps(request.out, exist)),
    )
    give_notice(request)
    return _fit(learner, family, plan, request, make_notes(recipe, options, command), world)


def _fit(learner: nn.Module, family: TaskFamily, plan: Plan, request: Request, notes: Notes, world: World) -> Run:
    check_learner(learner)
    check_trainable(learner)
    check_family(family)
    if world.size > 1 and request.out is None:
        raise ValueError(f"out=None keeps a run in one process, and there are {world.size}; give out=")
    check_dealt(plan.tasks, world.size, plan.accumulate)
    config = describe_run(learner, family, vars(plan)) | vars(notes) | _environment(learner, request, world)
    _check_alike(config, world)
    session = Session(request, learner, config, world)
    if session.is_finished():
        return session.run()
    with surroundings(learner, session.config):
        world.spread(learner)
        batches, first, validation = _check_together(learner, family, plan, session.config["device"], world)
        updates = _make_updates(session, plan)
        gradient = _make_gradient(session, plan, first)
        with session.open(updates) as at:
            if not at.finished:
                with session.recording(at, plan.steps, *_own_loggers(request)) as recorder:
                    Loop(
                        session,
                        plan,
                        at,
                        recorder,
                        batches=batches,
                        gradient=gradient,
                        updates=updates,
                        validation=validation,
                    ).run()
        return session.run()


def _environment(learner: nn.Module, request: Request, world: World) -> dict[str, Any]:
    """What `config.json` says of how and where the learner is trained."""
    return {
        "engine": resolved_engine(learner),
        "verify": verification(learner, bool(request.compile)),
        "compile": request.compile,
        "threads": torch.get_num_threads(),
        "device": str(world.together(lambda: world.pick(request.device))),
        "processes": world.size,
        "job": job(),
    }


def _check_alike(config: dict[str, Any], world: World) -> None:
    """Raise ValueError, in all processes, unless all of them were started alike."""
    if world.size > 1:
        told = world.once(lambda: config)
        world.together(lambda: check_alike(config, told, world.rank))


def _check_together(
    learner: nn.Module, family: TaskFamily, plan: Plan, device: str, world: World
) -> tuple[Batches, Tasks, Validation]:
    """What training needs, tried once before anything is written: the tasks, and the learner on held-out ones."""
    sizes: dict[str, Any] = {"support": plan.support, "query": plan.query, "points": plan.points}
    batches = Batches(family, seed=plan.seed, tasks=plan.tasks, **sizes, device=device)

    def draw() -> tuple[Tasks, list[Tasks]]:
        held_out, counts = batches.validation(plan.validation_tasks), batches.validation_sizes(plan.validation_tasks)
        first = batches(0)
        for tasks, count in ((first, plan.tasks), (held_out[0], counts[0].tasks)):
            check_drawn(tasks, count)
            check_fits(learner, tasks.support)
        return first, held_out

    first, held_out = world.together(draw)
    validation = Validation(learner, held_out, plan.seed, world, plan.accumulate)
    validation()
    return batches, first, validation


def _make_updates(session: Session, plan: Plan) -> Updates:
    factor = plan.factor(session.from_step)
    return Updates(session.learner, lr=plan.lr, optimizer=plan.optimizer, schedule=factor, clip=plan.clip)


def _own_loggers(request: Request) -> list[Logger]:
    """Those that `fit` uses by itself."""
    return [TensorBoard()] if request.out is not None and available() else []


def _make_gradient(session: Session, plan: Plan, first: Tasks) -> Gradient:
    """The meta-gradient of a whole batch, tried on the first one; a new run notes in its config what was decided."""
    learner, config, world = session.learner, session.config, session.world
    asked, fixed = session.request.compile, plan.fixed_sizes
    if not session.begun:
        config["compile"] = world.once(lambda: decide(asked, learner, plan.steps, first, fixed_sizes=fixed))
    gradient = _try_gradient(session, deal(first, world, plan.accumulate)[0])
    if not session.begun:
        config["verify"] = verification(learner, config["compile"])
    if world.size * plan.accumulate > 1:
        return Shared(learner, gradient, world, plan.accumulate)
    return gradient


def _try_gradient(session: Session, share: Share) -> Gradient:
    """The gradient of a slice, tried on the first one; eager where "auto" could not compile it."""
    learner, config, world = session.learner, session.config, session.world
    gradient, noise = make_gradient(learner, config["compile"]), mix(config["seed"], 0, Stream.NOISE)
    look = compare if config["compile"] else attempt
    try:
        world.together(lambda: look(learner, gradient, share.tasks, noise))
    except Untraceable as error:
        if session.request.compile != "auto":
            raise ValueError(f"compile=True: {error}; use compile=False or 'auto'") from error
        config["compile"] = False
        gradient = make_gradient(learner, False)
        world.together(lambda: attempt(learner, gradient, share.tasks, noise))
    return gradient
