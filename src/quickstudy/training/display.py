"""Progress of a training: a bar in a notebook or on a terminal, a line every few seconds elsewhere.

`fit` and the command line use the same display. Outside a notebook it is written to stderr.
"""

import html
import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import IO, Any, cast

from rich import progress as rich
from rich.console import Console

from quickstudy.screen import Screen
from quickstudy.training.recorder import Progress

NOTEBOOK_EVERY = 0.2  # seconds between two updates of a notebook's cell


class Display:
    """Shows the progress of trainings, and prints lines.

    Args:
        console: the console to write to; by default stderr.
        every: seconds between lines if the console is not a terminal.
        clock: returns the time in seconds; tests replace it.
    """

    def __init__(
        self, console: Console | None = None, *, every: float = 10.0, clock: Callable[[], float] = time.monotonic
    ):
        self.console = console or Console(file=cast(IO[str], Screen(sys.stderr)), highlight=False, soft_wrap=True)
        self.every, self._clock = every, clock

    def say(self, text: str) -> None:
        """Print one line."""
        self.console.print(text, markup=False)

    @contextmanager
    def training(self, title: str) -> Iterator[Progress]:
        """Show one training; yields a function to call with (step, steps, loss, rate)."""
        if in_notebook():
            yield self._cell(title)
        elif self.console.is_terminal:
            with self._bar(title) as update:
                yield update
        else:
            yield self._lines(title)

    @contextmanager
    def _bar(self, title: str) -> Iterator[Progress]:
        columns = (
            rich.TextColumn("{task.description}", style="bold"),
            rich.BarColumn(bar_width=None),
            rich.MofNCompleteColumn(),
            rich.TextColumn("{task.fields[facts]}"),
        )
        with rich.Progress(*columns, console=self.console, expand=True) as bar:
            task = bar.add_task(title, total=None, facts="")

            def update(step: int, steps: int, loss: float | None, rate: float | None) -> None:
                bar.update(task, completed=step, total=steps, facts=_facts(step, steps, loss, rate))

            yield update

    def _cell(self, title: str) -> Progress:
        """Return a function that shows a bar below a notebook's cell. It only needs IPython, which notebooks have."""
        from IPython.display import display

        handle: Any = None
        last = -math.inf

        def update(step: int, steps: int, loss: float | None, rate: float | None) -> None:
            nonlocal handle, last
            if handle is not None and step < steps and self._clock() - last < NOTEBOOK_EVERY:
                return
            last = self._clock()
            text = f"{title}: {step:,} of {steps:,}  {_facts(step, steps, loss, rate)}".rstrip()
            bar = f'<progress value="{step}" max="{steps}" style="width: 40%; vertical-align: middle"></progress>'
            shown = {"text/html": f"{bar} <code>{html.escape(text)}</code>", "text/plain": text}
            if handle is None:
                handle = display(shown, raw=True, display_id=True)
            else:
                handle.update(shown, raw=True)

        return update

    def _lines(self, title: str) -> Progress:
        last = self._clock()
        printed = -1

        def update(step: int, steps: int, loss: float | None, rate: float | None) -> None:
            nonlocal last, printed
            done = step == steps and printed != steps
            if rate is not None and (done or self._clock() - last >= self.every):
                last, printed = self._clock(), step
                self.say(f"{title}: step {step:,} of {steps:,}  {_facts(step, steps, loss, rate)}")

        return update


@contextmanager
def shown(progress: bool | Progress | None, title: str) -> Iterator[Progress | None]:
    """Yield the function that receives the progress of one training, or None.

    Args:
        progress: as for `quickstudy.fit`: the caller's own function, True or False, or None for a display in notebooks
            and on terminals.
        title: title of the display.
    """
    if callable(progress):
        yield progress
    elif progress or (progress is None and is_watched()):
        with Display().training(title) as update:
            yield update
    else:
        yield None


def is_watched() -> bool:
    """Return whether a person may be watching: in a notebook, or if stderr is a terminal."""
    return in_notebook() or Screen(sys.stderr).isatty()


def in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


def _facts(step: int, steps: int, loss: float | None, rate: float | None) -> str:
    words = []
    if rate:
        words.append(f"{rate:,.0f} steps/s" if rate >= 10 else f"{rate:.2g} steps/s")
    if loss is not None and math.isfinite(loss):
        words.append(f"loss {loss:.4g}")
    if rate and step < steps:
        words.append(f"{timedelta(seconds=round((steps - step) / rate))} left")
    return "  ".join(words)
