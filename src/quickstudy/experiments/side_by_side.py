"""Run several jobs at the same time, such as the seeds of a recipe, each in a process with its share of the cores."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from queue import Empty
from typing import Any

import torch

from quickstudy.experiments.options import Options
from quickstudy.experiments.stage import Reporter
from quickstudy.parallel.distributed import portable
from quickstudy.runs.signals import Signals
from quickstudy.training.recorder import Progress

LINE_SECONDS = 20.0  # time between two progress lines of one training
WAIT_SECONDS = 0.2  # longest wait for a message before the processes are checked


Job = Callable[[Reporter], Any]
"""The work of one process: a function of a module, or a `partial` of one, which reports progress to its argument."""


def at_a_time(options: Options, jobs: int) -> int:
    """The number of jobs that run at the same time: `options.parallel`, or the number of cores; 1 under torchrun."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return 1
    return min(jobs, options.parallel or cores())


def cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def side_by_side(
    jobs: Mapping[str, Job], reporter: Reporter, at_once: int, done: Callable[[str, Any], None] | None = None
) -> dict[str, Any]:
    """Run `jobs`, `at_once` of them at a time; return what each of them returns, by name.

    Args:
        jobs: the jobs by name; they start in this order, and the name precedes every line that a job reports.
        reporter: receives the lines.
        at_once: the number of processes; each computes with its share of the cores.
        done: is called with the name and the return value of every job, as soon as it ends.

    Raises:
        Exception: the exception of the first job that failed; the other jobs are stopped, and can be resumed.
        KeyboardInterrupt, SystemExit: on SIGINT, SIGTERM and SIGHUP, after all jobs have saved.
    """
    context = multiprocessing.get_context("spawn")
    messages: Any = context.Queue()
    threads = max(1, min(cores() // at_once, torch.get_num_threads()))
    waiting, running = list(jobs), dict[str, Any]()
    results: dict[str, Any] = {}
    failure: BaseException | None = None
    with Signals() as signals:
        try:
            while running or (waiting and failure is None and signals.received is None):
                while waiting and len(running) < at_once and failure is None and signals.received is None:
                    name = waiting.pop(0)
                    running[name] = context.Process(target=_run_job, args=(name, jobs[name], threads, messages))
                    _start(running[name])
                if failure is not None or signals.received is not None:
                    _stop(running.values())
                for name, kind, content in _received(messages):
                    if kind == "line":
                        reporter.say(f"{name}: {content}")
                    elif kind == "done":
                        results[name] = content
                        if done is not None:
                            done(name, content)
                    else:
                        failure = failure or content
                for name, process in list(running.items()):
                    if process.exitcode is not None and messages.empty():
                        del running[name]
                        if name not in results and failure is None and signals.received is None:
                            failure = RuntimeError(f"{name} ended with exit code {process.exitcode}")
        finally:
            _stop(running.values())
    signals.leave()
    if failure is not None:
        raise failure
    return {name: results[name] for name in jobs}


def _received(messages: Any) -> Iterator[tuple[str, str, Any]]:
    """The messages of the processes, (name of the job, kind, content); waits up to `WAIT_SECONDS` for the first."""
    try:
        yield messages.get(timeout=WAIT_SECONDS)
        while True:
            yield messages.get_nowait()
    except Empty:
        return


def _stop(processes: Any) -> None:
    """Send SIGTERM to every process once, so that it saves and exits; a terminal may already have sent it SIGINT."""
    for process in processes:
        if process.is_alive() and not getattr(process, "stopping", False):
            process.stopping = True
            os.kill(process.pid, signal.SIGTERM)


def _start(process: Any) -> None:
    """Start a process that never receives SIGINT, which a terminal sends to all: this process asks it to stop."""
    if not hasattr(signal, "pthread_sigmask"):
        return process.start()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # the new process inherits this
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _run_job(name: str, job: Job, threads: int, messages: Any) -> None:
    """Run one job in its own process, and put its lines and its result, or its exception, into `messages`."""
    threading.Thread(target=_exit_with_parent, args=(messages,), daemon=True).start()
    torch.set_num_threads(threads)
    try:
        messages.put((name, "done", job(_Sender(lambda text: messages.put((name, "line", text))))))
    except Exception as error:
        messages.put((name, "failed", portable(error)))


def _exit_with_parent(messages: Any) -> None:
    """Save and exit when the parent process ends; a parent that is killed cannot send a signal."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    messages.cancel_join_thread()  # no process reads the queue any more
    os.kill(os.getpid(), signal.SIGTERM)


class _Sender:
    """A reporter that passes every line to `say`, and the progress of a training as lines."""

    def __init__(self, say: Callable[[str], None]):
        self.say = say

    @contextmanager
    def training(self, title: str) -> Iterator[Progress]:
        """Report a line every `LINE_SECONDS` seconds, and one at the end."""
        last = time.monotonic()

        def update(step: int, steps: int, loss: float | None, rate: float | None) -> None:
            nonlocal last
            if rate is None or (step < steps and time.monotonic() - last < LINE_SECONDS):
                return
            last = time.monotonic()
            self.say(f"{title}: step {step:,} of {steps:,}" + ("" if loss is None else f"  loss {loss:.4g}"))

        yield update
