"""The checks of what `fit` is given, made before anything is written."""

import math
import os
from collections.abc import Sequence
from numbers import Real
from pathlib import Path
from typing import Any

from quickstudy.checks import check_positive, check_whole
from quickstudy.training.batches import Size, as_range
from quickstudy.training.loggers import Logger, require
from quickstudy.training.schedules import make_schedule
from quickstudy.training.updates import check_maker


def check_size(name: str, value: Any, least: int) -> Size:
    """A number of points or an inclusive range of them, as given; ValueError otherwise."""
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


def check_folder(out: Any) -> Path:
    """`out` as a path; TypeError or ValueError unless it can be one."""
    if not isinstance(out, str | os.PathLike) or not str(out):
        raise TypeError(f"out={out!r}; expected the path of a folder for the run")
    return Path(out)


def check_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """The numbers that `fit` was given, checked, with the defaults that depend on `steps` filled in.

    Raises:
        ValueError: for the first that cannot be.
    """
    filled = dict(settings)
    for name, least in (("steps", 1), ("seed", 0), ("tasks", 1), ("validation_tasks", 1), ("accumulate", 1)):
        filled[name] = check_whole(name, filled[name], least)
    steps = filled["steps"]
    defaults = {"evaluate_every": steps // 20, "checkpoint_every": min(2000, steps // 10), "log_every": steps // 200}
    for name, default in defaults.items():
        if filled[name] is None:
            filled[name] = max(1, default)
        filled[name] = check_whole(name, filled[name], 1)
    for name in ("patience", "points"):
        if filled[name] is not None:
            filled[name] = check_whole(name, filled[name], 1)
    for name in ("lr", "clip"):
        if name == "lr" or filled[name] is not None:
            filled[name] = check_positive(name, filled[name])
    for name, least in (("support", 0), ("query", 1)):
        filled[name] = check_size(name, filled[name], least)
    check_points(filled["support"], filled["query"], filled["points"])
    factor = make_schedule(filled["schedule"], steps)(0)
    if not isinstance(factor, Real) or not math.isfinite(factor):
        raise ValueError(f"schedule gave {factor!r} at step 0; expected a finite factor on the rate")
    check_maker(filled["optimizer"])
    return filled


def check_surroundings(compile: Any, loggers: Any, progress: Any, words: dict[str, Any]) -> None:
    """Raise one clear line for what `fit` is given besides its settings, if it cannot be used."""
    if not isinstance(compile, bool) and compile != "auto":
        raise ValueError(f"compile={compile!r}; expected True, False or 'auto'")
    if not isinstance(loggers, Sequence) or not all(isinstance(logger, Logger) for logger in loggers):
        raise TypeError(f"loggers={loggers!r}; expected a list of loggers, each with start, log and close")
    for logger in loggers:
        require(getattr(logger, "package", None))
    if progress is not None and not callable(progress):
        raise TypeError(f"progress={progress!r}; expected a callable: (step, steps, loss, rate) -> None")
    for name, word in words.items():
        if word is not None and not isinstance(word, str):
            raise TypeError(f"{name}={word!r}; expected a text")
