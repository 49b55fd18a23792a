"""`metrics.jsonl`: one JSON object a line, cut back to the checkpoint on resume."""

import json
import math
import os
from pathlib import Path
from typing import Any

from quickstudy.runs.atomic import disk_error, flush_folder
from quickstudy.runs.checkpoint import CheckpointError

METRICS = "metrics.jsonl"


class MetricsFile:
    """Appends lines to a run's `metrics.jsonl`.

    Args:
        folder: the run.
        keep: how many bytes were there at the checkpoint that training goes on from; the rest is cut off.

    Raises:
        CheckpointError: if the file is shorter than that, or damaged.
    """

    def __init__(self, folder: Path, keep: int = 0):
        self.path = folder / METRICS
        size = self.path.stat().st_size if self.path.exists() else 0
        if size < keep:
            raise CheckpointError(
                f"{self.path} has {size} bytes and the checkpoint was written after {keep}; "
                "restore the file from a copy, or train anew in another out"
            )
        if keep:
            _parse(self.path, self.path.read_bytes()[:keep], whole=True)
        try:
            self._file = open(self.path, "ab")
            self._file.truncate(keep)
            flush_folder(folder)
        except OSError as error:
            raise disk_error(error, self.path) from error

    def write(self, values: dict[str, Any]) -> None:
        """Append one line. A value that is not finite is left out: JSON has no NaN."""
        finite = {k: v for k, v in values.items() if not (isinstance(v, float) and not math.isfinite(v))}
        try:
            self._file.write(json.dumps(finite, allow_nan=False).encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise disk_error(error, self.path) from error

    def flush(self) -> int:
        """Make what was written survive a power cut; returns the file's length in bytes."""
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            return os.fstat(self._file.fileno()).st_size  # tell() still names the end from before a truncation
        except OSError as error:
            raise disk_error(error, self.path) from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_metrics(folder: Path | str) -> list[dict[str, Any]]:
    """The lines of a run's `metrics.jsonl`, oldest first; a last line that was cut short is left out.

    Raises:
        CheckpointError: if the file is damaged.
    """
    path = Path(folder) / METRICS
    if not path.exists():
        return []
    return _parse(path, path.read_bytes())


def _parse(path: Path, data: bytes, *, whole: bool = False) -> list[dict[str, Any]]:
    *complete, rest = data.split(b"\n")
    try:
        lines = [json.loads(line) for line in complete if line]
    except ValueError:
        lines = [None]
    if (whole and rest) or not all(isinstance(line, dict) and "step" in line for line in lines):
        raise CheckpointError(
            f"{path} is damaged: not every line is an object with a step; "
            "restore the file from a copy, or train anew in another out"
        )
    return lines


TIME_FIELDS = ("seconds", "steps_per_second")  # the fields in which two equal runs may differ
