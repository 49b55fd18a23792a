"""What a recipe stands on: a folder, a seed and somebody to tell.

A recipe's `run(options, stage)` builds its learners, hands them to `stage.train`, measures, draws, and returns its
metrics. To re-measure a run is to run it again with `train` loading instead of training. A recipe with
`gather(options, stage)` has it called when all of several seeds have run, to draw them together.
"""

import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Literal, Protocol

import torch
from matplotlib.figure import Figure
from torch import nn

import quickstudy as qs
from quickstudy.experiments.options import Options, to_json
from quickstudy.parallel.distributed import job
from quickstudy.report import figures
from quickstudy.runs import atomic, facts
from quickstudy.training.recorder import Progress

Mode = Literal["new", "resume", "measure"]


class Reporter(Protocol):
    """Whom a run tells how it goes."""

    def training(self, title: str) -> AbstractContextManager[Progress]:
        """A display for one training."""

    def say(self, text: str) -> None:
        """One line."""


class Silent:
    """Tells nobody."""

    @contextmanager
    def training(self, title: str) -> Iterator[Progress]:
        """A display that shows nothing."""
        del title
        yield lambda step, steps, loss, rate: None

    def say(self, text: str) -> None:
        """Says nothing."""
        del text


class Stage:
    """Where one recipe runs, for one seed.

    Args:
        recipe: its name.
        options: with `out` set.
        mode: "new", "resume" (go on where it stopped) or "measure" (load what was trained, and train nothing).
        command: what the user typed.
        reporter: whom to tell.
        write: what is measured anew takes the place of what was.
        first: whether this is the process that writes, of those that `torchrun` started; all of them train and measure.
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
        self.commit = facts.commit()  # of the code that was read, whatever is committed while it trains

    def train(
        self, learner: nn.Module, family: Any, *, part: str = "", fit: Callable[..., Any] = qs.fit, **training: Any
    ) -> Any:
        """Train `learner`, or go on with it, or load it; returns it with the weights that `which` names.

        Args:
            learner: built before any training of the same recipe, so that its initial weights depend on the seed alone.
            family: where tasks come from: a task family, or an environment.
            part: a recipe that trains several learners names each; it becomes a folder within the run.
            fit: `quickstudy.fit`, or `quickstudy.rl.fit`.
            training: arguments of it.
        """
        folder = self.folder / part if part else self.folder
        if self.mode != "measure":
            if part:
                self.describe()
            with self.reporter.training(part or self.recipe) as progress:
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

    def draw(self, name: str, make: Callable[[], Figure], caption: str = "") -> None:
        """Save the figure that `make` makes, with its caption for a report, unless the run is only re-measured.

        A figure that cannot be drawn, or written, is named in a RuntimeWarning, and costs no result.
        """
        if self.mode != "measure" and self.first:
            try:
                figures.save(make(), self.folder / "figures", name, caption)
            except Exception as error:  # whatever it is, hours of training may lie behind it
                why = f"{type(error).__name__}: {error}"
                told = f"the figure {name!r} was not drawn ({why}); the run goes on, and its numbers are in result.json"
                warnings.warn(told, RuntimeWarning, stacklevel=2)

    def keep(self, name: str, content: dict[str, Any]) -> None:
        """Write `content` as NAME.json into the run, unless it is re-measured to be looked at."""
        if self.first and (self.mode != "measure" or self.write):
            atomic.write_file(self.folder / f"{name}.json", (json.dumps(content) + "\n").encode())

    def say(self, text: str) -> None:
        """Tell whoever watches."""
        self.reporter.say(text)

    def describe(self) -> None:
        """Write the `config.json` of a run that has parts (that of any other is written by `fit`)."""
        path = self.folder / "config.json"
        if self.first and not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            config = {"recipe": self.recipe, "options": to_json(self.options), "command": self.command, "job": job()}
            atomic.write_file(path, (json.dumps(config, indent=1) + "\n").encode())


def device(name: str) -> str:
    """`auto` made definite."""
    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name
