"""The lock of a run folder: one process trains there at a time, and notices if the folder is removed or renamed."""

import os
from pathlib import Path
from typing import IO

from quickstudy.runs.atomic import disk_error

try:
    import fcntl
except ImportError:  # not a POSIX system: run folders are not locked
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"


class Lock:
    """A context that holds the lock. The kernel frees it when the process ends, also by SIGKILL.

    Args:
        folder: the run.

    Raises:
        BlockingIOError: if another process trains in the folder.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._file: IO[bytes] | None = None
        self._status: os.stat_result | None = None

    def __enter__(self) -> "Lock":
        try:
            flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
            self._file = os.fdopen(os.open(self._folder / LOCK, flags, 0o666), "r+b")
            self._status = os.stat(self._folder)
        except OSError as error:
            raise disk_error(error, self._folder / LOCK) from error
        if fcntl is not None:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._file.close()
                raise BlockingIOError(
                    f"another process is training in {self._folder}; wait for it or choose another out"
                ) from None
        return self

    def __exit__(self, *error: object) -> None:
        assert self._file is not None
        self._file.close()

    def check(self) -> None:
        """Raise FileNotFoundError if the folder was removed or renamed since it was locked."""
        try:
            same = self._status is not None and os.path.samestat(os.stat(self._folder), self._status)
        except OSError:
            same = False
        if not same:
            raise FileNotFoundError(
                f"the run folder {self._folder} was removed or renamed while it was trained in, so training stopped; "
                "if it has another name now, resume it there"
            )
