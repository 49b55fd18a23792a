"""One process at a time in a run folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from quickstudy.runs.atomic import disk_error

try:
    import fcntl
except ImportError:  # not a POSIX system: run folders are not guarded there
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock. The kernel frees it however the process ends, SIGKILL included.

    Raises:
        BlockingIOError: if another process trains there.
    """
    try:
        file = open(folder / LOCK, "a")
    except OSError as error:
        raise disk_error(error, folder / LOCK) from error
    with file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BlockingIOError(
                    f"another process is training in {folder}; wait for it or choose another out"
                ) from None
        yield
