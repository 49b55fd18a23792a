"""Storage of a training: a run folder, or memory."""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from quickstudy.runs.atomic import make_folder
from quickstudy.runs.checkpoint import write_checkpoint
from quickstudy.runs.config import write_config
from quickstudy.runs.extension import reopened
from quickstudy.runs.lock import Lock
from quickstudy.runs.metrics_file import MetricsFile
from quickstudy.runs.overwrite import remove_run
from quickstudy.runs.resume import earlier_run, finished_run, is_finished, restore
from quickstudy.runs.run import BEST, FIGURES, RESULT, Run, check_no_links, is_half_deleted, is_run, read_config
from quickstudy.runs.standing import Standing


class Lines(Protocol):
    """Stores the lines of metrics."""

    def write(self, values: dict[str, Any]) -> None:
        """Append one line."""

    def flush(self) -> int:
        """Flush the lines to the disk; returns their length in bytes."""

    def close(self) -> None:
        """Close the storage; no line may follow."""


class Place(Protocol):
    """Storage of a training."""

    @property
    def folder(self) -> Path | None:
        """The run folder; None for a run in memory."""

    def look(self, config: dict[str, Any]) -> dict[str, Any] | None:
        """The config of the run that is continued; None for a new run. Changes nothing."""

    def is_finished(self, config: dict[str, Any]) -> bool:
        """Whether the run with this config is finished."""

    def begin(self, config: dict[str, Any]) -> AbstractContextManager[None]:
        """A context in which this process alone trains the run."""

    def restore(self, learner: nn.Module, load: Callable[[Any], object], config: dict[str, Any]) -> Standing:
        """Load the last checkpoint into the learner and, by `load`, its optimiser; returns where training stands."""

    def lines(self, standing: Standing) -> Lines:
        """The storage of metrics, with the lines up to `standing`."""

    def check(self) -> None:
        """Raise FileNotFoundError if the run folder was removed or renamed."""

    def save(self, name: Path, learner: nn.Module, optimizer: Any, facts: dict[str, Any], standing: Standing) -> None:
        """Write a checkpoint: the learner, the optimiser's state, the facts, and where training stands."""

    def finish(self, learner: nn.Module, config: dict[str, Any]) -> Run:
        """The finished run."""


class Folder:
    """Storage in a run folder.

    Args:
        folder: its path.
        exist: what to do if the folder holds a run: "error", "resume", "overwrite" or "extend".
        restarts: config of a run -> whether torchrun restarted the job that began it. Such a run is resumed.
    """

    def __init__(self, folder: Path, exist: str, restarts: Callable[[dict[str, Any]], bool]):
        self.folder, self._exist, self._restarts = folder, exist, restarts
        self._lock: Lock | None = None

    def look(self, config: dict[str, Any]) -> dict[str, Any] | None:
        """The config of the run that is continued; None for a new run. Changes nothing.

        Raises:
            FileExistsError: if the folder holds something that is not overwritten.
            ValueError: if it holds another run, or one that cannot be extended.
            CheckpointError: if the run is damaged.
        """
        if self._exist != "resume" and is_run(self.folder) and self._restarts(read_config(self.folder)):
            self._exist = "resume"
        return earlier_run(self.folder, self._exist, config)

    def is_finished(self, config: dict[str, Any]) -> bool:
        """Whether the run with this config is finished."""
        return is_finished(self.folder, config)

    @contextmanager
    def begin(self, config: dict[str, Any]) -> Iterator[None]:
        """Make the folder, hold its lock, and write `config.json` if it is missing or changed by an extension.

        Raises:
            BlockingIOError: if another process trains there.
            OSError: if it cannot be written.
        """
        make_folder(self.folder)
        with Lock(self.folder) as self._lock:
            check_no_links(self.folder)
            before = self.look(config)  # again: another process may have changed the folder
            if before is None:
                if is_run(self.folder) or is_half_deleted(self.folder):
                    remove_run(self.folder, config)
                write_config(self.folder, config)
            elif before != read_config(self.folder):
                (self.folder / RESULT).unlink(missing_ok=True)  # first, as a resume writes a missing result
                write_config(self.folder, before)
            make_folder(self.folder / FIGURES)
            yield

    def restore(self, learner: nn.Module, load: Callable[[Any], object], config: dict[str, Any]) -> Standing:
        """Load the last checkpoint into the learner and, by `load`, its optimiser; returns where training stands."""
        return reopened(restore(self.folder, learner, load, config["steps"]), config)

    def lines(self, standing: Standing) -> Lines:
        """`metrics.jsonl`, truncated to `standing`."""
        return MetricsFile(self.folder, standing.metrics_bytes)

    def check(self) -> None:
        """Raise FileNotFoundError if the folder was removed or renamed since `begin`."""
        assert self._lock is not None
        self._lock.check()

    def save(self, name: Path, learner: nn.Module, optimizer: Any, facts: dict[str, Any], standing: Standing) -> None:
        """Write the checkpoint `name`, atomically."""
        facts = {**facts, "standing": asdict(standing)}
        write_checkpoint(self.folder / name, learner.state_dict(), {"optimizer": optimizer}, facts)

    def finish(self, learner: nn.Module, config: dict[str, Any]) -> Run:
        """The finished run, read from the disk, with the last weights in `learner`."""
        return finished_run(self.folder, learner, config)


class Memory:
    """Storage in memory: the metrics and the best weights exist as long as the `Run`."""

    folder = None

    def __init__(self) -> None:
        self._lines, self._standing, self._best = _List(), Standing(), dict[str, Any]()

    def look(self, config: dict[str, Any]) -> None:
        """None: there is no earlier run."""

    def is_finished(self, config: dict[str, Any]) -> bool:
        """False: there is no earlier run."""
        return False

    def begin(self, config: dict[str, Any]) -> AbstractContextManager[None]:
        """A context without effect."""
        return nullcontext()

    def restore(self, learner: nn.Module, load: Callable[[Any], object], config: dict[str, Any]) -> Standing:
        """The standing before the first step."""
        return Standing()

    def lines(self, standing: Standing) -> Lines:
        """The lines in memory."""
        return self._lines

    def check(self) -> None:
        """Does nothing."""

    def save(self, name: Path, learner: nn.Module, optimizer: Any, facts: dict[str, Any], standing: Standing) -> None:
        """Keep a copy of the best weights; the learner itself has the last ones."""
        self._standing = standing
        if name == BEST:
            self._best = {k: v.clone() if hasattr(v, "clone") else v for k, v in learner.state_dict().items()}

    def finish(self, learner: nn.Module, config: dict[str, Any]) -> Run:
        """The finished run."""
        at = self._standing
        return Run(None, learner, config, at.step, at.seconds, at.best_step, self._lines.written, self._best)


class _List:
    """Lines of metrics in memory."""

    def __init__(self) -> None:
        self.written: list[dict[str, Any]] = []

    def write(self, values: dict[str, Any]) -> None:
        finite = {k: v for k, v in values.items() if not (isinstance(v, float) and not math.isfinite(v))}
        self.written.append(finite)  # as in `metrics.jsonl`

    def flush(self) -> int:
        return 0

    def close(self) -> None:
        pass
