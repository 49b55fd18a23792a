"""`metrics.jsonl`: one JSON object on each line; a resume truncates the file to the checkpoint."""

import json
import math
import os
import warnings
from pathlib import Path
from typing import IO, Any

from quickstudy.runs.atomic import disk_error, flush_folder, write_file
from quickstudy.runs.reading import CheckpointError, read_file

METRICS = "metrics.jsonl"


class MetricsFile:
    """Appends lines to a run's `metrics.jsonl`.

    Args:
        folder: the run.
        keep: length of the file, in bytes, at the checkpoint from which training continues; the rest is cut off.

    Raises:
        CheckpointError: if the file is shorter than that, or damaged.
    """

    def __init__(self, folder: Path, keep: int = 0):
        self.path = folder / METRICS
        kept = _read(self.path)
        if len(kept) < keep:
            raise CheckpointError(
                f"{self.path} has {len(kept)} bytes and the checkpoint was written after {keep}; "
                "restore the file from a copy, or train anew in another out"
            )
        if not kept[:keep].endswith(b"\n"[: bool(keep)]):
            raise _damaged(self.path)
        _parse(self.path, kept[:keep])
        self._length = keep
        try:
            self._file = self._open()
            self._file.truncate(keep)
            flush_folder(folder)
        except OSError as error:
            raise disk_error(error, self.path) from error

    def write(self, values: dict[str, Any]) -> None:
        """Append one line. Values that are not finite are left out, as JSON has no NaN."""
        finite = {k: v for k, v in values.items() if not (isinstance(v, float) and not math.isfinite(v))}
        line = json.dumps(finite, allow_nan=False).encode() + b"\n"
        try:
            self._file.write(line)
            self._file.flush()
        except OSError as error:
            raise disk_error(error, self.path) from error
        self._length += len(line)

    def flush(self) -> int:
        """Flush the file to the disk, so that it survives a power cut; returns its length in bytes.

        Warns:
            RuntimeWarning: if the file was removed, replaced or cut short by another program.
        """
        try:
            self._file.flush()
            if not self._is_there():
                self._write_again()
            os.fsync(self._file.fileno())
            length = os.fstat(self._file.fileno()).st_size  # tell() may give the end before a truncation
        except OSError as error:
            raise disk_error(error, self.path) from error
        if length < self._length:
            lost = self._length - length
            warnings.warn(
                f"{self.path} was cut short by another program: {lost} bytes are lost", RuntimeWarning, stacklevel=2
            )
        self._length = length
        return length

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _open(self) -> IO[bytes]:
        return open(self.path, "a+b")

    def _is_there(self) -> bool:
        try:
            return os.path.samestat(os.stat(self.path), os.fstat(self._file.fileno()))
        except FileNotFoundError:
            return False

    def _write_again(self) -> None:
        """Write the removed file again: its lines can still be read through the open handle."""
        self._file.seek(0)
        write_file(self.path, self._file.read())
        self._file.close()
        self._file = self._open()
        warnings.warn(f"{self.path} was removed or replaced while training; it is written again", RuntimeWarning, 2)


def read_metrics(folder: Path | str) -> list[dict[str, Any]]:
    """The lines of a run's `metrics.jsonl`, oldest first, without an incomplete last line.

    Raises:
        CheckpointError: if the file is damaged.
    """
    path = Path(folder) / METRICS
    return _parse(path, _read(path))


def _read(path: Path) -> bytes:
    try:
        return read_file(path)
    except FileNotFoundError:
        return b""
    except ValueError as error:
        raise CheckpointError(f"{path} {error}; put a file of a run in its place, or remove it") from None


def _parse(path: Path, data: bytes) -> list[dict[str, Any]]:
    try:
        return parse_lines(data)
    except ValueError:
        raise _damaged(path) from None


def parse_lines(data: bytes) -> list[dict[str, Any]]:
    """The lines in `data`, without an incomplete last one.

    Raises:
        ValueError: unless each has a step, and numbers; `reason` may be a text.
    """
    try:
        lines = [json.loads(line) for line in data.split(b"\n")[:-1] if line]
    except (ValueError, RecursionError):
        raise ValueError("not every line is JSON") from None
    for line in lines:
        if not isinstance(line, dict) or type(line.get("step")) is not int:
            raise ValueError("not every line is an object with a step")
        if not all(type(value) in (int, float) or _is_reason(name, value) for name, value in line.items()):
            raise ValueError("not every value is a number")
    return lines


def _is_reason(name: str, value: Any) -> bool:
    """Whether it is the one value in words: why a trust region took an update or not."""
    return name == "reason" and type(value) is str and len(value) <= 200


def _damaged(path: Path) -> CheckpointError:
    return CheckpointError(
        f"{path} is damaged: not every line is an object with a step, and numbers; "
        "restore the file from a copy, or train anew in another out"
    )


TIME_FIELDS = (
    "seconds",
    "steps_per_second",
    "environment_steps_per_second",
)  # two equal runs may differ in these fields
