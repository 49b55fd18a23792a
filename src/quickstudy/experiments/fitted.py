"""Resume and measure runs that `quickstudy.fit` and `quickstudy.rl.fit` made without a recipe.

The learner and the tasks are rebuilt from the description in the run, by names in fixed tables. If a part of them is
code or data from outside quickstudy, which a run does not contain, the error says what to write in Python.
"""

import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

import quickstudy as qs
from quickstudy.evaluation.intervals import Metric
from quickstudy.experiments.stage import Reporter
from quickstudy.report.runs import read_config, read_result
from quickstudy.runs.atomic import newest
from quickstudy.runs.rebuild.families import ForeignFamilyError, from_spec
from quickstudy.runs.run import BEST, LAST, add_metrics
from quickstudy.training.plan import Plan, intervals
from quickstudy.training.schedules import SCHEDULES

TASKS, RL_TASKS = 600, 40  # unseen tasks to measure on: of a family, and of an environment
DTYPES = {"float32": torch.float32, "float64": torch.float64}


class ForeignRunError(ValueError):
    """A run has parts from outside quickstudy and cannot be rebuilt; the message says what to write in Python."""


class Fitted(NamedTuple):
    """A run of `fit`, as its `config.json` describes it.

    Args:
        path: the run folder.
        config: the content of its `config.json`.
    """

    path: Path
    config: dict[str, Any]

    @property
    def outer(self) -> Path | None:
        """The folder of the run that this one is a part of, or None."""
        above = self.path.resolve().parent
        return above if (above / "config.json").exists() else None

    @property
    def acts(self) -> bool:
        """Whether `quickstudy.rl.fit` made the run."""
        return "support" not in self.config

    def arguments(self) -> dict[str, Any]:
        """The arguments of `fit` that the run depends on."""
        names = ("steps", "seed", "tasks", "checkpoint_every") if self.acts else tuple(Plan.__dataclass_fields__)
        values = {name: self.config.get(name) for name in names}
        if not self.acts and values["clip"] is None:
            values["clip"] = math.inf  # None stands for the learner's default
        return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}

    def call(self) -> str:
        """The Python code that continues the run by `fit`."""
        fit = qs.rl.fit if self.acts else qs.fit
        defaults = {name: p.default for name, p in inspect.signature(fit).parameters.items()}
        defaults |= {} if self.acts else intervals(self.config["steps"])
        given = {name: value for name, value in self.arguments().items() if value != defaults[name]}
        code = {name: value if name in ("optimizer", "schedule") else repr(value) for name, value in given.items()}
        code |= {"schedule": repr(given["schedule"])} if given.get("schedule") in SCHEDULES else {}
        code |= {"clip": "float('inf')"} if given.get("clip") == math.inf else {}
        options = ", ".join(f"{name}={value}" for name, value in code.items())
        start = "qs.rl.fit(learner, environment" if self.acts else "qs.fit(learner, family"
        return f"{start}, {options}, out={str(self.path)!r}, exist='resume')"

    def measurement(self, sizes: Sequence[int]) -> str:
        """The Python code that measures the run."""
        spec = self.config["learner"]
        foreign = spec.get("class") is None or any(
            isinstance(v, dict) and v.get("class", "") is None for v in spec.values()
        )
        options = ["which='last'"] * self.acts + ["learner=learner"] * foreign
        learner = f"qs.load({', '.join([repr(str(self.path)), *options])})"
        if self.acts:
            return f"qs.rl.evaluate({learner}, environment)"
        return f"qs.evaluate({learner}, family, support={sizes[0] if len(sizes) == 1 else tuple(sizes)})"


def find(path: Path) -> Fitted | None:
    """The run at `path`, or None if it is the run of a recipe. Raises FileNotFoundError if there is no run.

    A part of a recipe's run is a run of `fit`, too.
    """
    config = read_config(path)
    return Fitted(path, config) if config.get("recipe") is None and "learner" in config else None


def resume(run: Fitted, reporter: Reporter) -> dict[str, Any]:
    """Train the run to its end; return the content of `result.json`.

    Raises:
        ForeignRunError: if a part of the run cannot be rebuilt.
        ValueError, OSError: as `quickstudy.fit`.
    """
    arguments = run.arguments()
    functions = {name: arguments.get(name) for name in ("optimizer", "schedule")}
    with _dtype(run):
        learner, family, problems = _rebuilt(run, "last", run.config.get("device"))
        problems += [
            f"its {name} is a function from outside quickstudy, {value}"
            for name, value in functions.items()
            if _is_function(value)
        ]
        if problems:
            raise ForeignRunError(
                f"{run.path} cannot be resumed from the command line: {'; '.join(problems)}. In Python, build the "
                f"same objects and call `{run.call()}`"
            )
        resuming: dict[str, Any] = {"out": run.path, "exist": "resume", "command": run.config.get("command")}
        with reporter.training(type(learner).__name__) as progress:
            fit: Callable[..., Any] = qs.rl.fit if run.acts else qs.fit
            fit(learner, family, **arguments, **resuming, progress=progress)
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
        tasks: number of unseen tasks; by default 600, or 40 for a policy.
        support: numbers of support points of each task; by default as in training (both ends and the middle of a
            range). For a policy: numbers of episodes before every gradient step.
        steps: numbers of gradient steps after which to measure; by default the number in training, and some others.
        which: weights to measure; by default the best, if there are any.
        seed: seed of the unseen tasks; by default 0.

    Raises:
        ForeignRunError: if a part of the run cannot be rebuilt.
        ValueError: if an argument is invalid.
    """
    which = which or ("last" if newest(run.path / BEST) is None else "best")
    sizes = tuple(support) or _sizes(run.config.get("support", ()))
    with _dtype(run):
        learner, family, problems = _rebuilt(run, which, "cpu")
        if problems:
            raise ForeignRunError(
                f"{run.path} cannot be measured from the command line: {'; '.join(problems)}. In Python, build the "
                f"same objects and call `{run.measurement(sizes)}`"
            )
        if steps and not isinstance(getattr(learner, "steps", None), int):
            raise ValueError(f"{type(learner).__name__} adapts without gradient steps; leave --steps out")
        if not run.acts:
            options: dict[str, Any] = {"tasks": tasks or TASKS, "support": sizes, "steps": tuple(steps) or None}
            return qs.evaluate(learner, family, seed=seed or 0, **options)
        found: dict[str, Metric] = {}
        for episodes in sizes or (family.num_envs,):
            environment = from_spec(_with_episodes(run.config["family_spec"], episodes), "cpu")
            label = f"/k={episodes}" if len(sizes) > 1 else ""
            counts = tuple(steps) or None
            each = qs.rl.evaluate(learner, environment, tasks=tasks or RL_TASKS, steps=counts, seed=seed or 0)
            found |= {name.replace("/", f"{label}/", 1): metric for name, metric in each.items()}
        return found


def write(run: Fitted, metrics: Mapping[str, Metric]) -> None:
    """Add metrics to the `result.json` of a finished run. Raises ValueError if the run is not finished."""
    if not read_result(run.path):
        raise ValueError(
            f"{run.path} is not finished and has no result.json; leave --write out, or resume the run first"
        )
    add_metrics(run.path, metrics)


def _rebuilt(run: Fitted, which: Literal["best", "last"], device: str | None) -> tuple[Any, Any, list[str]]:
    """The learner with a checkpoint's weights, the family or environment, and reasons why they cannot be rebuilt."""
    if newest(run.path / LAST) is None:
        raise ValueError(
            f"{run.path} has no checkpoint: it was stopped before its first step, and its initial weights are lost; "
            "train it again from Python"
        )
    learner, family, problems = None, None, list[str]()
    try:
        learner = qs.load(run.path, which=which)
    except ValueError as error:
        problems.append(str(error).split("; ")[0])
    spec = run.config.get("family_spec")
    try:
        family = None if spec is None else from_spec(spec, device)
    except ForeignFamilyError as error:
        problems.append(f"its tasks come from {error}, code or data from outside quickstudy")
    except ValueError as error:
        raise ValueError(f"{run.path}: {error}") from None
    if spec is None:
        problems.append("an earlier version made it, which did not store a description of the tasks")
    return learner, family, problems


def _is_function(value: Any) -> bool:
    return value is not None and value not in SCHEDULES


def _sizes(support: Any) -> tuple[int, ...]:
    """The numbers of support points to measure with: the one of training, or both ends and the middle of a range."""
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
    """Set torch's default dtype to that of the training, which is the dtype of the tasks."""
    before, name = torch.get_default_dtype(), run.config.get("dtype")
    if name not in DTYPES:
        raise ValueError(f"{run.path}/config.json has dtype={name!r}; expected one of {', '.join(DTYPES)}")
    torch.set_default_dtype(DTYPES[name])
    try:
        yield
    finally:
        torch.set_default_dtype(before)
