"""`fit`: meta-train a learner on a family of tasks, into a run folder that survives being killed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from quickstudy.chance import Stream, mix
from quickstudy.checks import check_fits
from quickstudy.checks.keywords import advises
from quickstudy.compiling.compiled import Gradient
from quickstudy.compiling.graph import Untraceable
from quickstudy.data import Tasks
from quickstudy.learner import (
    TaskFamily,
    check_drawn,
    check_family,
    check_learner,
    check_trainable,
    training_defaults,
)
from quickstudy.parallel.distributed import World, find_world, job
from quickstudy.parallel.shares import Share, Shared, check_dealt, deal
from quickstudy.runs.config import check_alike, describe_run
from quickstudy.runs.resume import planned_steps
from quickstudy.runs.run import Run
from quickstudy.training.arguments import Notes, Request, give_notice, make_notes, make_request
from quickstudy.training.batches import Batches, Size
from quickstudy.training.buckets import Buckets
from quickstudy.training.gradients import (
    attempt,
    buckets_of,
    compare,
    decide,
    make_gradient,
    resolved_engine,
    verification,
)
from quickstudy.training.loggers import Logger
from quickstudy.training.loggers.tensorboard import standard
from quickstudy.training.loop import Loop
from quickstudy.training.plan import Plan, make_plan
from quickstudy.training.recorder import Progress
from quickstudy.training.schedules import Schedule
from quickstudy.training.session import Session
from quickstudy.training.surroundings import surroundings
from quickstudy.training.updates import OptimizerMaker, Updates
from quickstudy.training.validation import Validation


@advises
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
    lr: float | None = None,
    optimizer: OptimizerMaker | None = None,
    schedule: str | Schedule | None = None,
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

    A run that is killed at any moment, and resumed by the same call with `exist="resume"`, ends with exactly the same
    weights and metrics on the same machine and torch version. The learner is trained in training mode and validated in
    eval mode. Under `torchrun`, all processes train one run together.

    Args:
        learner: the learner; its parameters that require grad are trained.
        family: the tasks to train and validate on.
        steps: number of updates of the meta-parameters.
        out: the run folder, which is created. With None the run is kept in memory, with a warning: it has metrics and
            the last and the best weights, but cannot be resumed.
        seed: seed of the batches and of all noise. The initial weights are the learner's own.
        exist: what to do if `out` holds a run. "error": raise FileExistsError. "resume": continue it; a finished run is
            returned unchanged. "overwrite": delete it, if the folder holds only files that `fit` wrote. "extend":
            lengthen a finished run to `steps` steps in all; a named schedule starts again for the added steps, a
            learner that anneals stays as it was at the end, and intervals stay as they were.
        tasks: number of tasks in a batch; 25 as in the MAML paper's sinusoids.
        support, query: points per task; from an inclusive range (low, high) the number is drawn at each step.
        points: largest number of support and query points together.
        lr: learning rate of Adam, the default optimiser; by default the learner's (`training_defaults`), or 0.001.
        optimizer: function parameters -> `torch.optim.Optimizer`, in place of Adam.
        schedule: "constant", "cosine", "warmup_cosine", or a function step -> factor on the rate; by default the
            learner's, or "constant".
        clip: largest norm of the meta-gradient; larger gradients are scaled down to it. By default the learner's, or
            no limit, which is `math.inf`.
        evaluate_every: steps between evaluations on validation tasks; by default a 20th of the run.
        validation_tasks: number of validation tasks, which are the same each time. If support or query is a range,
            their sizes are evenly spaced from its low to its high end, for every seed.
        checkpoint_every: steps between checkpoints; by default a 10th of the run, at most 2000.
        log_every: steps between lines of metrics; by default a 200th of the run.
        patience: stop after so many evaluations without a better validation loss.
        compile: whether to compile the meta-gradient; "auto" decides by shapes and number of steps. Processes with
            ranges of sizes are compiled for two sizes of each range, to which batches are padded.
        accumulate: number of slices into which the batch, or a process's share of it, is divided. They are computed one
            after another, which needs less memory; the gradient is that of the whole batch.
        device: "auto" is a GPU if there is one; under `torchrun`, each process takes its own.
        loggers: loggers besides `metrics.jsonl`, and TensorBoard if it is installed.
        progress: True shows a bar in a notebook or on stderr (a line every ten seconds if stderr is not a terminal);
            False shows nothing. By default there is a bar in notebooks and if stderr is a terminal. A function of your
            own receives (step, steps, loss, steps per second).
        recipe, options, command: facts that are written to `config.json` and `result.json`.

    Returns:
        The run; its `learner` is the one given, with the last weights.

    Raises:
        ValueError, TypeError: for bad arguments, before anything is written.
        FileExistsError: if `out` holds a run (with `exist="error"`) or anything else; with `exist="overwrite"` if it
            holds something that `fit` did not write.
        BlockingIOError: if another process is training in `out`.
        NonFiniteLossError: if the loss or its gradient is not finite; the last good checkpoint is kept.
        CheckpointError: if the run to resume is damaged.
        OSError: if the disk is full or cannot be written; the last checkpoint is kept.
        LostProcessError: if another process of the training has died; the last checkpoint is kept.

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
        defaults=training_defaults(learner),
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
        world.broadcast(learner)
        batches, first, validation = _check_together(learner, family, plan, session.config["device"], world)
        updates = _make_updates(session, plan)
        gradient = _make_gradient(session, plan, first)
        with session.open(updates) as at:
            if not at.finished:
                with session.recording(at, plan.steps, *standard(request.out)) as recorder:
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
    """Return the entries of `config.json` about how and where the learner is trained."""
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
    """Raise ValueError in all processes unless all of them have the same arguments."""
    if world.size > 1:
        of_first = world.once(lambda: config)
        world.together(lambda: check_alike(config, of_first, world.rank))


def _check_together(
    learner: nn.Module, family: TaskFamily, plan: Plan, device: str, world: World
) -> tuple[Batches, Tasks, Validation]:
    """Make and try batches and validation before anything is written; returns them with the first batch."""
    sizes: dict[str, Any] = {"support": plan.support, "query": plan.query, "points": plan.points}
    batches = Batches(family, seed=plan.seed, tasks=plan.tasks, **sizes, device=device)

    def draw() -> tuple[Tasks, list[Tasks]]:
        drawn, counts = batches.validation(plan.validation_tasks), batches.validation_sizes(plan.validation_tasks)
        first = batches(0)
        for tasks, count in ((first, plan.tasks), (drawn[0], counts[0].tasks)):
            check_drawn(tasks, count, learner)
            check_fits(learner, tasks.support)
        return first, drawn

    first, validation_tasks = world.together(draw)
    validation = Validation(learner, validation_tasks, plan.seed, world, plan.accumulate)
    validation()
    return batches, first, validation


def _make_updates(session: Session, plan: Plan) -> Updates:
    factor = plan.factor(session.from_step)
    return Updates(session.learner, lr=plan.lr, optimizer=plan.optimizer, schedule=factor, clip=plan.clip)


def _make_gradient(session: Session, plan: Plan, first: Tasks) -> Gradient:
    """Return the meta-gradient of a batch, tried on the first; a new run gets `compile` and `verify` in its config."""
    learner, config, world = session.learner, session.config, session.world
    asked, fixed = session.request.compile, plan.fixed_sizes
    if not session.begun:
        config["compile"] = world.once(lambda: decide(asked, learner, plan.steps, first, fixed_sizes=fixed))
    buckets = buckets_of(learner, plan.support, plan.query)
    gradient = _try_gradient(session, deal(first, world, plan.accumulate)[0], buckets)
    if not session.begun:
        config["verify"] = verification(learner, config["compile"])
    if world.size * plan.accumulate > 1:
        return Shared(learner, gradient, world, plan.accumulate)
    return gradient


def _try_gradient(session: Session, share: Share, buckets: Buckets | None) -> Gradient:
    """Return the gradient of a slice, tried on the first one; eager if "auto" could not compile it."""
    learner, config, world = session.learner, session.config, session.world
    gradient, noise = make_gradient(learner, config["compile"], buckets), mix(config["seed"], 0, Stream.NOISE)
    check = compare if config["compile"] else attempt
    try:
        world.together(lambda: check(learner, gradient, share.tasks, noise))
    except Untraceable as error:
        if session.request.compile != "auto":
            raise ValueError(f"compile=True: {error}; use compile=False or 'auto'") from error
        config["compile"] = False
        gradient = make_gradient(learner, False)
        world.together(lambda: attempt(learner, gradient, share.tasks, noise))
    return gradient
