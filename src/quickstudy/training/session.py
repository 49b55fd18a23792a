"""A training and the folder where it is kept: what `quickstudy.fit` and `quickstudy.rl.fit` have in common."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from quickstudy.parallel.distributed import World, is_restart
from quickstudy.runs.atomic import make_folder
from quickstudy.runs.checkpoint import write_checkpoint
from quickstudy.runs.config import write_config
from quickstudy.runs.lock import locked
from quickstudy.runs.resume import check_obeyed, earlier_run, finished_run, is_finished, restore
from quickstudy.runs.run import FIGURES, Run, is_run, read_config
from quickstudy.runs.standing import Standing
from quickstudy.training.arguments import Request
from quickstudy.training.loggers import Logger
from quickstudy.training.recorder import Recorder


class Stateful(Protocol):
    """What has a state that a checkpoint keeps: an optimiser."""

    def state_dict(self) -> dict[str, Any]:
        """The state."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the state."""


class Session:
    """One training of a learner in a run folder.

    Making one looks at the folder and writes nothing. Of several processes, the first one alone touches the disk.

    Args:
        request: the folder, and what to do if it holds a run already.
        learner: trained in place.
        config: what `config.json` would say of this call; `self.config` is the run's own if it was begun before.
        world: the processes that train together.

    Raises:
        FileExistsError: if the folder holds a run (with `exist="error"`) or anything else.
        ValueError: if it holds another run.
        CheckpointError: if the run is damaged.
    """

    def __init__(self, request: Request, learner: nn.Module, config: dict[str, Any], world: World):
        self.request, self.folder, self.learner, self.world = request, request.out, learner, world
        self._optimizer: Stateful | None = None

        def look() -> tuple[str, dict[str, Any] | None]:
            folder, exist = request.out, request.exist
            if exist == "error" and is_run(folder) and is_restart(read_config(folder)):
                exist = "resume"
            before = earlier_run(folder, exist, config)
            if before is not None:
                check_obeyed(before, request.compile, request.device)
            return exist, before

        self._exist, before = world.once(look)
        self.begun = before is not None
        self.config = config if before is None else before

    def is_finished(self) -> bool:
        """Whether the run was trained to its end before."""
        return self.begun and self.world.once(lambda: is_finished(self.folder))

    @contextmanager
    def open(self, optimizer: Stateful | None) -> Iterator[Standing]:
        """Make the folder, hold its lock, and put learner and optimiser where the last checkpoint left them.

        Args:
            optimizer: kept in every checkpoint; None for a learner without one.

        Yields:
            Where training stands.
        """
        self._optimizer = optimizer
        with ExitStack() as held:
            self.world.once(lambda: self._begin(held))
            load = (lambda state: None) if optimizer is None else optimizer.load_state_dict
            standing = self.world.once(lambda: restore(self.folder, self.learner, load))
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

        def record() -> Recorder | None:
            if not self.world.first:
                return None
            return Recorder(
                self.folder,
                self.config,
                loggers=[*self.request.loggers, *loggers],
                progress=self.request.progress,
                steps=steps,
                standing=standing,
            )

        recorder = self.world.together(record)
        with ExitStack() as held:
            if recorder is not None:
                held.enter_context(recorder)
            yield recorder
            self.world.together(held.pop_all().close)  # a logger that cannot be closed ends all processes alike

    def save(self, name: Path, standing: Standing, recorder: Recorder | None) -> None:
        """Write the checkpoint `name`, in the first process; it learns from the recorder what time it is."""

        def write() -> None:
            assert recorder is not None
            standing.seconds, standing.metrics_bytes = recorder.seconds(), recorder.flush()
            training = {"optimizer": {} if self._optimizer is None else self._optimizer.state_dict()}
            facts = {"kind": "run", "learner": self.config["learner"], "standing": asdict(standing)}
            write_checkpoint(self.folder / name, self.learner.state_dict(), training, facts)

        self.world.once(write)

    def run(self) -> Run:
        """The finished run as the disk has it, read by the first process and told to the others."""
        runs: list[Run] = []

        def read() -> tuple[int, float, int | None, list[dict[str, Any]]]:
            runs.append(finished_run(self.folder, self.learner, self.config))
            return runs[0].steps, runs[0].seconds, runs[0].best_step, runs[0].metrics

        found = self.world.once(read)
        self.world.spread(self.learner)
        return runs[0] if runs else Run(self.folder, self.learner, self.config, *found)

    def _begin(self, held: ExitStack) -> None:
        make_folder(self.folder)
        held.enter_context(locked(self.folder))
        if earlier_run(self.folder, self._exist, self.config) is None:  # again: another process may have been here
            write_config(self.folder, self.config)
        make_folder(self.folder / FIGURES)
