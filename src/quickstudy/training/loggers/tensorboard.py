"""TensorBoard. `fit` uses it whenever the `tensorboard` package is installed."""

import importlib.util
import time
from pathlib import Path
from typing import Any

from quickstudy.runs.atomic import disk_error


def available() -> bool:
    """Return whether the `tensorboard` package is installed."""
    return importlib.util.find_spec("tensorboard") is not None


def standard(folder: Path | None) -> list["TensorBoard"]:
    """Return the loggers that `fit` adds itself: TensorBoard, if it is installed and the run has a folder."""
    return [TensorBoard()] if folder is not None and available() else []


class TensorBoard:
    """Writes event files to the run's `tensorboard/` folder: `tensorboard --logdir runs`.

    It writes the records itself: `SummaryWriter` does so in a thread, from which a full disk cannot be reported.
    """

    package = "tensorboard"

    def start(self, folder: Path, config: dict[str, Any], step: int) -> None:
        """Open an event file; what an interrupted run logged after `step` is purged. Raises OSError."""
        del config
        from tensorboard.compat.proto.event_pb2 import SessionLog

        self._path = folder / "tensorboard" / f"events.out.tfevents.{time.time_ns()}"
        try:
            self._path.parent.mkdir(exist_ok=True)
            self._file = open(self._path, "wb")
        except OSError as error:
            raise disk_error(error, self._path) from error
        self._write(file_version="brain.Event:2")
        if step:
            self._write(step=step + 1, session_log=SessionLog(status=SessionLog.START))

    def log(self, step: int, values: dict[str, float]) -> None:
        """Log one scalar for each metric. Raises OSError."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        scalars = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._write(step=step, summary=Summary(value=scalars))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, **content: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        try:
            RecordWriter(self._file).write(Event(wall_time=time.time(), **content).SerializeToString())
            self._file.flush()
        except OSError as error:
            raise disk_error(error, self._path) from error
