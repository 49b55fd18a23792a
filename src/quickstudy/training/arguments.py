"""Checks of the arguments of `fit` that are not part of its plan, made before anything is written."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quickstudy.runs.config import check_json
from quickstudy.training.loggers import Logger, require


def check_folder(out: Any) -> Path:
    """`out` as a path; TypeError or ValueError unless it can be one."""
    if not isinstance(out, str | os.PathLike) or not str(out):
        raise TypeError(f"out={out!r}; expected the path of a folder for the run")
    return Path(out)


def check_surroundings(compile: Any, loggers: Any, progress: Any) -> None:
    """Raise one clear line for the first of these arguments of `fit` that cannot be used."""
    if not isinstance(compile, bool) and compile != "auto":
        raise ValueError(f"compile={compile!r}; expected True, False or 'auto'")
    if not isinstance(loggers, Sequence) or not all(isinstance(logger, Logger) for logger in loggers):
        raise TypeError(f"loggers={loggers!r}; expected a list of loggers, each with start, log and close")
    for logger in loggers:
        require(getattr(logger, "package", None))
    if progress is not None and not callable(progress):
        raise TypeError(f"progress={progress!r}; expected a callable: (step, steps, loss, rate) -> None")


@dataclass(frozen=True)
class Notes:
    """What a caller says about a run; noted in `config.json`, and used for nothing else.

    Args:
        recipe: its name.
        options: of the recipe, as JSON.
        command: what the user typed.
    """

    recipe: str | None
    options: Any
    command: str | None


def make_notes(recipe: Any, options: Any, command: Any) -> Notes:
    """The notes, checked; TypeError for what is no text, or no JSON."""
    for name, word in (("recipe", recipe), ("command", command)):
        if word is not None and not isinstance(word, str):
            raise TypeError(f"{name}={word!r}; expected a text")
    return Notes(recipe, check_json("options", options), command)
