"""One process at a time in a run folder, and the folder still there."""

import os
from pathlib import Path
from typing import IO

from quickstudy.runs.atomic import disk_error

try:
    import fcntl
except ImportError:  # not a POSIX system: run folders are not guarded there
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"


class Lock:
    """Held while entered. The kernel frees it however the process ends, SIGKILL included.

    Args:
        folder: the run.

    Raises:
        BlockingIOError: on entering, if another process trains there.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._file: IO[bytes] | None = None
        self._place: os.stat_result | None = None

    def __enter__(self) -> "Lock":
        try:
            flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
            self._file = os.fdopen(os.open(self._folder / LOCK, flags, 0o666), "r+b")
            self._place = os.stat(self._folder)
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
        """Raise FileNotFoundError unless the folder is the one that was locked: it may have been removed or renamed."""
        try:
            same = self._place is not None and os.path.samestat(os.stat(self._folder), self._place)
        except OSError:
            same = False
        if not same:
            raise FileNotFoundError(
                f"the run folder {self._folder} was removed or renamed while it was trained in, so training stopped; "
                "if it has another name now, go on there from its last checkpoint"
            )
