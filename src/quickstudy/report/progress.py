"""How the command line shows that work goes on: a bar on a terminal, a line now and then elsewhere, both on stderr."""

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import IO, cast

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from quickstudy.report.output import Screen

Callback = Callable[[int, int, float | None, float | None], None]


class Display:
    """Shows trainings and says lines.

    Args:
        console: where; by default stderr.
        every: seconds between lines where there is no terminal.
        clock: for tests.
    """

    def __init__(
        self, console: Console | None = None, *, every: float = 10.0, clock: Callable[[], float] = time.monotonic
    ):
        self.console = console or Console(file=cast(IO[str], Screen(sys.stderr)), highlight=False, soft_wrap=True)
        self.every, self._clock = every, clock

    def say(self, text: str) -> None:
        """One line."""
        self.console.print(text, markup=False)

    @contextmanager
    def training(self, title: str) -> Iterator[Callback]:
        """A display for one training: call what it gives with (step, steps, loss, rate)."""
        if self.console.is_terminal:
            with self._bar(title) as update:
                yield update
        else:
            yield self._lines(title)

    @contextmanager
    def _bar(self, title: str) -> Iterator[Callback]:
        columns = (
            TextColumn("{task.description}", style="bold"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[facts]}"),
        )
        with Progress(*columns, console=self.console, expand=True) as bar:
            task = bar.add_task(title, total=None, facts="")

            def update(step: int, steps: int, loss: float | None, rate: float | None) -> None:
                bar.update(task, completed=step, total=steps, facts=_facts(step, steps, loss, rate))

            yield update

    def _lines(self, title: str) -> Callback:
        last = self._clock()
        said = -1

        def update(step: int, steps: int, loss: float | None, rate: float | None) -> None:
            nonlocal last, said
            done = step == steps and said != steps
            if rate is not None and (done or self._clock() - last >= self.every):
                last, said = self._clock(), step
                self.say(f"{title}: step {step:,} of {steps:,}  {_facts(step, steps, loss, rate)}")

        return update


def _facts(step: int, steps: int, loss: float | None, rate: float | None) -> str:
    words = []
    if rate:
        words.append(f"{rate:,.0f} steps/s" if rate >= 10 else f"{rate:.2g} steps/s")
    if loss is not None and math.isfinite(loss):
        words.append(f"loss {loss:.4g}")
    if rate and step < steps:
        words.append(f"{timedelta(seconds=round((steps - step) / rate))} left")
    return "  ".join(words)
