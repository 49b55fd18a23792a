"""Checks of those arguments of `fit` that are not part of its plan, before anything is written."""

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from quickstudy.runs.config import check_json
from quickstudy.training.loggers import Logger, require
from quickstudy.training.recorder import Progress


def check_folder(out: Any, exist: Any) -> Path | None:
    """Return `out` as a path, or None. Raises TypeError or ValueError unless `out` and `exist` can be used together."""
    if out is None:
        if exist != "error":
            raise ValueError(f"exist={exist!r} needs a run folder; give its path as out=")
        return None
    if not isinstance(out, str | os.PathLike) or not str(out):
        raise TypeError(f"out={out!r}; expected the path of a folder for the run, or None to keep it in memory")
    return Path(out)


@dataclass(frozen=True, kw_only=True)
class Request:
    """Arguments of `fit` that do not change what is learned.

    Args:
        out: the run folder; None for a run in memory.
        exist: what to do if there is a run already.
        compile: whether to compile the meta-gradient, or "auto".
        device: where to train, or "auto".
        loggers: loggers besides `metrics.jsonl`.
        progress: a function that receives progress; True or False; None shows it in notebooks and on terminals.
    """

    out: Path | None
    exist: str
    compile: bool | str
    device: torch.device | str
    loggers: Sequence[Logger]
    progress: Progress | bool | None


def make_request(
    *,
    out: Any,
    exist: Any,
    compile: Any = "auto",
    device: torch.device | str,
    loggers: Any,
    progress: Any,
) -> Request:
    """Check the arguments and return them as a request.

    Raises:
        TypeError, ValueError: for the first value that cannot be used.
        ModuleNotFoundError: if a logger's package is not installed.
    """
    folder = check_folder(out, exist)
    if not isinstance(compile, bool) and compile != "auto":
        raise ValueError(f"compile={compile!r}; expected True, False or 'auto'")
    if not isinstance(loggers, Sequence) or not all(isinstance(logger, Logger) for logger in loggers):
        raise TypeError(f"loggers={loggers!r}; expected a list of loggers, each with start, log and close")
    for logger in loggers:
        require(getattr(logger, "package", None))
    if loggers and folder is None:
        raise ValueError("loggers need a run folder; give its path as out=, or leave loggers= out")
    if not (progress is None or isinstance(progress, bool) or callable(progress)):
        raise TypeError(f"progress={progress!r}; expected True, False or a callable: (step, steps, loss, rate) -> None")
    return Request(out=folder, exist=exist, compile=compile, device=device, loggers=loggers, progress=progress)


def give_notice(request: Request) -> None:
    """Warn the caller of `fit` if the run is kept in memory."""
    if request.out is None:
        warnings.warn(
            "the run is kept in memory (out=None) and cannot be resumed; give out='runs/NAME' to keep it on disk",
            UserWarning,
            stacklevel=4,  # beyond `fit` and `advises`
        )


@dataclass(frozen=True)
class Notes:
    """Facts about a run that `fit` only writes to `config.json`.

    Args:
        recipe: name of the recipe.
        options: options of the recipe, as JSON.
        command: the command that the user typed.
    """

    recipe: str | None
    options: Any
    command: str | None


def make_notes(recipe: Any, options: Any, command: Any) -> Notes:
    """Check the notes and return them. Raises TypeError unless names are strings and options are JSON."""
    for name, text in (("recipe", recipe), ("command", command)):
        if text is not None and not isinstance(text, str):
            raise TypeError(f"{name}={text!r}; expected a text")
    return Notes(recipe, check_json("options", options), command)
