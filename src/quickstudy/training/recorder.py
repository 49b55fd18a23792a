"""One place that a training run reports to: the metrics file, the loggers and the progress display."""

import time
from collections.abc import Sequence
from typing import Protocol

from quickstudy.runs.place import Lines
from quickstudy.runs.standing import Standing
from quickstudy.training.loggers import Logger


class Progress(Protocol):
    """Shows how training goes: called after every line of `metrics.jsonl`, and once before the first step."""

    def __call__(self, step: int, steps: int, loss: float | None, rate: float | None) -> None:
        """`step` of `steps` are done; `loss` is the last mean, `rate` steps per second (None before the first)."""


class Recorder:
    """Hands a run's metrics to everybody who wants them, and keeps its clock.

    Args:
        lines: what takes the metrics, `metrics.jsonl` mostly.
        loggers: others, which were started.
        progress: a display, or None.
        steps: of the whole run.
        standing: where training begins: the steps and seconds before it.
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
        """Of training so far, those before an interruption included."""
        return time.perf_counter() - self._begin

    def record(self, step: int, values: dict[str, float]) -> None:
        """One line of metrics after `step` steps."""
        seconds = self.seconds()
        rate = (step - self._last[0]) / max(seconds - self._last[1], 1e-9)
        self._last = (step, seconds)
        timed = {**values, "seconds": round(seconds, 4), "steps_per_second": round(rate, 4)}
        self._lines.write({"step": step, **timed})
        for logger in self._loggers:
            logger.log(step, timed)
        if self._progress is not None:
            self._progress(step, self._steps, values["loss"], rate)

    def flush(self) -> int:
        """Make the metrics file safe; returns its length in bytes."""
        return self._lines.flush()

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Close the file and the loggers. What ended training is not hidden by a logger that cannot be closed."""
        self._lines.close()
        for logger in self._loggers:
            try:
                logger.close()
            except Exception as failure:
                if error is None:
                    error = failure
                else:
                    error.add_note(f"besides, {type(logger).__name__} could not be closed: {failure}")
        if kind is None and error is not None:
            raise error
