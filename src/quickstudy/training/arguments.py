"""The checks of what `fit` is given, made before anything is written."""

import inspect
import math
import os
from collections.abc import Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import torch
from torch import nn

from quickstudy.checks import check_tasks, check_whole
from quickstudy.training.batches import Size, as_range
from quickstudy.training.loggers import Logger, require
from quickstudy.training.schedules import make_schedule
from quickstudy.training.updates import check_maker


def check_positive(name: str, value: Any) -> int | float:
    """`value` as a Python number; ValueError unless it is a finite number above 0."""
    if not isinstance(value, Real) or isinstance(value, bool) or not (math.isfinite(value) and float(value) > 0):
        raise ValueError(f"{name}={value!r}; expected a positive number")
    return int(value) if isinstance(value, Integral) else float(value)


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


def check_learner(learner: Any) -> None:
    """Raise one clear line unless `learner` is a module with `meta_loss` and `adapt`."""
    if not isinstance(learner, nn.Module) or not all(hasattr(learner, m) for m in ("meta_loss", "adapt")):
        raise TypeError(
            f"learner is a {type(learner).__name__}; expected a torch.nn.Module with meta_loss and adapt, "
            "such as quickstudy.MAML(network)"
        )


def check_trainable(learner: nn.Module) -> None:
    """Raise ValueError unless the learner has something to train."""
    if not any(p.requires_grad for p in learner.parameters()):
        raise ValueError(f"{type(learner).__name__} has no parameter that requires grad, so there is nothing to train")


def check_family(family: Any) -> None:
    """Raise TypeError unless `family` can sample tasks."""
    if isinstance(family, type):
        raise TypeError(f"family is the class {family.__name__}; make one: {family.__name__}()")
    if not callable(getattr(family, "sample", None)):
        raise TypeError(
            f"family is a {type(family).__name__}; expected something with sample(num_tasks, support=, query=, ...), "
            "such as quickstudy.tasks.Sinusoid()"
        )
    try:
        inspect.signature(family.sample).bind(1, support=1, query=1, split="train", generator=None)
    except TypeError as error:
        raise TypeError(
            f"{type(family).__name__}.sample cannot be called with (num_tasks, *, support, query, split, generator): "
            f"{error}; give it these arguments"
        ) from None


def check_drawn(tasks: Any, count: int) -> None:
    """Raise one clear line unless a family drew `count` sound tasks."""
    check_tasks(tasks)
    if tasks.num_tasks != count:
        raise ValueError(f"the family drew {tasks.num_tasks} tasks where {count} were asked for; correct its sample()")


def check_folder(out: Any) -> Path:
    """`out` as a path; TypeError or ValueError unless it can be one."""
    if not isinstance(out, str | os.PathLike) or not str(out):
        raise TypeError(f"out={out!r}; expected the path of a folder for the run")
    return Path(out)


def pick_device(device: torch.device | str) -> torch.device:
    """The device asked for; "auto" is a GPU if there is one. Raises ValueError if it is not there."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        picked = torch.device(device)
    except (RuntimeError, TypeError):
        raise ValueError(f"unknown device {device!r}; expected 'auto', 'cpu', 'cuda' or 'cuda:1'") from None
    if picked.type not in ("cpu", "cuda"):
        raise ValueError(f"device {device!r} is not supported; expected 'auto', 'cpu' or 'cuda'")
    if picked.type == "cuda" and (picked.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device {device!r} is not there: torch sees {torch.cuda.device_count()} GPUs; use device='auto' or 'cpu'"
        )
    return picked


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
