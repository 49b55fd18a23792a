"""One small training for the tests of interruption. Run as a script, it forks trainings that are killed.

    python workload.py '[{"out": "runs/a", "kill": ["batch", 31]}, ...]'

prints how each of them ended. A fork a training: torch is imported once.
"""

import json
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

import quickstudy as qs
from quickstudy.runs.run import Run

STEPS, EVERY = 60, {"checkpoint_every": 10, "evaluate_every": 7, "log_every": 3}


class Waves:
    """Sinusoids, with a hook that is called before each training batch."""

    def __init__(self, before_batch: Any = lambda: None):
        self.family, self.before_batch = qs.tasks.Sinusoid(), before_batch

    def __repr__(self) -> str:
        return f"Waves({self.family})"

    def sample(self, num_tasks: int, **options: Any) -> qs.Tasks:
        """As Sinusoid does."""
        if options["split"] == "train":
            self.before_batch()
        return self.family.sample(num_tasks, **options)


def make(kind: str) -> torch.nn.Module:
    """A learner with fixed initial weights: exact MAML, one with buffers and dropout, or one that draws latents."""
    torch.manual_seed(0)
    if kind == "process":
        return qs.NeuralProcess(width=8)
    if kind == "stateful":
        layers = (
            torch.nn.Linear(1, 8),
            torch.nn.BatchNorm1d(8),
            torch.nn.ReLU(),
            torch.nn.Dropout(0.2),
            torch.nn.Linear(8, 1),
        )
        return qs.Pretrained(torch.nn.Sequential(*layers))
    return qs.MAML(qs.nets.MLP(1, [8], 1))


def train(kind: str, out: str | Path, family: Any = None, **options: Any) -> Run:
    """The training that all of these tests interrupt, go on with, and compare."""
    sizes: dict[str, Any] = {"tasks": 4, "validation_tasks": 6, "support": (2, 4), "query": 4}
    if options.get("compile") is True:  # a graph has one shape
        sizes["support"] = 3
    settings = {"steps": STEPS, "compile": False, "schedule": "cosine", "clip": 5.0, **sizes, **EVERY, **options}
    return qs.fit(make(kind), family or Waves(), out=out, device="cpu", **settings)


def _kill_at(count: int) -> Any:
    """A function that kills this process when it is called for the `count`-th time."""
    calls = 0

    def call() -> None:
        nonlocal calls
        calls += 1
        if calls == count:
            os.kill(os.getpid(), signal.SIGKILL)

    return call


def _train_and_die(order: dict[str, Any]) -> None:
    if "copy" in order:
        shutil.copytree(Path(order["out"]).with_name(order.pop("copy")), order["out"])
    where, count = order.pop("kill")
    hook = _kill_at(count)
    if where == "disk":  # before the count-th rename or flush
        for name in ("rename", "replace", "fsync"):
            original = getattr(os, name)
            setattr(os, name, lambda *arguments, original=original: (hook(), original(*arguments))[1])
    train(order.pop("kind"), order.pop("out"), Waves(hook if where == "batch" else lambda: None), **order)


def _main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:  # what torch imports at the first use, it imports before the fork
        train("gradient", Path(folder) / "run", steps=1)
    endings = []
    for order in json.loads(sys.argv[1]):
        child = os.fork()
        if child == 0:
            _train_and_die(order)
            os._exit(0)
        endings.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    print(json.dumps(endings))


if __name__ == "__main__":
    _main()
