"""Finds the run in a folder, and restores training from its last checkpoint."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from quickstudy.devices import pick_device
from quickstudy.runs.atomic import is_settled, settle
from quickstudy.runs.checkpoint import STATE, damaged, load_weights, read_checkpoint, read_facts
from quickstudy.runs.config import check_same
from quickstudy.runs.extension import check_extended, extended, first_steps, reopened
from quickstudy.runs.lock import Lock
from quickstudy.runs.metrics_file import read_metrics
from quickstudy.runs.overwrite import check_removable, owner
from quickstudy.runs.reading import CheckpointError, short
from quickstudy.runs.run import (
    BEST,
    CONFIG,
    LAST,
    RESULT,
    Run,
    finish,
    is_foreign,
    is_half_deleted,
    is_run,
    read_config,
)
from quickstudy.runs.standing import Standing, read_standing

EXIST = ("error", "resume", "overwrite", "extend")
MOST_THREADS = 1024  # more than the cores of the largest machines
_REQUIRED: dict[str, Any] = {
    "threads": int,
    "device": str,
    "compile": bool,
    "recipe": str | None,
    "options": dict | None,
    "command": str | None,
}


def earlier_run(folder: Path, exist: str, config: dict[str, Any]) -> dict[str, Any] | None:
    """The config of the run in `folder` that is continued; None if a new run begins there.

    Args:
        folder: the run folder, which need not exist.
        exist: what to do if it holds a run; see `quickstudy.fit`.
        config: of this call.

    Raises:
        FileExistsError: if the folder holds something that is not overwritten.
        ValueError: if it holds another run, or one that cannot be extended.
        CheckpointError: if the run is damaged.
    """
    if exist not in EXIST:
        raise ValueError(f"exist={exist!r}; expected {', '.join(map(repr, EXIST[:-1]))} or {EXIST[-1]!r}")
    if is_half_deleted(folder) and exist in ("resume", "overwrite"):
        check_removable(folder, config)
        return None
    if is_half_deleted(folder):
        raise FileExistsError(
            f"{folder} holds the rest of a run whose overwriting was interrupted; train the new run with "
            "exist='overwrite', or choose another out"
        )
    if is_foreign(folder):
        raise FileExistsError(f"{folder} holds something that is not a run of quickstudy; choose another out")
    if not is_run(folder):
        if exist == "extend":
            raise ValueError(f"there is no run in {folder} to extend; leave exist= out to train one")
        return None
    if exist == "error":
        raise FileExistsError(
            f"there is a run in {folder} already; continue it by exist='resume', lengthen it by 'extend', replace it "
            "by 'overwrite', or choose another out"
        )
    if exist == "overwrite":
        check_removable(folder, config)
        return None
    before = read_config(folder)
    if exist == "resume":
        check_same(config, before, folder)
    else:
        check_same({**config, "steps": before.get("steps")}, before, folder)
    _check_whole(before, folder)
    return before if exist == "resume" else _extended(folder, before, config)


def _extended(folder: Path, before: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    if (larger := owner(folder, before, config)) is not None:
        raise ValueError(f"the run in {folder} is {larger}, which fixes its number of steps; choose another out")
    facts = read_facts(folder / LAST)
    return extended(before, config["steps"], None if facts is None else _standing(facts, folder), folder)


def _check_whole(config: dict[str, Any], folder: Path) -> None:
    """Raise CheckpointError unless `config` has every entry that a resume needs, with the right type."""
    for name, kinds in _REQUIRED.items():
        value = config.get(name, ...)
        right = isinstance(value, kinds) and (name == "compile" or not isinstance(value, bool))
        if not right or (name == "threads" and not 1 <= value <= max(MOST_THREADS, os.cpu_count() or 1)):
            what = f"has {name}={short(value)}" if name in config else f"lacks {name!r}"
            raise CheckpointError(f"{folder / CONFIG} is damaged: it {what}; restore it from a copy")
    check_extended(config, folder)


def check_obeyed(before: dict[str, Any], compile: bool | str, device: torch.device | str) -> None:
    """Raise ValueError if `compile` or `device` differs from the run's."""
    if compile != "auto" and bool(compile) != before["compile"]:
        raise ValueError(
            f"the run was begun with compile={before['compile']}; resume it with that or with compile='auto'"
        )
    if device != "auto" and str(pick_device(device)) != before["device"]:
        raise ValueError(
            f"the run was begun on device {before['device']!r}; resume it on that device or with device='auto'"
        )


def planned_steps(folder: Path | None, exist: str) -> int | None:
    """The number of steps planned before any extension, if the run was or will be extended; otherwise None."""
    if folder is None or exist not in ("resume", "extend") or not is_run(folder):
        return None
    config = read_config(folder)
    check_extended(config, folder)
    if not config.get("extended") and exist == "resume":
        return None
    return first_steps(config, folder)


def is_finished(folder: Path, config: dict[str, Any]) -> bool:
    """Whether the run in `folder`, which has this config, is finished."""
    facts = read_facts(folder / LAST)
    return facts is not None and reopened(_standing(facts, folder), config).finished


def restore(folder: Path, learner: nn.Module, load_optimizer: Callable[[Any], object], steps: int) -> Standing:
    """Load the last checkpoint into learner and optimiser.

    Args:
        folder: the run.
        learner: receives the weights.
        load_optimizer: loads the optimiser's state; any error that it raises means that the state is damaged.
        steps: number of steps of the whole run.

    Returns:
        Where training stands; before the first step if there is no checkpoint yet.

    Raises:
        CheckpointError: if the checkpoint is damaged, lost, or of another learner.
    """
    _settle_both(folder)
    if not (folder / LAST).exists():
        if read_metrics(folder):  # the first checkpoint is written before any metrics
            raise CheckpointError(
                f"{folder} has metrics and no checkpoint; restore {LAST} from a copy, or choose another out"
            )
        return Standing()
    checkpoint = read_checkpoint(folder / LAST)
    standing = _standing(checkpoint.facts, folder)
    if standing.step > steps:
        raise damaged(folder / LAST / STATE, f"says step={standing.step} of {steps}")
    load_weights(learner, checkpoint.weights, folder / LAST)
    try:
        load_optimizer(checkpoint.training["optimizer"])
    except Exception as error:  # the optimiser and the state may come from anywhere
        raise damaged(folder / LAST / STATE, f"does not hold a state of this optimiser: {short(error)}") from error
    return standing


def finished_run(folder: Path, learner: nn.Module, config: dict[str, Any]) -> Run:
    """The finished run in `folder`, with its last weights in `learner`.

    Completes what a kill at the very end may leave undone: the replacement of a checkpoint, and `result.json`.
    """
    if not all(is_settled(folder / name) for name in (LAST, BEST)):
        with Lock(folder):
            _settle_both(folder)
    checkpoint = read_checkpoint(folder / LAST)
    standing = _standing(checkpoint.facts, folder)
    load_weights(learner, checkpoint.weights, folder / LAST)
    run = Run(folder, learner, config, standing.step, standing.seconds, standing.best_step, read_metrics(folder))
    if not (folder / RESULT).exists():
        finish(run, folder, {"validation_loss": standing.validation or {}})
    return run


def _settle_both(folder: Path) -> None:
    for name in (LAST, BEST):
        settle(folder / name)


def _standing(facts: dict[str, Any], folder: Path) -> Standing:
    if facts.get("kind") != "run":
        raise CheckpointError(
            f"{folder / LAST} is a learner made by quickstudy.save, not a checkpoint of a training; "
            "restore the checkpoint from a copy, or choose another out"
        )
    try:
        return read_standing(facts.get("standing"))
    except ValueError as error:
        raise damaged(folder / LAST / STATE, str(error)) from None
