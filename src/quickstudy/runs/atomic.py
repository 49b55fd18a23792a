"""Atomic replacement of folders and files: after a kill, a power cut or a full disk the old or the new one is there.

A folder is replaced in four moves: `name.quickstudy-tmp` is written and flushed, then renamed `name.quickstudy-new`,
which is complete; `name` is renamed `name.quickstudy-old`, and `name.quickstudy-new` is renamed `name`. Between any two
moves, `newest` finds a complete folder. The suffixes are long, so that no file of the user has such a name.
"""

import errno
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Literal


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Replace `folder` by one that holds exactly `files`. If it raises OSError, the previous folder is intact."""
    temporary, new, old = _beside(folder, "tmp"), _beside(folder, "new"), _beside(folder, "old")
    try:
        settle(folder)
        temporary.mkdir(parents=True)
        for name, data in files.items():
            _write_flushed(temporary / name, data)
        flush_folder(temporary)
        os.rename(temporary, new)
        if folder.exists():
            os.rename(folder, old)
        os.rename(new, folder)
        flush_folder(folder.parent)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise disk_error(error, folder) from error
    shutil.rmtree(old, ignore_errors=True)  # what is left is removed by the next write


def settle(folder: Path) -> None:
    """Finish an interrupted replacement of `folder` if the new content is complete; otherwise undo it."""
    temporary, new, old = _beside(folder, "tmp"), _beside(folder, "new"), _beside(folder, "old")
    if temporary.exists():
        shutil.rmtree(temporary)
    if old.exists() and (folder.exists() or new.exists()):
        shutil.rmtree(old)
    if new.exists():
        if folder.exists():
            os.rename(folder, old)
        os.rename(new, folder)
        if old.exists():
            shutil.rmtree(old)
    elif old.exists():
        os.rename(old, folder)


def is_settled(folder: Path) -> bool:
    """Whether no interrupted replacement of `folder` is left."""
    return not any(path.exists() for path in (_beside(folder, "tmp"), _beside(folder, "new"), _beside(folder, "old")))


def newest(folder: Path) -> Path | None:
    """The path of the last complete content of `folder`; None if there is none. Changes nothing."""
    for place in (_beside(folder, "new"), folder, _beside(folder, "old")):
        if place.is_dir():
            return place
    return None


def write_file(path: Path, data: bytes) -> None:
    """Replace the file at `path`; a link is replaced, not followed. If it raises OSError, the old file is intact."""
    temporary = _beside(path, "tmp")
    try:
        temporary.unlink(missing_ok=True)  # a killed process may have left it
        _write_flushed(temporary, data)
        os.replace(temporary, path)
        flush_folder(path.parent)
    except OSError as error:
        if temporary.is_file():
            temporary.unlink()
        raise disk_error(error, path) from error


def make_folder(folder: Path) -> None:
    """Make `folder`, and its parents if they are missing. Raises OSError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(error, folder) from error


def flush_folder(folder: Path) -> None:
    """Flush the names in `folder` to the disk, so that new, renamed and removed files survive a power cut.

    Windows does not open folders, and has no such call.
    """
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def disk_error(error: OSError, path: Path) -> OSError:
    """The same error with a message of one line that says what to do."""
    cures = {
        errno.ENOSPC: "free some space",
        errno.EDQUOT: "free some of your quota",
        errno.EFBIG: "raise the limit on file sizes",
        errno.EACCES: "make the folder writable or choose another out",
        errno.EPERM: "make the folder writable or choose another out",
        errno.EROFS: "choose an out on a writable disk",
        errno.ENOTDIR: "choose an out that is a folder",
        errno.ENOENT: "was the folder removed or renamed?",
        errno.ELOOP: "put a file in place of the symbolic link",
    }
    reason = error.strerror or str(error)
    cure = cures.get(error.errno or 0, "check the disk")
    return OSError(error.errno, f"cannot write {path}: {reason}; {cure}. What was saved before is intact")


def temporary_name(name: str) -> str:
    """The name of a file or folder while it is written, before it replaces `name`."""
    return f"{name}.quickstudy-tmp"


def _beside(path: Path, state: Literal["tmp", "new", "old"]) -> Path:
    return path.with_name(f"{path.name}.quickstudy-{state}")


def _write_flushed(path: Path, data: bytes) -> None:
    with open(path, "xb") as file:  # x: a new file, so a link is never followed
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
