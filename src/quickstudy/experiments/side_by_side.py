"""Several pieces of work at the same time, each a process with its share of the machine's cores: seeds, mostly."""

import multiprocessing
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from quickstudy.experiments.options import Options
from quickstudy.experiments.stage import Reporter
from quickstudy.parallel.distributed import portable
from quickstudy.runs.signals import Signals
from quickstudy.training.recorder import Progress

EVERY = 20.0  # seconds between two lines of one training
BREATH = 0.2  # seconds between two looks at the processes


Job = Callable[[Reporter], Any]
"""What a process does, and whom it tells: a function of a module, or a `partial` of one."""


def at_a_time(options: Options, jobs: int) -> int:
    """How many of `jobs` run together: as many as asked for, or as there are cores; one where torchrun has its own."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return 1
    return min(jobs, options.parallel or cores())


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def side_by_side(
    jobs: Mapping[str, Job], reporter: Reporter, at_once: int, done: Callable[[str, Any], None] | None = None
) -> dict[str, Any]:
    """What each of `jobs` returns, by its name, `at_once` of them at a time.

    Args:
        jobs: begun in this order; the name stands before all that it says.
        reporter: is told what they say, a line at a time.
        at_once: processes; each computes with its share of the cores.
        done: is told the name of every job and what it returned, once it has.

    Raises:
        Exception: what went wrong in the first job that failed; the others are stopped, and can be gone on with.
        KeyboardInterrupt, SystemExit: once all have saved, on SIGINT, SIGTERM and SIGHUP.
    """
    context = multiprocessing.get_context("spawn")
    told: Any = context.Queue()
    threads = max(1, min(cores() // at_once, torch.get_num_threads()))
    waiting, running = list(jobs), dict[str, Any]()
    results: dict[str, Any] = {}
    failure: BaseException | None = None
    with Signals() as signals:
        try:
            while running or (waiting and failure is None and signals.received is None):
                while waiting and len(running) < at_once and failure is None and signals.received is None:
                    name = waiting.pop(0)
                    running[name] = context.Process(target=_run, args=(name, jobs[name], threads, told))
                    running[name].start()
                if failure is not None or signals.received is not None:
                    _stop(running.values())
                for name, kind, content in _news(told):
                    if kind == "said":
                        reporter.say(f"{name}: {content}")
                    elif kind == "done":
                        results[name] = content
                        if done is not None:
                            done(name, content)
                    else:
                        failure = failure or content
                for name, process in list(running.items()):
                    if process.exitcode is not None and told.empty():
                        del running[name]
                        if name not in results and failure is None and signals.received is None:
                            failure = RuntimeError(f"{name} ended with exit code {process.exitcode}")
        finally:
            _stop(running.values())
    signals.leave()
    if failure is not None:
        raise failure
    return {name: results[name] for name in jobs}


def _news(told: Any) -> Iterator[tuple[str, str, Any]]:
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


def _run(name: str, job: Job, threads: int, told: Any) -> None:
    """One job, in a process of its own."""
    threading.Thread(target=_leave_with_parent, args=(told,), daemon=True).start()
    torch.set_num_threads(threads)
    try:
        told.put((name, "done", job(_Relay(lambda text: told.put((name, "said", text))))))
    except Exception as error:
        told.put((name, "failed", portable(error)))


def _leave_with_parent(told: Any) -> None:
    """Save and leave when the process that started this one is gone: one that is killed cannot ask."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    told.cancel_join_thread()  # nobody reads it any more
    os.kill(os.getpid(), signal.SIGTERM)


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
