"""Kills trainings at their file operations and starts them again, many times, from one Python process.

    python kills.py FOLDER '{"fit": {"singles": 10, "pairs": 5, "seed": 0}, "rl.fit": [[["write", 3, 0]], ...], ...}'

Each workload first runs undisturbed, and its file operations are counted. Then it starts many times in a new folder, is
killed at one operation, starts again, is killed a second time if it gets that far, and at last runs to its end. The
operations are drawn at random (a number of single kills and of pairs) or given. Prints the outcome of each run as a
line of JSON as soon as it is known. Each attempt is a fork, so torch is imported once.
"""

import contextlib
import ctypes
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from runs.faults import Kill, Watch

import quickstudy as qs
from quickstudy.cli import main as command_line

TIMED = {"seconds", "steps_per_second", "environment_steps_per_second"}
BUSY = "another process is training in"
OLD_RATE = 0.1
TINY = ["--steps", "3", "--width", "8", "--test-tasks", "4", "--shots", "2", "3"]


def fit(folder: Path) -> None:
    """`quickstudy.fit`, with dropout and batch statistics, so that every kind of state is there."""
    _fit(folder / "run")


def _fit(run: Path, network: torch.nn.Module | None = None, **options: Any) -> None:
    torch.manual_seed(0)
    layers = (torch.nn.Linear(1, 8), torch.nn.BatchNorm1d(8), torch.nn.Dropout(0.2), torch.nn.Linear(8, 1))
    learner = qs.Pretrained(torch.nn.Sequential(*layers) if network is None else network)
    sizes: dict[str, Any] = {"tasks": 4, "validation_tasks": 4, "support": (2, 4), "query": 4}
    every = {"log_every": 1, "evaluate_every": 3, "checkpoint_every": 2}
    usual = {"steps": 7, "exist": "resume", "device": "cpu", **sizes, **every}
    qs.fit(learner, qs.tasks.Sinusoid(), out=run, **{**usual, **options})


class _Stopping:
    """A logger that stops the training after its third step, without a checkpoint."""

    def start(self, folder: Path, config: dict[str, Any], step: int) -> None:
        """Does nothing."""

    def log(self, step: int, values: dict[str, float]) -> None:
        """Raises KeyboardInterrupt."""
        if step == 3:
            raise KeyboardInterrupt

    def close(self) -> None:
        """Does nothing."""


def _stopped(folder: Path) -> None:
    with contextlib.suppress(KeyboardInterrupt):
        _fit(folder / "run", qs.nets.MLP(1, [8], 1), loggers=[_Stopping()])


def rl_fit(folder: Path) -> None:
    """`quickstudy.rl.fit`."""
    torch.manual_seed(0)
    learner = qs.rl.MAMLTRPO(qs.rl.GaussianPolicy(qs.nets.MLP(2, [4], 2), 2))
    world = qs.rl.Navigation2D(num_envs=2, horizon=4)
    qs.rl.fit(learner, world, steps=5, tasks=2, out=folder / "run", exist="resume", checkpoint_every=2, device="cpu")


def extend(folder: Path) -> None:
    """`fit` with `exist="extend"`, of the run that `fit` makes."""
    try:
        _fit(folder / "run", steps=11, exist="extend")
    except ValueError as error:  # the kill came when the extension was finished
        if "steps=11 does not extend" not in str(error):
            raise


def overwrite(folder: Path) -> None:
    """`fit` with `exist="overwrite"`, in place of a run with another rate; what is no longer that run is resumed."""
    config = folder / "run" / "config.json"
    is_old = config.exists() and json.loads(config.read_text())["lr"] == OLD_RATE
    if is_old and differences(outcome(folder), outcome(folder.parent / "base")):
        raise SystemExit("the old run is not whole")
    _fit(folder / "run", exist="overwrite" if is_old else "resume")


def resume(folder: Path) -> None:
    """`quickstudy resume` of a run of `fit` that stopped after its third step."""
    raise SystemExit(command_line(["resume", str(folder / "run")]))


def parts(folder: Path) -> None:
    """A recipe that trains two learners, on the command line."""
    _typed(["run", "sinusoid-meta-sgd", *TINY, "--device", "cpu"], folder / "run")


def seeds(folder: Path) -> None:
    """Two seeds at the same time, on the command line."""
    _typed(["run", "sinusoid-maml", *TINY, "--device", "cpu", "--seeds", "3", "5", "--parallel", "2"], folder / "run")


WORKLOADS: dict[str, Callable[[Path], None]] = {
    "fit": fit,
    "rl.fit": rl_fit,
    "extend": extend,
    "overwrite": overwrite,
    "resume": resume,
    "parts": parts,
    "seeds": seeds,
}
BASES: dict[str, Callable[[Path], None]] = {  # the run with which a workload begins
    "extend": fit,
    "overwrite": lambda folder: _fit(folder / "run", lr=OLD_RATE),
    "resume": _stopped,
}


def _typed(command: list[str], out: Path) -> None:
    """Run the command as a person would: the same command again or, if the message says so, `quickstudy resume`."""
    if command_line([*command, "--out", str(out)]) == 0:
        return
    with open(os.environ["KILLS_STDERR"]) as file:
        said = file.read()
    if f"`quickstudy resume {out}`" not in said:
        raise SystemExit(1)
    raise SystemExit(command_line(["resume", str(out)]))


def outcome(folder: Path) -> dict[str, Any]:
    """Every file of a run, without times and the place of the folder. All of it must be equal to the bit."""
    found: dict[str, Any] = {}
    for path in sorted(p for p in (folder / "run").rglob("*") if p.is_file()):
        name = str(path.relative_to(folder))
        data = path.read_bytes().replace(str(folder).encode(), b"FOLDER")  # commands name it
        if path.parent.name == "tensorboard":
            continue  # one file an attempt
        if path.name == "metrics.jsonl":
            lines = [json.loads(line) for line in data.decode().splitlines()]
            found[name] = [{k: v for k, v in line.items() if k not in TIMED} for line in lines]
        elif path.name == "result.json":
            found[name] = {k: v for k, v in json.loads(data).items() if k not in TIMED}
        elif path.name == "state.json":
            state = json.loads(data)
            standing = {k: v for k, v in state["standing"].items() if k not in ("seconds", "metrics_bytes")}
            found[name] = {**state, "standing": standing, "sha256": None}
        elif path.name == "report.html":
            found[name] = re.sub(rb"(seconds of training[^<]*</\w+><\w+[^>]*>)[^<]*", rb"\1", data)
        else:
            found[name] = data
    return found


def differences(found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """The names of files that differ, or that only one of two outcomes has."""
    return sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))


def attempt(work: Callable[[Path], None], folder: Path, kill: Kill | None, log: Path | None = None) -> tuple[int, str]:
    """Run the workload in a fork of this process; returns the exit code (or minus the signal) and the output."""
    said = folder / "said"
    child = os.fork()
    if child == 0:
        os.environ["KILLS_STDERR"] = str(said)
        file = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 1), os.dup2(file, 2)
        sys.stdout, sys.stderr = open(1, "w", buffering=1), open(2, "w", buffering=1)
        Watch(folder / "run", kill, log).install()
        os._exit(_code(work, folder))
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code, said.read_text()


def _code(work: Callable[[Path], None], folder: Path) -> int:
    try:
        work(folder)
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def orphans(seconds: float = 60.0) -> int:
    """Wait for the processes that a killed one started; returns their number."""
    count, until = 0, time.monotonic() + seconds
    with contextlib.suppress(ChildProcessError):
        while time.monotonic() < until:
            if os.waitpid(-1, os.WNOHANG)[0]:
                count += 1
            else:
                time.sleep(0.005)
    return count


def begin(name: str, folder: Path) -> None:
    """Make the folder of a workload, with a copy of the run with which it begins."""
    folder.mkdir(parents=True)
    if name in BASES:
        base = folder.parent / "base"
        if not base.exists():
            base.mkdir()
            BASES[name](base)
        shutil.copytree(base / "run", folder / "run")


def try_out(name: str, folder: Path, kills: list[Kill], expected: dict[str, Any]) -> dict[str, Any]:
    """One run that dies at each of `kills` in turn, and is then finished."""
    begin(name, folder)
    work, died = WORKLOADS[name], 0
    for kill in kills:
        code, said = attempt(work, folder, kill)
        orphans()
        died += code == -signal.SIGKILL or (kill.process > 0 and "exit code -9" in said)
        if code == 0:  # it never came so far
            break
    before = contents(folder)
    code, said = attempt(work, folder, None)
    orphans()
    found = {"kills": kills, "died": died, "code": code, "differ": [], "said": "" if code == 0 else said[-600:]}
    if code == 0:
        found["differ"] = differences(outcome(folder), expected)
    else:
        found["kept"] = contents(folder) == before
    shutil.rmtree(folder)
    return found


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of every file of the run."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in (folder / "run").rglob("*") if p.is_file()}


def choose(operations: dict[tuple[str, int], int], singles: int, pairs: int, seed: int) -> list[list[Kill]]:
    """Kills spread over all kinds of operations; the second of a pair comes early, as what is left to do is less."""
    chance, kinds = random.Random(seed), sorted(operations)
    early = {where: min(8, count) for where, count in operations.items()}

    def draw(number: int, among: dict[tuple[str, int], int]) -> Kill:
        kind, process = kinds[number % len(kinds)]
        return Kill(kind, chance.randint(1, among[kind, process]), process)

    alone = [[draw(i, operations)] for i in range(singles)]
    chance.shuffle(kinds)
    return alone + [[draw(i, early if i % 2 else operations), draw(chance.randrange(99), early)] for i in range(pairs)]


def undisturbed(name: str, folder: Path) -> tuple[dict[str, Any], dict[tuple[str, int], int]]:
    """The outcome of a workload that is not killed, and the number of its operations, by kind and process."""
    warm, whole = folder / "warm", folder / "whole"
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        begin(name, warm)
        begin(name, whole)
        with contextlib.suppress(SystemExit):
            WORKLOADS["parts" if name == "seeds" else name](warm)  # everything is imported before the fork
    code, said = attempt(WORKLOADS[name], whole, None, folder / "log")
    assert code == 0, said
    lines = (line.split() for line in (folder / "log").read_text().splitlines())
    return outcome(whole), dict(Counter((kind, int(process)) for process, kind in lines))


def main() -> None:
    """Run the workloads that the command line names."""
    torch.set_num_threads(1)
    context = multiprocessing.get_context("fork")  # a seed that is spawned would import torch anew
    multiprocessing.get_context = lambda kind=None: context  # type: ignore[assignment,misc]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: orphans become ours, and can be waited for
    folder = Path(sys.argv[1])
    for name, how in json.loads(sys.argv[2]).items():
        place = folder / name
        expected, operations = undisturbed(name, place)
        orders = choose(operations, **how) if isinstance(how, dict) else [[Kill(*kill) for kill in run] for run in how]
        for i, kills in enumerate(orders):
            found = try_out(name, place / str(i), kills, expected)
            print(json.dumps({"work": name, **found}), flush=True)


if __name__ == "__main__":
    main()
