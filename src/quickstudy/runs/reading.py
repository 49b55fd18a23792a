"""Reads files of a run of unknown origin; anything but a regular file with valid JSON raises an error."""

import json
import os
import stat
from pathlib import Path
from typing import Any

DEEPEST = 100  # nested objects and lists; quickstudy writes fewer than 20
LARGEST = 1 << 28  # bytes of a JSON file; the description of a learner with a million rates needs a tenth of that


class CheckpointError(RuntimeError):
    """A checkpoint or another file of a run is missing or damaged; the message names the file and what to do."""


def read_file(path: Path, largest: int | None = None) -> bytes:
    """The bytes of the regular file at `path`.

    Raises:
        FileNotFoundError, NotADirectoryError: if there is no such file.
        ValueError: if it is not a regular file (reading a pipe might never end), or is larger than `largest` bytes.
    """
    # O_NONBLOCK: opening a pipe does not wait for a writer
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(handle, "rb") as file:
        facts = os.fstat(handle)
        if not stat.S_ISREG(facts.st_mode):
            raise ValueError("is not a regular file")
        if largest is not None and facts.st_size > largest:
            raise ValueError(f"has {facts.st_size} bytes; expected at most {largest}")
        return file.read()


def parse_object(data: bytes) -> dict[str, Any]:
    """The JSON object in `data`. Raises ValueError for anything else, for NaN, and if it is nested too deeply."""
    try:
        content = json.loads(data, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    except ValueError:
        raise ValueError("is truncated or was changed") from None
    if not isinstance(content, dict):
        raise ValueError(f"holds a {type(content).__name__}, not an object")
    level: list[Any] = [content]
    for _ in range(DEEPEST):
        parts = (part for outer in level for part in (outer.values() if isinstance(outer, dict) else outer))
        level = [part for part in parts if isinstance(part, dict | list)]
        if not level:
            return content
    raise ValueError("is nested too deeply")


def short(value: Any) -> str:
    """The repr of `value` for an error message, shortened."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
