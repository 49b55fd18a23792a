"""File operations that are counted, and a process that kills itself at one of them.

`watch(root, kill)` wraps every function through which Python changes files. Operations below `root` are counted by
their kind, in each process anew; at the operation that `kill` names the process sends itself SIGKILL.
"""

import builtins
import io
import os
import re
import shutil
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

KINDS = ("open", "write", "torn", "flush", "rename", "unlink", "rmtree", "rmdir", "mkdir", "truncate")
"""`torn` is a kill in the middle of a write, when half of it has reached the file; all others come just before."""


class Kill(NamedTuple):
    """Where a process dies: at its `count`-th operation of a kind.

    Args:
        kind: one of `KINDS`.
        count: from 1 on.
        process: 0 is the process that was started, n the n-th process that it started.
    """

    kind: str
    count: int
    process: int = 0


class Watch:
    """Counts operations, and kills at one of them.

    Args:
        root: only what lies below it counts.
        kill: where to die; None counts only.
        log: a file to which `PROCESS KIND` is appended for every operation; None writes nothing.
    """

    def __init__(self, root: Path, kill: Kill | None, log: Path | None):
        self._root, self._kill, self._log = os.path.realpath(root), kill, log
        self._counts: Counter[tuple[int, str]] = Counter()
        self._open = os.open

    def install(self) -> None:
        """Wrap the functions, for the rest of this process."""
        builtins.open = io.open = self._opener(io.open)  # type: ignore[assignment]
        for name, kind in (("rename", "rename"), ("replace", "rename"), ("link", "rename"), ("symlink", "rename")):
            setattr(os, name, self._counted(kind, getattr(os, name), at=1))
        for name, kind in (("unlink", "unlink"), ("remove", "unlink"), ("rmdir", "rmdir"), ("mkdir", "mkdir")):
            setattr(os, name, self._counted(kind, getattr(os, name)))
        for name, kind in (("fsync", "flush"), ("fdatasync", "flush"), ("truncate", "truncate")):
            setattr(os, name, self._counted(kind, getattr(os, name)))
        os.ftruncate = self._counted("truncate", os.ftruncate)
        shutil.rmtree = self._counted("rmtree", shutil.rmtree)
        os.open = self._os_open(os.open)

    def happens(self, kind: str) -> bool:
        """Count an operation; dies if it is the one. True if it is one to be torn."""
        me = _process()
        self._counts[os.getpid(), kind] += 1
        if self._log is not None:
            descriptor = self._open(self._log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(descriptor, f"{me} {kind}\n".encode())
            os.close(descriptor)
        if self._kill is None or (self._kill.kind, self._kill.process) != (kind, me):
            return False
        if self._counts[os.getpid(), kind] != self._kill.count:
            return False
        if kind == "torn":
            return True
        die()
        return False

    def counts(self, place: Any) -> bool:
        """Whether a path or a descriptor is below the root."""
        if isinstance(place, int):
            try:
                place = os.readlink(f"/proc/self/fd/{place}")
            except OSError:
                return False
        path = os.fsdecode(place)
        return not os.path.isabs(path) or os.path.realpath(path).startswith(self._root + os.sep)

    def _counted(self, kind: str, original: Callable[..., Any], at: int = 0) -> Callable[..., Any]:
        def function(*arguments: Any, **options: Any) -> Any:
            if self.counts(arguments[at]):
                self.happens(kind)
            return original(*arguments, **options)

        return function

    def _opener(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def function(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
            if not set(mode) & set("wax+") or not self.counts(file):
                return original(file, mode, *arguments, **options)
            self.happens("open")
            return _File(original(file, mode, *arguments, **options), self)

        return function

    def _os_open(self, original: Callable[..., int]) -> Callable[..., int]:
        def function(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
            if flags & (os.O_WRONLY | os.O_RDWR) and self.counts(path):
                self.happens("open")
            return original(path, flags, *arguments, **options)

        return function


class _File:
    """An open file whose operations are counted."""

    def __init__(self, file: Any, watch: Watch):
        self._file, self._watch = file, watch

    def write(self, data: Any) -> int:
        """Write; or half of it, and die."""
        self._watch.happens("write")
        if self._watch.happens("torn"):
            self._file.write(data[: len(data) // 2])
            self._file.flush()
            die()
        return self._file.write(data)

    def flush(self) -> None:
        """Flush."""
        self._watch.happens("flush")
        self._file.flush()

    def truncate(self, size: int | None = None) -> int:
        """Truncate."""
        self._watch.happens("truncate")
        return self._file.truncate(size)

    def __enter__(self) -> "_File":
        self._file.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._file.__exit__(*error)

    def __iter__(self) -> Any:
        return iter(self._file)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def die() -> None:
    """End this process by SIGKILL: nothing is flushed, and no handler runs."""
    os.kill(os.getpid(), signal.SIGKILL)


def _process() -> int:
    from multiprocessing import current_process, parent_process

    if parent_process() is None:
        return 0
    return int(re.findall(r"\d+", current_process().name)[-1])
