"""The files of a run folder: their names, how they are read, and how the result is written."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from quickstudy.evaluation.intervals import Metric
from quickstudy.runs.atomic import temporary_name, write_file
from quickstudy.runs.facts import commit, hardware
from quickstudy.runs.frames import to_frame
from quickstudy.runs.lock import LOCK
from quickstudy.runs.reading import LARGEST, CheckpointError, parse_object, read_file

CONFIG, RESULT, FIGURES = "config.json", "result.json", "figures"
OVERWRITTEN = "config.json.overwritten"  # what `config.json` is called while its run is deleted
LAST, BEST = Path("checkpoints", "last"), Path("checkpoints", "best")


@dataclass(frozen=True)
class Run:
    """A finished training.

    Args:
        path: the run folder; None for a run in memory.
        learner: has the last weights.
        config: the content of `config.json`.
        steps: number of steps done; fewer than planned if training stopped early.
        seconds: duration of training, including the time before interruptions.
        best_step: number of steps after which the validation loss was lowest; None if it was never finite.
        metrics: the lines of `metrics.jsonl`.
        best: the best weights of a run in memory.

    >>> Run(Path("runs/sine"), nn.Linear(1, 1), {}, 300, 12.3, 285, [])
    Run(runs/sine: Linear, 300 steps in 12 s, best at step 285)
    """

    path: Path | None
    learner: nn.Module
    config: dict[str, Any]
    steps: int
    seconds: float
    best_step: int | None
    metrics: list[dict[str, Any]]
    best: dict[str, Any] | None = None

    def __repr__(self) -> str:
        best = "" if self.best_step is None else f", best at step {self.best_step}"
        name = type(self.learner).__name__
        return f"Run({self.path or 'in memory'}: {name}, {self.steps} steps in {self.seconds:.0f} s{best})"

    def load_best(self) -> nn.Module:
        """Copy the weights with the lowest validation loss into `learner`, and return it.

        Raises:
            CheckpointError: if there are none: the loss was never finite, or the run was made by `rl.fit`.
        """
        from quickstudy.runs.checkpoint import load_weights, read_checkpoint

        if self.path is None:
            if not self.best:
                raise CheckpointError("this run has no best weights: its validation loss was never finite")
            self.learner.load_state_dict(self.best)
            return self.learner
        folder = self.path / BEST
        load_weights(self.learner, read_checkpoint(folder).weights, folder)
        return self.learner

    def add_metrics(self, metrics: Mapping[str, Metric]) -> None:
        """Add what `quickstudy.evaluate` measured to `result.json`, from which reports and tables take their numbers.

        Metrics of the same name are replaced, all others stay.

        Raises:
            ValueError: for a run in memory.
            CheckpointError: if `result.json` is missing or damaged.

        >>> import quickstudy as qs
        >>> family, learner = qs.tasks.Sinusoid(), qs.CNP(width=8)
        >>> run = qs.fit(learner, family, steps=1, out="runs/mine")
        >>> run.add_metrics(qs.evaluate(learner, family, tasks=4, support=5))
        >>> "mse/k=5" in read_result("runs/mine")["metrics"]
        True
        """
        if self.path is None:
            raise ValueError(
                "this run is kept in memory and has no result.json; train it with fit(..., out='runs/NAME')"
            )
        add_metrics(self.path, metrics)

    def frame(self) -> Any:
        """`metrics` as a `pandas.DataFrame`: a row for every line, NaN where a line has no such value.

        Raises:
            ModuleNotFoundError: if pandas is not installed; it is the extra `pandas`.
        """
        return to_frame(self.metrics, "run.frame()")


def finish(run: Run, path: Path, metrics: Mapping[str, Metric | Mapping[str, Any]]) -> dict[str, Any]:
    """Write the `result.json` of a finished run with these metrics; returns what was written."""
    return write_result(
        path,
        recipe=run.config["recipe"],
        command=run.config["command"],
        seed=run.config["seed"],
        steps=run.steps,
        seconds=run.seconds,
        metrics=metrics,
        device=run.config["device"],
    )


def add_metrics(path: Path, metrics: Mapping[str, Metric]) -> None:
    """Add metrics to the `result.json` of a finished run. Raises CheckpointError if it is missing or damaged."""
    result = read_result(path)
    found = {**result["metrics"], **{name: metric.to_json() for name, metric in metrics.items()}}
    _write(path, {**result, "metrics": found})


def write_result(
    path: Path | str,
    *,
    recipe: str | None,
    command: str | None,
    seed: int,
    steps: int,
    seconds: float,
    metrics: Mapping[str, Metric | Mapping[str, Any]],
    device: torch.device | str = "cpu",
) -> dict[str, Any]:
    """Write `result.json` into the folder `path`; returns what was written."""
    result = {
        "recipe": recipe,
        "command": command,
        "seed": seed,
        "steps": steps,
        "seconds": round(seconds, 3),
        "commit": commit(),
        "hardware": hardware(device),
        "metrics": {name: m.to_json() if isinstance(m, Metric) else dict(m) for name, m in metrics.items()},
    }
    _write(path, result)
    return result


def _write(path: Path | str, result: Mapping[str, Any]) -> None:
    write_file(Path(path) / RESULT, json.dumps(result, indent=1, allow_nan=False).encode() + b"\n")


def read_config(path: Path | str) -> dict[str, Any]:
    """The content of a run's `config.json`, also of a half-deleted run. Raises CheckpointError if it cannot be read."""
    name = OVERWRITTEN if is_half_deleted(path) else CONFIG
    return _read(Path(path) / name, "train one with quickstudy.fit(..., out=...)")


def read_result(path: Path | str) -> dict[str, Any]:
    """The content of a run's `result.json`. Raises CheckpointError if it is missing (yet) or damaged."""
    return _read(Path(path) / RESULT, "it is written when the run is finished: resume the run")


def is_run(path: Path | str) -> bool:
    """Whether `path` is a run folder."""
    return (Path(path) / CONFIG).is_file()


def is_half_deleted(path: Path | str) -> bool:
    """Whether `path` holds the rest of a run whose deletion was interrupted."""
    return not is_run(path) and (Path(path) / OVERWRITTEN).is_file()


def is_foreign(path: Path) -> bool:
    """Whether `path` is a file, or a folder with anything that is not a run."""
    if not path.exists() or is_run(path):
        return False
    first = {LOCK, temporary_name(CONFIG)}  # a run that is killed before it has a config leaves only these
    return not path.is_dir() or any(entry.name not in first for entry in path.iterdir())


def check_no_links(folder: Path) -> None:
    """Raise CheckpointError if a run contains a symbolic link: writing would change the file that it points to."""
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(place, name)
            if path.is_symlink():
                raise CheckpointError(
                    f"{path} is a symbolic link, and a run with links is not resumed, as writing would change what "
                    "they point to; put a copy in its place, or remove it"
                )


def _read(path: Path, cure: str) -> dict[str, Any]:
    try:
        return parse_object(read_file(path, LARGEST))
    except (FileNotFoundError, NotADirectoryError):
        raise CheckpointError(f"there is no {path}; {cure}") from None
    except ValueError as error:
        raise CheckpointError(f"{path} cannot be read: it {error}; restore it from a copy") from None
