"""A training and the place where it is kept: what `quickstudy.fit` and `quickstudy.rl.fit` have in common."""

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
    """What has a state that a checkpoint keeps: an optimiser."""

    def state_dict(self) -> dict[str, Any]:
        """The state."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the state."""


class Session:
    """One training of a learner, in a run folder or in memory.

    Making one looks at the folder and writes nothing. Of several processes, the first one alone touches the disk.

    Args:
        request: where the run is kept, and what to do if there is one already.
        learner: trained in place.
        config: what `config.json` would say of this call; `self.config` is the run's own if it was begun before.
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
        """What there is to go on from when training fails, for its message."""
        return "nothing was saved (out=None)" if self.last is None else f"the last good checkpoint is {self.last}"

    @property
    def from_step(self) -> int:
        """The step from which a run that was extended goes on, and its schedule anew; else 0."""
        return from_step(self.config)

    def is_finished(self) -> bool:
        """Whether the run was trained to its end before."""
        return self.begun and self.world.once(lambda: self._place.is_finished(self.config))

    @contextmanager
    def open(self, optimizer: Stateful | None) -> Iterator[Standing]:
        """Make the folder, hold its lock, and put learner and optimiser where the last checkpoint left them.

        Args:
            optimizer: kept in every checkpoint; None for a learner without one.

        Yields:
            Where training stands.
        """
        self._optimizer = optimizer
        load = (lambda state: None) if optimizer is None else partial(load_optimizer, optimizer)
        with ExitStack() as held:
            self.world.once(lambda: held.enter_context(self._place.begin(self.config)))
            standing = self.world.once(lambda: self._place.restore(self.learner, load, self.config))
            self.world.spread(self.learner)
            if standing.step and optimizer is not None and self.world.size > 1:
                load(self.world.hand_on(optimizer.state_dict() if self.world.first else None))
            yield standing

    @contextmanager
    def recording(self, standing: Standing, steps: int, *loggers: Logger) -> Iterator[Recorder | None]:
        """Open what takes the metrics; None in all processes but the first.

        Args:
            standing: where training begins.
            steps: of the whole run.
            loggers: besides those of the request.
        """

        with ExitStack() as held:

            def record() -> Recorder | None:
                mine = [*self.request.loggers, *loggers]
                return held.enter_context(self._recorder(standing, steps, mine)) if self.world.first else None

            yield self.world.together(record)
            self.world.together(held.pop_all().close)  # a logger that cannot be closed ends all processes alike

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
        """Write the checkpoint `name`, in the first process; it learns from the recorder what time it is."""

        def write() -> None:
            assert recorder is not None
            self._place.check()
            standing.seconds, standing.metrics_bytes = recorder.seconds(), recorder.flush()
            optimizer = {} if self._optimizer is None else self._optimizer.state_dict()
            facts = {"kind": "run", "learner": self.config["learner"]}
            self._place.save(name, self.learner, optimizer, facts, standing)

        self.world.once(write)

    def run(self) -> Run:
        """The finished run as it is kept, read by the first process and told to the others."""
        runs: list[Run] = []

        def read() -> tuple[int, float, int | None, list[dict[str, Any]]]:
            runs.append(self._place.finish(self.learner, self.config))
            return runs[0].steps, runs[0].seconds, runs[0].best_step, runs[0].metrics

        found = self.world.once(read)
        self.world.spread(self.learner)
        return runs[0] if runs else Run(self._place.folder, self.learner, self.config, *found)
