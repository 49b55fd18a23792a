"""Runs that `quickstudy.fit` and `quickstudy.rl.fit` made, without a recipe: resumed, and measured again.

Learner and tasks are rebuilt from the run's own description, by names in fixed tables. Where a part of them is code or
data of the author's own, which no run holds, the error says what to write in Python.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

import quickstudy as qs
from quickstudy.chance import Stream, mix
from quickstudy.evaluation.intervals import Metric, over_tasks
from quickstudy.experiments.execute import write_json
from quickstudy.experiments.stage import Reporter
from quickstudy.report.runs import read_config, read_result
from quickstudy.runs.rebuild.families import ForeignFamilyError, from_spec
from quickstudy.runs.run import BEST, LAST
from quickstudy.training.plan import Plan, intervals
from quickstudy.training.schedules import SCHEDULES

TASKS, ACTED_IN = 600, 40  # unseen tasks to measure on: of a family, and of an environment
DTYPES = {"float32": torch.float32, "float64": torch.float64}


class ForeignRunError(ValueError):
    """A run with parts that no file holds; the message says what to write in Python."""


class Fitted(NamedTuple):
    """A run of `fit`, as its `config.json` describes it.

    Args:
        path: the run folder.
        config: its `config.json`.
    """

    path: Path
    config: dict[str, Any]

    @property
    def outer(self) -> Path | None:
        """The run of which this one is a part."""
        above = self.path.resolve().parent
        return above if (above / "config.json").exists() else None

    @property
    def acts(self) -> bool:
        """Whether `quickstudy.rl.fit` made it."""
        return "support" not in self.config

    def arguments(self) -> dict[str, Any]:
        """The arguments of `fit` that make the run what it is."""
        names = ("steps", "seed", "tasks", "checkpoint_every") if self.acts else tuple(Plan.__dataclass_fields__)
        values = {name: self.config.get(name) for name in names}
        return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}

    def call(self) -> str:
        """The call of `fit` that goes on with the run, as one would write it in Python."""
        fit = qs.rl.fit if self.acts else qs.fit
        usual = {name: p.default for name, p in inspect.signature(fit).parameters.items()}
        usual |= {} if self.acts else intervals(self.config["steps"])
        own = {name: value for name, value in self.arguments().items() if value != usual[name]}
        words = {name: value if name in ("optimizer", "schedule") else repr(value) for name, value in own.items()}
        words |= {"schedule": repr(own["schedule"])} if own.get("schedule") in SCHEDULES else {}
        told = ", ".join(f"{name}={word}" for name, word in words.items())
        names = "qs.rl.fit(learner, environment" if self.acts else "qs.fit(learner, family"
        return f"{names}, {told}, out={str(self.path)!r}, exist='resume')"

    def measurement(self, sizes: Sequence[int]) -> str:
        """The call that measures the run, as one would write it in Python."""
        spec = self.config["learner"]
        foreign = spec.get("class") is None or any(
            isinstance(v, dict) and v.get("class", "") is None for v in spec.values()
        )
        learner = f"qs.load({str(self.path)!r}, {'learner=learner' if foreign else ''})".replace(", )", ")")
        if self.acts:
            return f"{learner}.actor().rollout(environment)"
        return f"qs.evaluate({learner}, family, support={sizes[0] if len(sizes) == 1 else tuple(sizes)})"


def find(path: Path) -> Fitted | None:
    """The run at `path`, if `fit` made it: by itself, or as a part of a recipe's. Raises FileNotFoundError."""
    config = read_config(path)
    return Fitted(path, config) if config.get("recipe") is None and "learner" in config else None


def resume(run: Fitted, reporter: Reporter) -> dict[str, Any]:
    """Train the run to its end; returns what `result.json` holds.

    Raises:
        ForeignRunError: if a part of it cannot be rebuilt.
        ValueError, OSError: as `quickstudy.fit`.
    """
    arguments = run.arguments()
    functions = {name: arguments.get(name) for name in ("optimizer", "schedule")}
    with _dtype(run):
        learner, family, own = _rebuilt(run, "last", run.config.get("device"))
        own += [
            f"its {name} is a function of its author's own, {value}" for name, value in functions.items() if _own(value)
        ]
        if own:
            raise ForeignRunError(
                f"{run.path} cannot be resumed from the command line: {'; '.join(own)}. In Python, build them as then "
                f"and call `{run.call()}`"
            )
        how: dict[str, Any] = {"out": run.path, "exist": "resume", "command": run.config.get("command")}
        with reporter.training(type(learner).__name__) as progress:
            fit: Callable[..., Any] = qs.rl.fit if run.acts else qs.fit
            fit(learner, family, **arguments, **how, progress=progress)
    return read_result(run.path)


def evaluate(
    run: Fitted,
    *,
    tasks: int | None = None,
    support: Sequence[int] = (),
    steps: Sequence[int] = (),
    which: Literal["best", "last"] | None = None,
    seed: int | None = None,
) -> dict[str, Metric]:
    """Measure the run on unseen tasks.

    Args:
        tasks: how many; 600 by default, and 40 for what acts.
        support: support points of each task, by default those of training (of a range both ends and the middle); for
            what acts episodes before every gradient step, by default as in training.
        steps: gradient steps after which to measure; by default those of training, and some more.
        which: weights; by default the best, if there are any.
        seed: of the unseen tasks.

    Raises:
        ForeignRunError: if a part of the run cannot be rebuilt.
        ValueError: for bad arguments.
    """
    which = which or ("best" if (run.path / BEST).is_dir() else "last")
    sizes = tuple(support) or _sizes(run.config.get("support", ()))
    with _dtype(run):
        learner, family, own = _rebuilt(run, which, "cpu")
        if own:
            raise ForeignRunError(
                f"{run.path} cannot be measured from the command line: {'; '.join(own)}. In Python, build them as then "
                f"and call `{run.measurement(sizes)}`"
            )
        if steps and not isinstance(getattr(learner, "steps", None), int):
            raise ValueError(f"{type(learner).__name__} adapts without gradient steps; leave --steps out")
        if not run.acts:
            how: dict[str, Any] = {"tasks": tasks or TASKS, "support": sizes, "steps": tuple(steps) or None}
            return qs.evaluate(learner, family, seed=seed or 0, **how)
        found: dict[str, Metric] = {}
        for episodes in sizes or (family.num_envs,):
            board = from_spec(_with_episodes(run.config["family_spec"], episodes), "cpu")
            label = f"/k={episodes}" if len(sizes) > 1 else ""
            each = returns(learner, board, tasks or ACTED_IN, tuple(steps) or range(learner.steps + 1), seed or 0)
            found |= {f"return{label}/steps={step}": metric for step, metric in each.items()}
        return found


def write(run: Fitted, metrics: Mapping[str, Metric]) -> None:
    """Put metrics into the `result.json` of a finished run, beside those that it has. Raises ValueError otherwise."""
    result = read_result(run.path)
    if not result:
        raise ValueError(f"{run.path} is not finished, and has no result.json to write into; leave --write out")
    found = {**result["metrics"], **{name: metric.to_json() for name, metric in metrics.items()}}
    write_json(run.path / "result.json", {**result, "metrics": found})


def returns(learner: Any, environment: Any, tasks: int, steps: Sequence[int], seed: int) -> dict[int, Metric]:
    """Mean return of an episode in unseen tasks, by the number of gradient steps after which it is measured."""
    chance = torch.Generator().manual_seed(mix(seed, 0, Stream.EVALUATION))
    environment.set_tasks(environment.sample_tasks(tasks, split="test", generator=chance))
    actor, found = learner.actor(), {}
    for step in range(max(steps) + 1):
        episodes = actor.rollout(environment, generator=chance)
        if step in steps:
            found[step] = over_tasks(episodes.returns().mean(1))
        actor = actor.adapt(episodes) if step < max(steps) else actor
    return found


def _rebuilt(run: Fitted, which: Literal["best", "last"], device: str | None) -> tuple[Any, Any, list[str]]:
    """The learner, with the weights of a checkpoint, and the family or environment; and what of them cannot be had."""
    if not (run.path / LAST).exists():
        raise ValueError(
            f"{run.path} has no checkpoint: it was stopped before its first step, and its initial weights are lost; "
            "train it anew from Python"
        )
    learner, family, own = None, None, list[str]()
    try:
        learner = qs.load(run.path, which=which)
    except ValueError as error:
        own.append(str(error).split("; ")[0])
    spec = run.config.get("family_spec")
    try:
        family = None if spec is None else from_spec(spec, device)
    except ForeignFamilyError as error:
        own.append(f"its tasks come from {error}, code or data of its author's own")
    except ValueError as error:
        raise ValueError(f"{run.path}: {error}") from None
    if spec is None:
        own.append("it was made by an earlier version, which did not describe its tasks")
    return learner, family, own


def _own(value: Any) -> bool:
    return value is not None and value not in SCHEDULES


def _sizes(support: Any) -> tuple[int, ...]:
    """The numbers of support points to measure with: that of training, or both ends of a range and its middle."""
    if isinstance(support, list):
        low, high = support
        return tuple(sorted({low, (low + high) // 2, high}))
    return () if support == () else (support,)


def _with_episodes(spec: dict[str, Any], episodes: int) -> dict[str, Any]:
    if "environment" in spec:
        return spec | {"environment": _with_episodes(spec["environment"], episodes)}
    return spec | {"num_envs": episodes}


@contextmanager
def _dtype(run: Fitted) -> Iterator[None]:
    """torch's default type as it was in training, which is the type of the tasks."""
    before, name = torch.get_default_dtype(), run.config.get("dtype")
    if name not in DTYPES:
        raise ValueError(f"{run.path}/config.json has dtype={name!r}; expected one of {', '.join(DTYPES)}")
    torch.set_default_dtype(DTYPES[name])
    try:
        yield
    finally:
        torch.set_default_dtype(before)
