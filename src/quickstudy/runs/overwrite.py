"""Deleting a run: what `fit` wrote, and nothing else.

A folder that holds anything more is refused before anything is deleted. Files are deleted by the names that `fit`
gives them, links are never followed, and `config.json` goes last: a deletion that is cut short can be repeated.
"""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from quickstudy.runs.atomic import disk_error
from quickstudy.runs.lock import LOCK
from quickstudy.runs.run import CONFIG, read_config

_CHECKPOINT = r"checkpoints/(last|best)(\.tmp|\.new|\.old)?"
_FILES = re.compile(
    r"(config|result)\.json(\.tmp)?|report\.html(\.tmp)?|metrics\.jsonl|\.lock|tensorboard/events\.out\.tfevents\.\d+"
    rf"|{_CHECKPOINT}/(state\.json|(model|training)\.safetensors)"
)
_FOLDERS = re.compile(rf"{_CHECKPOINT}|checkpoints|tensorboard|figures")
_SAID = ("quickstudy", "learner", "family", "steps", "time_fields")  # what every config that `fit` wrote says


def check_removable(folder: Path, config: dict[str, Any]) -> None:
    """Raise FileExistsError unless `folder` is a run that `fit` made, with nothing else in it.

    Args:
        config: of the run that is to take its place.

    Raises:
        CheckpointError: if `config.json` cannot be read, so that it is not certain whose the folder is.
    """
    before = read_config(folder)
    whose = owner(folder, before, config)
    if whose is not None or not all(name in before for name in _SAID):
        raise FileExistsError(
            f"{folder} is {whose or 'not a run that quickstudy.fit made'}, and is not overwritten; choose another out"
        )
    for path, name in _entries(folder):
        ours = _FOLDERS if path.is_dir() else _FILES
        if path.is_symlink() or not ours.fullmatch(name):
            raise FileExistsError(
                f"{path} was not written by quickstudy.fit, and exist='overwrite' deletes nothing else; move it away, "
                "or choose another out"
            )


def owner(folder: Path, before: Mapping[str, Any], config: Mapping[str, Any]) -> str | None:
    """Which larger thing the run in `folder` belongs to; None for a run of its own.

    Args:
        before: its config.
        config: of the run that is to take its place, or to lengthen it.
    """
    above = folder.resolve().parent
    if (above / CONFIG).exists():
        return f"a part of the run {above}"
    recipe = before.get("recipe")
    return None if recipe in (None, config["recipe"]) else f"a run of the recipe {recipe}"


def remove_run(folder: Path, config: dict[str, Any]) -> None:
    """Delete the run in `folder`, whose lock is held; the folder and the lock stay.

    Raises:
        FileExistsError: as `check_removable`, before anything is deleted.
        OSError: if a file cannot be deleted.
    """
    check_removable(folder, config)
    entries = sorted(_entries(folder), key=lambda entry: _order(entry[1]))
    for path, name in entries:
        if name == LOCK:
            continue
        try:
            if path.is_dir():
                path.rmdir()  # empty by now, or it fails
            else:
                path.unlink()
        except OSError as error:
            raise disk_error(error, path) from error


def _order(name: str) -> tuple[int, int]:
    """The result first, so that what is left never looks finished; files before their folders; the config last."""
    return (name.startswith(CONFIG)) * 2 - name.startswith("result"), -name.count("/")


def _entries(folder: Path) -> Iterator[tuple[Path, str]]:
    """All that `folder` holds, with its path from there; links are not followed."""
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(place, name)
            yield path, path.relative_to(folder).as_posix()
