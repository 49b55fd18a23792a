"""Several seeds of a recipe at the same time, each a process with its share of the machine's cores."""

import multiprocessing
import os
import queue
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from quickstudy.recipes.options import Options
from quickstudy.recipes.stage import Reporter
from quickstudy.training.distributed import portable
from quickstudy.training.recorder import Progress
from quickstudy.training.signals import Signals

EVERY = 20.0  # seconds between two lines of one seed
BREATH = 0.2  # seconds between two looks at the processes


def at_a_time(options: Options) -> int:
    """How many seeds run together: as many as asked for, or as there are cores; one where torchrun has its own."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return 1
    return min(len(options.seeds), options.parallel or cores())


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def side_by_side(
    recipe: str, seeds: Sequence[Options], how: Mapping[str, Any], reporter: Reporter, at_once: int
) -> list[dict[str, Any]]:
    """The results of a recipe run with each of `seeds`, `at_once` of them at a time.

    Args:
        recipe: its name.
        seeds: options of each, with `out` set.
        how: arguments of `execute`.
        reporter: is told what they say, a line at a time.
        at_once: processes; each computes with its share of the cores.

    Raises:
        Exception: what went wrong in the first seed that failed; the others are stopped, and can be gone on with.
        KeyboardInterrupt, SystemExit: once all have saved, on SIGINT and SIGTERM.
    """
    context = multiprocessing.get_context("spawn")
    told: Any = context.Queue()
    threads = max(1, min(cores() // at_once, torch.get_num_threads()))
    reporter.say(f"{len(seeds)} seeds, {at_once} at a time, on {threads} thread{'s' if threads > 1 else ''} each")
    waiting, running = list(range(len(seeds))), dict[int, Any]()
    results: dict[int, dict[str, Any]] = {}
    failure: BaseException | None = None
    with Signals() as signals:
        try:
            while running or (waiting and failure is None and signals.received is None):
                while waiting and len(running) < at_once and failure is None and signals.received is None:
                    place = waiting.pop(0)
                    arguments = (place, recipe, seeds[place], dict(how), threads, told)
                    running[place] = context.Process(target=_run, args=arguments)
                    running[place].start()
                if failure is not None or signals.received is not None:
                    _stop(running.values())
                for place, kind, content in _news(told):
                    if kind == "said":
                        reporter.say(f"seed {seeds[place].seed}: {content}")
                    elif kind == "done":
                        results[place] = content
                    else:
                        failure = failure or content
                for place, process in list(running.items()):
                    if process.exitcode is not None and told.empty():
                        del running[place]
                        if place not in results and failure is None and signals.received is None:
                            failure = RuntimeError(f"seed {seeds[place].seed} ended with exit code {process.exitcode}")
        finally:
            _stop(running.values())
    signals.leave()
    if failure is not None:
        raise failure
    return [results[place] for place in range(len(seeds))]


def _news(told: Any) -> Iterator[tuple[int, str, Any]]:
    """What the processes have told, waiting a moment for the first of it."""
    try:
        yield told.get(timeout=BREATH)
        while True:
            yield told.get_nowait()
    except queue.Empty:
        return


def _stop(processes: Any) -> None:
    """Ask them to save and leave. (SIGTERM, once: a terminal may have sent them SIGINT already.)"""
    for process in processes:
        if process.is_alive() and not getattr(process, "asked", False):
            process.asked = True
            os.kill(process.pid, signal.SIGTERM)


def _run(place: int, recipe: str, options: Options, how: dict[str, Any], threads: int, told: Any) -> None:
    """One seed, in a process of its own."""
    torch.set_num_threads(threads)
    from quickstudy.recipes.execute import execute

    try:
        result = execute(recipe, options, **how, reporter=_Relay(lambda text: told.put((place, "said", text))))
        told.put((place, "done", result))
    except Exception as error:
        told.put((place, "failed", portable(error)))


class _Relay:
    """Hands on what a run says, and now and then where its training stands."""

    def __init__(self, say: Callable[[str], None]):
        self.say = say

    @contextmanager
    def training(self, title: str) -> Iterator[Progress]:
        """A line every `EVERY` seconds, and one at the end."""
        last = time.monotonic()

        def update(step: int, steps: int, loss: float | None, rate: float | None) -> None:
            nonlocal last
            if rate is None or (step < steps and time.monotonic() - last < EVERY):
                return
            last = time.monotonic()
            self.say(f"{title}: step {step:,} of {steps:,}" + ("" if loss is None else f"  loss {loss:.4g}"))

        yield update
