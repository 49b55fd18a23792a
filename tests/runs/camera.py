"""Copies of a run folder as it is before every file operation: the states in which SIGKILL can leave it."""

import builtins
import hashlib
import io
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from runs.faults import Watch

PATCHED = (builtins, io, os, shutil)


class States:
    """Copies of run folders, each state once.

    Args:
        folder: where the copies are kept, as `folder/NUMBER/run`.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.found: list[Path] = []
        self._known: set[Any] = set()

    def add(self, run: Path) -> None:
        """Copy `run`, unless it does not exist or its state is known."""
        state = describe(run)
        if not run.is_dir() or state in self._known:
            return
        self._known.add(state)
        copy = self.folder / f"{len(self.found)}"
        self.found.append(copy)
        shutil.copytree(run, copy / "run", copy_function=shutil.copyfile)


class _Camera(Watch):
    def __init__(self, run: Path, states: States):
        super().__init__(run, None, None)
        self._run, self._states = run, states

    def happens(self, kind: str) -> bool:
        if kind not in ("write", "torn", "rmtree"):  # they change nothing by themselves
            self._states.add(self._run)
        return False


@contextmanager
def filming(run: Path, states: States) -> Iterator[None]:
    """While entered, `states` gets a copy of `run` before every file operation below `run`, and one at the end."""
    before = {module: dict(vars(module)) for module in PATCHED}
    try:
        _Camera(run, states).install()
        yield
    finally:
        for module, names in before.items():
            for name, value in names.items():
                if getattr(module, name) is not value:
                    setattr(module, name, value)
    states.add(run)


def describe(run: Path) -> frozenset[tuple[str, bytes]]:
    """Names and contents of all files; of JSON that holds times, whether it is empty, or its number of lines."""
    found = set()
    for place, folders, files in os.walk(run):
        inner = os.path.relpath(place, run)
        found |= {(os.path.join(inner, name), b"folder") for name in folders}
        found |= {(os.path.join(inner, name), _content(os.path.join(place, name))) for name in files if name != ".lock"}
    return frozenset((name, content) for name, content in found if "tensorboard" not in name)


_CONTENTS: dict[tuple[int, int, int, str], bytes] = {}


def _content(path: str) -> bytes:
    status = os.stat(path)
    key = status.st_ino, status.st_mtime_ns, status.st_size, path
    if key not in _CONTENTS:
        data = Path(path).read_bytes()
        if path.endswith(".jsonl"):
            data = b"%d lines" % data.count(b"\n")
        elif not path.endswith(".safetensors") and "config.json" not in path:
            data = b"written" if data else b"empty"
        _CONTENTS[key] = hashlib.sha256(data).digest()
    return _CONTENTS[key]
