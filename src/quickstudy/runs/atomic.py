"""Folders and files that a kill, a power cut or a full disk leaves either as they were or as they should be.

A folder is replaced in four moves: `name.tmp` is written and flushed, renamed `name.new` (complete from here on),
`name` is renamed `name.old`, `name.new` becomes `name`. Between any two moves, `newest` finds a complete one.
"""

import errno
import os
import shutil
from collections.abc import Mapping
from pathlib import Path


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Replace `folder` by one that holds exactly `files`. Raises OSError, with what was there before intact."""
    temporary, new, old = (_beside(folder, suffix) for suffix in ("tmp", "new", "old"))
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
    shutil.rmtree(old, ignore_errors=True)  # the next write removes what is left of it


def settle(folder: Path) -> None:
    """Finish a replacement of `folder` that was cut short, or undo one that was not complete."""
    temporary, new, old = (_beside(folder, suffix) for suffix in ("tmp", "new", "old"))
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
    """Whether no replacement of `folder` was cut short."""
    return not any(_beside(folder, suffix).exists() for suffix in ("tmp", "new", "old"))


def newest(folder: Path) -> Path | None:
    """Where the last complete content of `folder` lies, changing nothing; None if there has never been one."""
    for place in (_beside(folder, "new"), folder, _beside(folder, "old")):
        if place.is_dir():
            return place
    return None


def write_file(path: Path, data: bytes) -> None:
    """Replace the file at `path`, not one that it links to. Raises OSError, with what was there before intact."""
    temporary = _beside(path, "tmp")
    try:
        temporary.unlink(missing_ok=True)  # left by a kill
        _write_flushed(temporary, data)
        os.replace(temporary, path)
        flush_folder(path.parent)
    except OSError as error:
        if temporary.is_file():
            temporary.unlink()
        raise disk_error(error, path) from error


def make_folder(folder: Path) -> None:
    """Make `folder` and its parents where they are missing. Raises OSError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(error, folder) from error


def flush_folder(folder: Path) -> None:
    """Make names in `folder` survive a power cut: what was made there, renamed and removed."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def disk_error(error: OSError, path: Path) -> OSError:
    """The same error in one line that says what to do."""
    cures = {
        errno.ENOSPC: "free some space",
        errno.EDQUOT: "free some of your quota",
        errno.EFBIG: "raise the limit on file sizes",
        errno.EACCES: "make the folder writable or choose another out",
        errno.EPERM: "make the folder writable or choose another out",
        errno.EROFS: "choose an out on a writable disk",
        errno.ENOTDIR: "choose an out that is a folder",
        errno.ENOENT: "was the folder removed or renamed meanwhile?",
        errno.ELOOP: "put a file in place of the symbolic link",
    }
    reason = error.strerror or str(error)
    cure = cures.get(error.errno or 0, "check the disk")
    return OSError(error.errno, f"cannot write {path}: {reason}; {cure}. What was saved before is intact")


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(f"{path.name}.{suffix}")


def _write_flushed(path: Path, data: bytes) -> None:
    with open(path, "xb") as file:  # new: never through a link
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
