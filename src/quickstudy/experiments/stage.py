"""The surroundings of one run of a recipe: its folder, its seed and a reporter of progress.

A recipe's `run(options, stage)` builds its learners, trains them by `stage.train`, measures and draws them, and returns
its metrics. To measure a run again, `run` is called with a stage that loads the trained learners instead of training.
If a recipe has a function `gather(options, stage)`, it is called after all seeds of a run have ended, to combine them.
"""

import csv
import io
import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Literal, Protocol

import torch
from matplotlib.figure import Figure
from torch import nn

import quickstudy as qs
from quickstudy.experiments.options import Options, to_json
from quickstudy.parallel.distributed import job
from quickstudy.report import figures
from quickstudy.report.tables import PARTS
from quickstudy.runs import atomic, facts
from quickstudy.training.recorder import Progress

Mode = Literal["new", "resume", "measure"]


class Reporter(Protocol):
    """Receives progress messages."""

    def training(self, title: str) -> AbstractContextManager[Progress]:
        """A context manager that returns the `progress` function of one training."""

    def say(self, text: str) -> None:
        """Receive one line."""


class Silent:
    """A reporter that discards all messages."""

    @contextmanager
    def training(self, title: str) -> Iterator[Progress]:
        """Return a `progress` function that does nothing."""
        del title
        yield lambda step, steps, loss, rate: None

    def say(self, text: str) -> None:
        """Discard the line."""
        del text


class Stage:
    """One run of a recipe, for one seed.

    Args:
        recipe: name of the recipe.
        options: options of the recipe, with `out` set.
        mode: "new", "resume" (continue where the run stopped) or "measure" (load the trained learners).
        command: the command that the user typed.
        reporter: receives progress messages.
        write: whether a new measurement replaces the old one.
        first: whether this process writes files. Of the processes that `torchrun` started, the first one does; all of
            them train and measure.
    """

    def __init__(
        self,
        recipe: str,
        options: Options,
        mode: Mode,
        command: str | None,
        reporter: Reporter,
        *,
        write: bool = True,
        first: bool = True,
    ):
        if options.out is None:
            raise ValueError("a stage needs options with out= set to the run folder")
        self.recipe, self.options, self.folder = recipe, options, options.out
        self.mode, self.command, self.reporter = mode, command, reporter
        self.write, self.first, self.seconds = write, first, 0.0
        self.commit = facts.commit()  # before training, since the commit may change meanwhile

    def train(
        self, learner: nn.Module, family: Any, *, part: str = "", fit: Callable[..., Any] = qs.fit, **training: Any
    ) -> Any:
        """Train `learner`, continue its training or load it, by the mode; return it with the weights `options.which`.

        Args:
            learner: the learner to train. Build all learners of a recipe before the first training, so that their
                initial weights depend on the seed alone.
            family: a task family, or an environment.
            part: a name for each learner, if the recipe trains several; it is a folder within the run.
            fit: `quickstudy.fit`, or `quickstudy.rl.fit`.
            training: further arguments of `fit`.
        """
        folder = self.folder / part if part else self.folder
        if self.mode != "measure":
            if part:
                self.describe()
            with self.reporter.training(PARTS.get(part, part) or self.recipe) as progress:
                run = fit(
                    learner,
                    family,
                    out=folder,
                    seed=self.options.seed,
                    exist="error" if self.mode == "new" else "resume",
                    device=self.options.device,
                    progress=progress,
                    recipe=None if part else self.recipe,
                    options=None if part else to_json(self.options),
                    command=self.command,
                    **training,
                )
            self.seconds += run.seconds
        return qs.load(folder, which=self.options.which, device=device(self.options.device))

    @property
    def draws(self) -> bool:
        """Whether `draw` draws figures: not if the run is measured again and its files stay as they are."""
        return self.first and (self.mode != "measure" or self.write)

    def draw(self, name: str, make: Callable[[], Figure], caption: str = "") -> None:
        """Save the figure that `make()` returns, and its caption, if `draws`.

        If the figure cannot be drawn or written, a RuntimeWarning names it, and the run continues.
        """
        if self.draws:
            try:
                figures.save(make(), self.folder / "figures", name, caption)
            except Exception as error:  # any error: the results of a long training must not be lost
                why = f"{type(error).__name__}: {error}"
                message = (
                    f"the figure {name!r} was not drawn ({why}); the run continues, its numbers are in result.json"
                )
                warnings.warn(message, RuntimeWarning, stacklevel=2)

    def keep(self, name: str, content: dict[str, Any]) -> None:
        """Write `content` as NAME.json into the run folder, unless the run is measured again with `write=False`."""
        if self.first and (self.mode != "measure" or self.write):
            atomic.write_file(self.folder / f"{name}.json", (json.dumps(content) + "\n").encode())

    def recall(self, name: str) -> Any:
        """The content of NAME.json in the run folder; None if there is none, or if the run is new.

        Raises:
            ValueError: if it is not JSON.
        """
        path = self.folder / f"{name}.json"
        if self.mode == "new" or not path.exists():
            return None
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path} is damaged ({error}); restore the file from a copy") from None

    def keep_rows(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write rows with the same keys as NAME.csv into the run folder, under the same condition as `keep`."""
        if self.first and (self.mode != "measure" or self.write):
            text = io.StringIO()
            writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
            atomic.write_file(self.folder / f"{name}.csv", text.getvalue().encode())

    def say(self, text: str) -> None:
        """Pass a line to the reporter."""
        self.reporter.say(text)

    def describe(self) -> None:
        """Write the `config.json` of a run that has parts; for a run without parts, `fit` writes it."""
        path = self.folder / "config.json"
        if self.first and not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            config = {"recipe": self.recipe, "options": to_json(self.options), "command": self.command, "job": job()}
            atomic.write_file(path, (json.dumps(config, indent=1) + "\n").encode())


def device(name: str) -> str:
    """The device of that name; `auto` is a GPU if there is one, and otherwise the CPU."""
    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name
