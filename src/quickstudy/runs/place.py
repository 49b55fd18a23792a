"""Where a training is kept: in a run folder, or in memory."""

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
    """What takes the lines of metrics."""

    def write(self, values: dict[str, Any]) -> None:
        """Append one line."""

    def flush(self) -> int:
        """Make what was written safe; returns the length in bytes."""

    def close(self) -> None:
        """No more lines come."""


class Place(Protocol):
    """Where a training is kept: `fit` looks, begins, restores, saves and finishes here."""

    @property
    def folder(self) -> Path | None:
        """The run folder, if there is one."""

    def look(self, config: dict[str, Any]) -> dict[str, Any] | None:
        """The config of the run to go on with; None for a new one. Changes nothing."""

    def is_finished(self, config: dict[str, Any]) -> bool:
        """Whether the run with this config is trained to its end."""

    def begin(self, config: dict[str, Any]) -> AbstractContextManager[None]:
        """Take the place: while entered, nobody else trains there."""

    def restore(self, learner: nn.Module, load: Callable[[Any], object], config: dict[str, Any]) -> Standing:
        """Put the learner, and by `load` its optimiser, where the last checkpoint left them."""

    def lines(self, standing: Standing) -> Lines:
        """What takes the lines of metrics after that standing."""

    def check(self) -> None:
        """Raise FileNotFoundError if the place is no longer there."""

    def save(self, name: Path, learner: nn.Module, optimizer: Any, facts: dict[str, Any], standing: Standing) -> None:
        """Write a checkpoint: the learner, the optimiser's state, where training stands, and what else is to say."""

    def finish(self, learner: nn.Module, config: dict[str, Any]) -> Run:
        """The finished run."""


class Folder:
    """A run folder.

    Args:
        folder: its path.
        exist: what to do with a run that is there: "error", "resume", "overwrite" or "extend".
        restarts: whether this call is the restart of one that began the run with such a config, and goes on with it.
    """

    def __init__(self, folder: Path, exist: str, restarts: Callable[[dict[str, Any]], bool]):
        self.folder, self._exist, self._restarts = folder, exist, restarts
        self._lock: Lock | None = None

    def look(self, config: dict[str, Any]) -> dict[str, Any] | None:
        """The config of the run to go on with; None for a new one.

        Raises:
            FileExistsError: if there is something that must not be written into.
            ValueError: if there is another run, or one that cannot be extended.
            CheckpointError: if the run is damaged.
        """
        if self._exist != "resume" and is_run(self.folder) and self._restarts(read_config(self.folder)):
            self._exist = "resume"
        return earlier_run(self.folder, self._exist, config)

    def is_finished(self, config: dict[str, Any]) -> bool:
        """Whether the run with this config is trained to its end."""
        return is_finished(self.folder, config)

    @contextmanager
    def begin(self, config: dict[str, Any]) -> Iterator[None]:
        """Make the folder, hold its lock, and write `config.json` where it is missing or an extension changes it.

        Raises:
            BlockingIOError: if another process trains there.
            OSError: if it cannot be written.
        """
        make_folder(self.folder)
        with Lock(self.folder) as self._lock:
            check_no_links(self.folder)
            before = self.look(config)  # again: another process may have been here since
            if before is None:
                if is_run(self.folder) or is_half_deleted(self.folder):
                    remove_run(self.folder, config)
                write_config(self.folder, config)
            elif before != read_config(self.folder):
                (self.folder / RESULT).unlink(missing_ok=True)  # before the config: it is written anew where it lacks
                write_config(self.folder, before)
            make_folder(self.folder / FIGURES)
            yield

    def restore(self, learner: nn.Module, load: Callable[[Any], object], config: dict[str, Any]) -> Standing:
        """Put the learner, and by `load` its optimiser, where the last checkpoint left them."""
        return reopened(restore(self.folder, learner, load, config["steps"]), config)

    def lines(self, standing: Standing) -> Lines:
        """`metrics.jsonl`, cut back to that standing."""
        return MetricsFile(self.folder, standing.metrics_bytes)

    def check(self) -> None:
        """Raise FileNotFoundError if the folder was removed or renamed since it was begun."""
        assert self._lock is not None
        self._lock.check()

    def save(self, name: Path, learner: nn.Module, optimizer: Any, facts: dict[str, Any], standing: Standing) -> None:
        """Write the checkpoint `name`, atomically."""
        facts = {**facts, "standing": asdict(standing)}
        write_checkpoint(self.folder / name, learner.state_dict(), {"optimizer": optimizer}, facts)

    def finish(self, learner: nn.Module, config: dict[str, Any]) -> Run:
        """The finished run as the disk has it, with its last weights in `learner`."""
        return finished_run(self.folder, learner, config)


class Memory:
    """Nothing on disk: metrics and the best weights are kept for as long as the `Run` is."""

    folder = None

    def __init__(self) -> None:
        self._lines, self._standing, self._best = _List(), Standing(), dict[str, Any]()

    def look(self, config: dict[str, Any]) -> None:
        """There is never an earlier run."""

    def is_finished(self, config: dict[str, Any]) -> bool:
        """Never before it is trained."""
        return False

    def begin(self, config: dict[str, Any]) -> AbstractContextManager[None]:
        """Nobody else can train there."""
        return nullcontext()

    def restore(self, learner: nn.Module, load: Callable[[Any], object], config: dict[str, Any]) -> Standing:
        """The beginning."""
        return Standing()

    def lines(self, standing: Standing) -> Lines:
        """A list."""
        return self._lines

    def check(self) -> None:
        """Memory stays."""

    def save(self, name: Path, learner: nn.Module, optimizer: Any, facts: dict[str, Any], standing: Standing) -> None:
        """Keep a copy of the best weights; the last ones are the learner's own."""
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
        self.written.append(finite)  # as a file would have it

    def flush(self) -> int:
        return 0

    def close(self) -> None:
        pass
