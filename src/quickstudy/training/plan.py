"""The plan of a training: the arguments of `fit` that determine its result, with defaults filled in."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

from quickstudy.checks import check_positive, check_whole
from quickstudy.learner import USUAL
from quickstudy.training.batches import Size, as_range
from quickstudy.training.schedules import Schedule, make_schedule
from quickstudy.training.updates import OptimizerMaker, check_maker


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Arguments of `fit` by their names. `config.json` holds all of them."""

    steps: int
    seed: int
    tasks: int
    support: Size
    query: Size
    points: int | None
    lr: float
    optimizer: OptimizerMaker | None
    schedule: str | Schedule
    clip: float | None
    evaluate_every: int
    validation_tasks: int
    accumulate: int
    checkpoint_every: int
    log_every: int
    patience: int | None

    def factor(self, start: int) -> Schedule:
        """Return a function step -> factor on the rate.

        A named schedule starts again at the step `start`, for the steps after it. A user's own schedule is a function
        of all steps, so `start` does not affect it.
        """
        if callable(self.schedule) or not start:
            return make_schedule(self.schedule, self.steps)
        anew = make_schedule(self.schedule, self.steps - start)
        return lambda step: anew(step - start)

    @property
    def fixed_sizes(self) -> bool:
        """Whether all batches have the same numbers of points."""
        return isinstance(self.support, int) and isinstance(self.query, int)


def make_plan(
    *,
    steps: int,
    seed: int,
    tasks: int,
    support: Size,
    query: Size,
    points: int | None,
    lr: float | None,
    optimizer: OptimizerMaker | None,
    schedule: str | Schedule | None,
    clip: float | None,
    evaluate_every: int | None,
    validation_tasks: int,
    accumulate: int,
    checkpoint_every: int | None,
    log_every: int | None,
    patience: int | None,
    planned: int | None = None,
    defaults: Mapping[str, Any] = USUAL,
) -> Plan:
    """Check these values and return them as a plan; what is None gets its default.

    Args:
        defaults: of the learner, for `lr`, `schedule` and `clip`.
        planned: the number of steps of a run before it was extended; default intervals are shares of it.

    Raises:
        ValueError, TypeError: for the first value that cannot be used.
    """
    steps = check_whole("steps", steps, 1)
    lr = defaults["lr"] if lr is None else lr
    schedule = defaults["schedule"] if schedule is None else schedule
    clip = defaults["clip"] if clip is None else clip
    usual = intervals(steps if planned is None else planned)
    plan = Plan(
        steps=steps,
        seed=check_whole("seed", seed, 0),
        tasks=check_whole("tasks", tasks, 1),
        support=check_size("support", support, 0),
        query=check_size("query", query, 1),
        points=None if points is None else check_whole("points", points, 1),
        lr=check_positive("lr", lr),
        optimizer=optimizer,
        schedule=schedule,
        clip=None if clip is None or clip == math.inf else check_positive("clip", clip),
        evaluate_every=_interval("evaluate_every", evaluate_every, usual),
        validation_tasks=check_whole("validation_tasks", validation_tasks, 1),
        accumulate=check_whole("accumulate", accumulate, 1),
        checkpoint_every=_interval("checkpoint_every", checkpoint_every, usual),
        log_every=_interval("log_every", log_every, usual),
        patience=None if patience is None else check_whole("patience", patience, 1),
    )
    check_points(plan.support, plan.query, plan.points)
    factor = make_schedule(schedule, steps)(0)
    if not isinstance(factor, Real) or not math.isfinite(factor):
        raise ValueError(f"schedule gave {factor!r} at step 0; expected a finite factor on the rate")
    check_maker(optimizer)
    return plan


def check_size(name: str, value: Any, least: int) -> Size:
    """Return `value` if it is a number of points or an inclusive range of them. Raises ValueError otherwise."""
    if isinstance(value, list | tuple):
        if len(value) != 2:
            raise ValueError(f"{name}={value!r}; expected a number of points or a range (low, high)")
        low = check_whole(f"the low end of {name}", value[0], least)
        high = check_whole(f"the high end of {name}", value[1], least)
        if low > high:
            raise ValueError(f"{name}={(low, high)} is reversed; expected (low, high), such as {(high, low)}")
        return (low, high)
    return check_whole(name, value, least)


def check_points(support: Size, query: Size, points: int | None) -> None:
    """Raise ValueError unless `points` leaves room for the largest support set and the smallest query set."""
    if points is None:
        return
    most, least = as_range(support)[1], as_range(query)[0]
    if most + least > points:
        raise ValueError(
            f"points={points} is less than {most} support and {least} query points together; "
            f"expected at least {most + least}"
        )


def intervals(steps: int) -> dict[str, int]:
    """Return the default intervals, in steps, of a run of `steps` steps."""
    shares = {"evaluate_every": steps // 20, "checkpoint_every": min(2000, steps // 10), "log_every": steps // 200}
    return {name: max(1, share) for name, share in shares.items()}


def _interval(name: str, value: int | None, usual: dict[str, int]) -> int:
    return usual[name] if value is None else check_whole(name, value, 1)
