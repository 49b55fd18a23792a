"""Extending a finished run: the checks, the new `config.json`, and the standing from which training continues.

`config.json` gets the new number of `steps` and a new entry in `extended`: the step where the extension begins, and the
planned number of steps before and after it. It is written before training continues. A run has finished its last
extension if its last checkpoint is finished and stands after the step where that extension begins.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from quickstudy.runs.reading import CheckpointError, short
from quickstudy.runs.run import CONFIG, RESULT
from quickstudy.runs.standing import Standing


def extended(before: dict[str, Any], steps: int, at: Standing | None, folder: Path) -> dict[str, Any]:
    """The config of the run extended to `steps`; the same config if this extension was begun before and interrupted.

    Args:
        before: the run's config.
        steps: the new total number of steps.
        at: the standing of the last checkpoint; None if there is no checkpoint yet.
        folder: the run.

    Raises:
        ValueError: if the run is not finished, or already has that many steps.
    """
    planned, done = before["steps"], 0 if at is None else at.step
    trained = at is not None and at.finished and done > from_step(before)
    if from_step(before) and steps == planned and not (trained and (folder / RESULT).exists()):
        return before  # this extension was interrupted, maybe just before it wrote its result
    if not trained:
        raise ValueError(
            f"the run in {folder} is not finished (step {done} of {planned}), so it cannot be extended; finish it "
            f"first, by steps={planned}, exist='resume'"
        )
    if steps <= done:
        raise ValueError(
            f"steps={steps} does not extend the run in {folder}, which has {done} steps; steps counts all of them, "
            f"from the first: give more than {done}"
        )
    entry = {"from_step": done, "steps_before": planned, "steps": steps}
    return before | {"steps": steps, "extended": [*before.get("extended", []), entry]}


def from_step(config: Mapping[str, Any]) -> int:
    """The step where the run's last extension begins; 0 for a run that was not extended."""
    entries = config.get("extended", [])
    return int(entries[-1]["from_step"]) if entries else 0


def first_steps(config: Mapping[str, Any], folder: Path) -> int:
    """The number of steps planned before any extension; the default intervals depend on it."""
    entries = config.get("extended", [])
    steps = entries[0]["steps_before"] if entries else config.get("steps")
    if type(steps) is not int or steps < 1:
        raise CheckpointError(f"{folder / CONFIG} is damaged: it has steps={short(steps)}; restore it from a copy")
    return steps


def reopened(at: Standing, config: Mapping[str, Any]) -> Standing:
    """The standing from which training continues: an extension reopens the standing of a finished run."""
    if at.finished and at.step <= from_step(config):
        return replace(at, finished=False, stopped_early=False, waited=0, validation=None)
    return at


def check_extended(config: Mapping[str, Any], folder: Path) -> None:
    """Raise CheckpointError unless the `extended` entries of a config have the form that `extended` writes."""
    entries = config.get("extended", [])
    names = ("from_step", "steps_before", "steps")
    if isinstance(entries, list) and all(
        isinstance(entry, dict) and all(type(entry.get(name)) is int and entry[name] > 0 for name in names)
        for entry in entries
    ):
        return
    raise CheckpointError(f"{folder / CONFIG} is damaged: it has extended={short(entries)}; restore it from a copy")
