"""A training and its run folder: the part that `quickstudy.fit` and `quickstudy.rl.fit` have in common."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from quickstudy.parallel.distributed import World, is_restart
from quickstudy.runs.extension import from_step
from quickstudy.runs.optimizer_state import load_optimizer
from quickstudy.runs.place import Folder, Memory, Place
from quickstudy.runs.resume import check_obeyed
from quickstudy.runs.run import LAST, Run
from quickstudy.runs.standing import Standing
from quickstudy.training.arguments import Request
from quickstudy.training.display import shown
from quickstudy.training.loggers import Logger
from quickstudy.training.recorder import Recorder


class Stateful(Protocol):
    """An object whose state checkpoints keep, such as an optimiser."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state."""


class Session:
    """One training of a learner, in a run folder or in memory.

    The constructor reads the folder and writes nothing. Of several processes, only the first uses the disk.

    Args:
        request: the run folder, and what to do if it holds a run.
        learner: the learner, which is trained in place.
        config: the `config.json` of this call; `self.config` is that of the run if it was started before.
        world: the processes that train together.

    Raises:
        FileExistsError: if the folder holds a run (with `exist="error"`) or anything else.
        ValueError: if it holds another run, or one that cannot be extended.
        CheckpointError: if the run is damaged.
    """

    def __init__(self, request: Request, learner: nn.Module, config: dict[str, Any], world: World):
        self.request, self.learner, self.world = request, learner, world
        self._optimizer: Stateful | None = None
        self._place: Place = Memory() if request.out is None else Folder(request.out, request.exist, is_restart)

        def look() -> dict[str, Any] | None:
            before = self._place.look(config)
            if before is not None:
                check_obeyed(before, request.compile, request.device)
            return before

        before = world.once(look)
        self.begun = before is not None
        self.config = config if before is None else before

    @property
    def last(self) -> Path | None:
        """The last checkpoint; None for a run in memory."""
        return None if self._place.folder is None else self._place.folder / LAST

    def what_is_left(self) -> str:
        """Return a text about the last checkpoint, for messages of failed trainings."""
        return "nothing was saved (out=None)" if self.last is None else f"the last good checkpoint is {self.last}"

    @property
    def from_step(self) -> int:
        """The step at which the extension of a run begins, and its schedule starts again; 0 if it was not extended."""
        return from_step(self.config)

    def is_finished(self) -> bool:
        """Return whether the run was finished by an earlier call."""
        return self.begun and self.world.once(lambda: self._place.is_finished(self.config))

    @contextmanager
    def open(self, optimizer: Stateful | None) -> Iterator[Standing]:
        """Create and lock the folder, and load the last checkpoint into the learner and the optimiser.

        Args:
            optimizer: the optimiser, whose state is in every checkpoint; None for a learner without one.

        Yields:
            The state of training.
        """
        self._optimizer = optimizer
        load = (lambda state: None) if optimizer is None else partial(load_optimizer, optimizer)
        with ExitStack() as held:
            self.world.once(lambda: held.enter_context(self._place.begin(self.config)))
            standing = self.world.once(lambda: self._place.restore(self.learner, load, self.config))
            self.world.broadcast(self.learner)
            if standing.step and optimizer is not None and self.world.size > 1:
                load(self.world.broadcast_state(optimizer.state_dict() if self.world.first else None))
            yield standing

    @contextmanager
    def recording(self, standing: Standing, steps: int, *loggers: Logger) -> Iterator[Recorder | None]:
        """Open the recorder of metrics; yields None in all processes but the first.

        Args:
            standing: the state of training at the start.
            steps: number of steps of the whole run.
            loggers: loggers besides those of the request.
        """

        with ExitStack() as held:

            def record() -> Recorder | None:
                mine = [*self.request.loggers, *loggers]
                return held.enter_context(self._recorder(standing, steps, mine)) if self.world.first else None

            yield self.world.together(record)
            self.world.together(held.pop_all().close)  # an error of closing a logger is raised in all processes

    @contextmanager
    def _recorder(self, standing: Standing, steps: int, loggers: list[Logger]) -> Iterator[Recorder]:
        lines, folder = self._place.lines(standing), self._place.folder
        for logger in loggers:
            assert folder is not None
            logger.start(folder, self.config, standing.step)
        with shown(self.request.progress, type(self.learner).__name__) as progress:
            with Recorder(lines, loggers=loggers, progress=progress, steps=steps, standing=standing) as recorder:
                yield recorder

    def save(self, name: Path, standing: Standing, recorder: Recorder | None) -> None:
        """Write the checkpoint `name`, in the first process, with the seconds of training from the recorder."""

        def write() -> None:
            assert recorder is not None
            self._place.check()
            standing.seconds, standing.metrics_bytes = recorder.seconds(), recorder.flush()
            optimizer = {} if self._optimizer is None else self._optimizer.state_dict()
            facts = {"kind": "run", "learner": self.config["learner"]}
            self._place.save(name, self.learner, optimizer, facts, standing)

        self.world.once(write)

    def run(self) -> Run:
        """Return the finished run, which the first process reads and sends to the others."""
        runs: list[Run] = []

        def read() -> tuple[int, float, int | None, list[dict[str, Any]]]:
            runs.append(self._place.finish(self.learner, self.config))
            return runs[0].steps, runs[0].seconds, runs[0].best_step, runs[0].metrics

        found = self.world.once(read)
        self.world.broadcast(self.learner)
        return runs[0] if runs else Run(self._place.folder, self.learner, self.config, *found)
