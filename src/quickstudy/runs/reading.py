"""Reading files of a run, which may be anybody's: regular files that hold sound JSON, or one error."""

import json
import os
import stat
from pathlib import Path
from typing import Any

DEEPEST = 100  # objects and lists within each other; what quickstudy writes has less than 20
LARGEST = 1 << 28  # bytes of a JSON file; a description of a learner with a million rates has a tenth of that


class CheckpointError(RuntimeError):
    """A checkpoint, or another file of a run, is missing, damaged or not one; the message names it and the cure."""


def read_file(path: Path, largest: int | None = None) -> bytes:
    """What the regular file at `path` holds.

    Raises:
        FileNotFoundError, NotADirectoryError: if there is none.
        ValueError: for what is no regular file (reading a pipe might never end), or is larger than `largest` bytes.
    """
    # a pipe is opened without waiting for its writer
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(handle, "rb") as file:
        facts = os.fstat(handle)
        if not stat.S_ISREG(facts.st_mode):
            raise ValueError("is not a regular file")
        if largest is not None and facts.st_size > largest:
            raise ValueError(f"has {facts.st_size} bytes, and no run writes more than {largest}")
        return file.read()


def parse_object(data: bytes) -> dict[str, Any]:
    """The JSON object in `data`. Raises ValueError for anything else, for NaN, and for what is nested too deeply."""
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
    """`value` as an error message quotes it."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")
