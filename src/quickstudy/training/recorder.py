"""The recorder of a training, which writes to the metrics file, the loggers and the progress display."""

import time
from collections.abc import Mapping, Sequence
from typing import Protocol

from quickstudy.runs.place import Lines
from quickstudy.runs.standing import Standing
from quickstudy.training.loggers import Logger


class Progress(Protocol):
    """Receives progress: it is called after every line of `metrics.jsonl`, and once before the first step."""

    def __call__(self, step: int, steps: int, loss: float | None, rate: float | None) -> None:
        """Show that `step` of `steps` are done.

        Args:
            step: number of steps done.
            steps: number of steps of the run.
            loss: mean training loss since the previous call; None before the first step.
            rate: steps per second; None before the first step.
        """


class Recorder:
    """Writes the metrics of a run to its file, loggers and display, and measures its time.

    Args:
        lines: writes the lines of metrics, usually to `metrics.jsonl`.
        loggers: loggers, which must have been started.
        progress: receives progress, or None.
        steps: number of steps of the whole run.
        standing: the state of training at the start, with the steps and seconds before it.
    """

    def __init__(
        self,
        lines: Lines,
        *,
        loggers: Sequence[Logger],
        progress: Progress | None,
        steps: int,
        standing: Standing,
    ):
        self._lines, self._loggers, self._progress, self._steps = lines, loggers, progress, steps
        self._begin = time.perf_counter() - standing.seconds
        self._last = (standing.step, standing.seconds)
        if progress is not None:
            progress(standing.step, steps, None, None)

    def seconds(self) -> float:
        """Return the seconds of training so far, including those before interruptions."""
        return time.perf_counter() - self._begin

    def record(self, step: int, values: dict[str, float], words: Mapping[str, str] | None = None) -> None:
        """Write one line of metrics after `step` steps; `words` are in `metrics.jsonl` only."""
        seconds = self.seconds()
        rate = (step - self._last[0]) / max(seconds - self._last[1], 1e-9)
        self._last = (step, seconds)
        timed = {**values, "seconds": round(seconds, 4), "steps_per_second": round(rate, 4)}
        self._lines.write({"step": step, **timed, **(words or {})})
        for logger in self._loggers:
            logger.log(step, timed)
        if self._progress is not None:
            self._progress(step, self._steps, values["loss"], rate)

    def flush(self) -> int:
        """Flush the metrics file to disk; returns its length in bytes."""
        return self._lines.flush()

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Close the file and the loggers. An error of training is not replaced by one of closing a logger."""
        self._lines.close()
        for logger in self._loggers:
            try:
                logger.close()
            except Exception as failure:
                if error is None:
                    error = failure
                else:
                    error.add_note(f"in addition, {type(logger).__name__} could not be closed: {failure}")
        if kind is None and error is not None:
            raise error
