"""`quickstudy.rl.fit`: meta-train a policy, with a run folder from which a killed run can be resumed."""

import math
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from quickstudy.chance import Stream, mix
from quickstudy.checks import check_whole
from quickstudy.checks.keywords import advises
from quickstudy.devices import pick_device
from quickstudy.evaluation.intervals import over_tasks
from quickstudy.evaluation.modes import evaluating
from quickstudy.learner import check_trainable
from quickstudy.parallel.distributed import find_world
from quickstudy.rl.environment import Environment, home
from quickstudy.rl.envs.described import described, distribution
from quickstudy.rl.envs.failure import EnvironmentFailure
from quickstudy.rl.envs.stepping import set_drawn
from quickstudy.runs.config import describe_run
from quickstudy.runs.metrics_file import read_metrics
from quickstudy.runs.run import LAST, Run
from quickstudy.runs.signals import Signals
from quickstudy.runs.standing import Standing
from quickstudy.training.arguments import give_notice, make_notes, make_request
from quickstudy.training.loggers import Logger
from quickstudy.training.loggers.tensorboard import standard
from quickstudy.training.loop import NonFiniteLossError
from quickstudy.training.recorder import Progress, Recorder
from quickstudy.training.session import Session
from quickstudy.training.surroundings import surroundings

REFUSED = 5  # updates in a row, after which there is a warning


@advises
def fit(
    learner: nn.Module,
    environment: Environment,
    *,
    steps: int,
    out: str | Path | None = None,
    seed: int = 0,
    exist: Literal["error", "resume", "overwrite", "extend"] = "error",
    tasks: int = 20,
    checkpoint_every: int = 10,
    device: torch.device | str = "auto",
    loggers: Sequence[Logger] = (),
    progress: bool | Progress | None = None,
    recipe: str | None = None,
    options: dict[str, Any] | None = None,
    command: str | None = None,
) -> Run:
    """Meta-train `learner` on tasks of `environment`, in place, and keep everything in the folder `out`.

    The tasks of a step and all random numbers of its episodes are a pure function of (seed, step), so that a run that
    is killed at any moment, and resumed by the same call with `exist="resume"`, ends with exactly the same weights.
    `metrics.jsonl` has one line for each step: the returns after 0, 1, ... inner steps, `loss` (minus the last of
    them), the number of transitions, `environment_steps` (their sum so far), `environment_steps_per_second`, and, with
    a trust region, the `reason` why the update was accepted or not. TensorBoard has the numbers, if it is installed.

    A resume with another environment is an error that names the option that differs; so is one with another
    distribution of tasks, of which a few draws are compared. The environment is left open, as it is yours.

    Args:
        learner: a learner with `update(environment, generator=...) -> metrics` and `practise(environment,
            generator=...)`, such as `MAMLTRPO`. If it has an `optimizer`, checkpoints include its state.
        environment: an environment; its number of environments per task is the number of episodes for each inner step.
        steps: number of updates.
        tasks: T, the number of tasks in an update.
        checkpoint_every: steps between checkpoints.
        device: device of the environment; "auto" reads it from the environment.
        out, seed, exist, loggers, progress, recipe, options, command: as in `quickstudy.fit`.

    Raises:
        ValueError, TypeError: for bad arguments, before anything is written.
        FileExistsError: if `out` holds a run (with `exist="error"`) or anything else; with `exist="overwrite"` if it
            holds something that `fit` did not write.
        NonFiniteLossError: if returns or parameters are not finite; the last good checkpoint is kept.
        EnvironmentFailure: if an environment fails; the last checkpoint is kept.

    Warns:
        RuntimeWarning: if a trust region refuses several updates in a row.

    >>> import quickstudy as qs, tempfile
    >>> learner = qs.rl.MAMLTRPO(qs.rl.GaussianPolicy(qs.nets.MLP(2, [8], 2), 2))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run = qs.rl.fit(learner, qs.rl.Navigation2D(num_envs=2, horizon=5), steps=2, tasks=2, out=f"{folder}/run")
    >>> run.steps, [line["step"] for line in run.metrics]
    (2, [1, 2])
    """
    world = find_world()
    if world.size > 1:
        raise ValueError("rl.fit trains in one process; start it without torchrun")
    request = make_request(out=out, exist=exist, device=device, loggers=loggers, progress=progress)
    notes = make_notes(recipe, options, command)
    check_trainable(learner)
    _check_acting(learner, environment)
    plan = Plan(
        steps=check_whole("steps", steps, 1),
        seed=check_whole("seed", seed, 0),
        tasks=check_whole("tasks", tasks, 1),
        checkpoint_every=check_whole("checkpoint_every", checkpoint_every, 1),
    )
    device = _device(device, environment)
    known = {"environment": described(environment), "task_distribution": distribution(environment, device)}
    config = known | describe_run(learner, environment, vars(plan)) | vars(notes)
    place = str(device)
    config |= {"compile": False, "threads": torch.get_num_threads(), "device": place}
    give_notice(request)
    session = Session(request, learner, config, world)
    if session.is_finished():
        return session.run()
    if session.config["device"] != place:
        raise ValueError(
            f"the run in {request.out} is on {session.config['device']!r}, and the environment on {place!r}; "
            f"build it with device={session.config['device']!r}"
        )
    with surroundings(learner, session.config):
        with session.open(getattr(learner, "optimizer", None)) as at:
            if not at.finished:
                with session.recording(at, plan.steps, *standard(request.out)) as recorder:
                    assert recorder is not None
                    _train(session, environment, plan, at, recorder)
        return session.run()


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Arguments of `fit` by their names. `config.json` holds all of them."""

    steps: int
    seed: int
    tasks: int
    checkpoint_every: int


def _check_acting(learner: nn.Module, environment: Any) -> None:
    """Raise TypeError unless the learner has the methods of a policy learner and the environment fits the contract."""
    for method in ("update", "practise"):
        if not callable(getattr(learner, method, None)):
            raise TypeError(f"{type(learner).__name__} has no {method}(environment, generator=...); use quickstudy.fit")
    if not isinstance(environment, Environment):
        raise TypeError(f"{type(environment).__name__} is not an environment; see quickstudy.rl.Environment")


def _device(device: torch.device | str, environment: Environment) -> torch.device:
    """Return the device of the environment, or `device` if the environment has no attribute `device`."""
    place = home(environment)
    if place is None:
        return torch.device("cpu") if device == "auto" else pick_device(device)
    if device != "auto" and pick_device(device).type != place.type:
        raise ValueError(
            f"device {str(device)!r}, and the environment is on {str(place)!r}; build it with device={str(device)!r}"
        )
    return place


def _train(session: Session, environment: Environment, plan: Plan, at: Standing, recorder: Recorder) -> None:
    transitions, refusals = _transitions(session, at.step), Refusals()
    with Signals() as signals:
        if at.step == 0:
            session.save(LAST, at, recorder)
        while at.step < plan.steps and signals.received is None:
            start = time.perf_counter()
            values, words = _update(session, environment, plan, at.step)
            at.step += 1
            if "transitions" in values:
                transitions += int(values["transitions"])
                rate = values["transitions"] / (time.perf_counter() - start)
                values |= {"environment_steps": transitions, "environment_steps_per_second": round(rate, 1)}
            recorder.record(at.step, values, words)
            refusals.see(values, words)
            last = at.step == plan.steps or signals.received is not None
            if last or at.step % plan.checkpoint_every == 0:
                session.save(LAST, at, recorder)
        if at.step == plan.steps:  # the last step is saved already, in case validation fails
            at.validation, at.finished = _validated(session, environment, plan), True
            session.save(LAST, at, recorder)
    signals.leave()


def _transitions(session: Session, steps: int) -> int:
    """The number of transitions in the first `steps` updates of a run that is continued."""
    lines = [] if session.request.out is None or not steps else read_metrics(session.request.out)
    return sum(int(line.get("transitions", 0)) for line in lines if line["step"] <= steps)


class Refusals:
    """Warns once if a trust region refuses update after update, so that nothing is learned."""

    def __init__(self) -> None:
        self._number = 0

    def see(self, values: Mapping[str, float], words: Mapping[str, str]) -> None:
        """Receive the metrics of an update."""
        self._number = self._number + 1 if values.get("accepted") == 0 else 0
        if self._number == REFUSED:
            warnings.warn(
                f"the trust region has refused the last {REFUSED} updates: {words.get('reason', 'it says not why')}; "
                "the policy does not change. metrics.jsonl has the reason of each update. Random outputs need a policy "
                "without dropout; other reasons a larger max_kl or damping, or more episodes",
                RuntimeWarning,
                stacklevel=6,
            )


def _update(
    session: Session, environment: Environment, plan: Plan, step: int
) -> tuple[dict[str, float], dict[str, str]]:
    """Take one update; return its metrics, numbers and words."""
    learner: Any = session.learner
    chance = torch.Generator(device=session.config["device"]).manual_seed(mix(plan.seed, step, Stream.BATCH))
    torch.manual_seed(mix(plan.seed, step, Stream.NOISE))
    try:
        set_drawn(environment, plan.tasks, generator=chance)
        found: dict[str, Any] = learner.update(environment, generator=chance)
    except (EnvironmentFailure, ValueError) as error:
        name = type(getattr(environment, "environment", environment)).__name__
        kind = EnvironmentFailure if isinstance(error, EnvironmentFailure) else ValueError
        left = session.what_is_left()
        left += "" if session.last is None else ", from which exist='resume' continues"
        raise kind(f"{error} ({name}, in update {step + 1} of seed {plan.seed}; {left})") from error
    words = {name: value for name, value in found.items() if isinstance(value, str)}
    values = {name: value for name, value in found.items() if name not in words}
    bad = [name for name, value in values.items() if name.startswith(("loss", "return")) and not math.isfinite(value)]
    bad += [name for name, p in learner.named_parameters() if not bool(p.isfinite().all())]
    if bad:
        raise NonFiniteLossError(
            f"{bad[0]} is not finite after step {step} (seed {plan.seed}); {session.what_is_left()}; try a smaller lr",
            step=step,
            seed=plan.seed,
            checkpoint=session.last,
        )
    return {name: value for name, value in values.items() if math.isfinite(value)}, words


def _validated(session: Session, environment: Environment, plan: Plan) -> dict[str, Any]:
    """Return minus the mean return after adapting, on `plan.tasks` tasks of the validation split."""
    learner: Any = session.learner
    chance = torch.Generator(device=session.config["device"]).manual_seed(mix(plan.seed, 0, Stream.VALIDATION))
    set_drawn(environment, plan.tasks, split="validation", generator=chance)
    with evaluating(learner):
        last = learner.practise(environment, generator=chance).episodes[-1]
    return over_tasks(-last.returns().mean(1)).to_json()
