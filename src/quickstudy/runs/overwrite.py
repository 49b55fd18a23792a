"""Deletes a run to overwrite it: the files that `fit` wrote, and nothing else.

A folder that holds anything else is not touched. Files are deleted by the names that `fit` gives them, and links are
never followed. `config.json` is first renamed `config.json.overwritten`; from then on the folder is not a run, so a run
that is deleted in part is never read. That file is deleted last, so an interrupted deletion can be completed.
"""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from quickstudy.runs.atomic import disk_error, flush_folder
from quickstudy.runs.lock import LOCK
from quickstudy.runs.run import CONFIG, OVERWRITTEN, is_half_deleted, read_config

_CHECKPOINT = r"checkpoints/(last|best)(\.quickstudy-(tmp|new|old))?"
_FILES = re.compile(
    r"((config|result)\.json|report\.html|metrics\.jsonl)(\.quickstudy-tmp)?|\.lock|tensorboard/events\.out\.tfevents\.\d+"
    rf"|{_CHECKPOINT}/(state\.json|(model|training)\.safetensors)"
)
_FOLDERS = re.compile(rf"{_CHECKPOINT}|checkpoints|tensorboard|figures")
_KEYS = ("quickstudy", "learner", "family", "steps", "time_fields")  # every `config.json` that `fit` wrote has these


def check_removable(folder: Path, config: dict[str, Any]) -> None:
    """Raise FileExistsError unless `folder` is a run that `fit` made, with nothing else in it.

    Args:
        folder: the run, or the rest of one that is half deleted.
        config: of the new run.

    Raises:
        CheckpointError: if `config.json` cannot be read.
    """
    before = read_config(folder)
    larger = owner(folder, before, config)
    if larger is not None or not all(name in before for name in _KEYS):
        raise FileExistsError(
            f"{folder} is {larger or 'not a run that quickstudy.fit made'}, and is not overwritten; choose another out"
        )
    for path, name in _entries(folder):
        if name == OVERWRITTEN and not path.is_symlink() and is_half_deleted(folder):
            continue
        written = _FOLDERS if path.is_dir() else _FILES
        if path.is_symlink() or not written.fullmatch(name):
            raise FileExistsError(
                f"{path} was not written by quickstudy.fit, and exist='overwrite' deletes nothing else; move it away, "
                "or choose another out"
            )


def owner(folder: Path, before: Mapping[str, Any], config: Mapping[str, Any]) -> str | None:
    """The larger run or the recipe that the run in `folder` belongs to, in words; None if it stands alone.

    Args:
        folder: the run.
        before: its config.
        config: of the run that replaces or extends it.
    """
    above = folder.resolve().parent
    if (above / CONFIG).exists():
        return f"a part of the run {above}"
    recipe = before.get("recipe")
    return None if recipe in (None, config["recipe"]) else f"a run of the recipe {recipe}"


def remove_run(folder: Path, config: dict[str, Any]) -> None:
    """Delete the run in `folder`, or the rest of it; the folder and `.lock`, which the caller holds, stay.

    Args:
        folder: the run.
        config: of the new run.

    Raises:
        FileExistsError: as `check_removable`, before anything is deleted.
        OSError: if a file cannot be deleted.
    """
    check_removable(folder, config)
    path = folder / CONFIG
    try:
        if path.exists():
            os.replace(path, folder / OVERWRITTEN)
        flush_folder(folder)
        # files before their folders, and the old config last
        entries = sorted(_entries(folder), key=lambda entry: (entry[1] == OVERWRITTEN, -entry[1].count("/")))
        for path, name in entries:
            if name == LOCK:
                continue
            if path.is_dir():
                path.rmdir()  # fails unless it is empty
            else:
                path.unlink()
    except OSError as error:
        raise disk_error(error, path) from error


def _entries(folder: Path) -> Iterator[tuple[Path, str]]:
    """Every entry below `folder`, with its path relative to `folder`; links are not followed."""
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(place, name)
            yield path, path.relative_to(folder).as_posix()
