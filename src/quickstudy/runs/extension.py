"""A finished run that is lengthened: which ones may be, what `config.json` says of it, and where training stands then.

`config.json` gets the new number of `steps`, and one entry in `extended` for every time: from which step on, and how
many steps the run had been planned for and has now. It is written before training goes on, and so it tells a run that
is to be lengthened from a finished one: the last checkpoint of the latter stands after the step where it begins.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from quickstudy.runs.reading import CheckpointError, short
from quickstudy.runs.run import CONFIG
from quickstudy.runs.standing import Standing


def extended(before: dict[str, Any], steps: int, at: Standing | None, folder: Path) -> dict[str, Any]:
    """The config of the run lengthened to `steps`; as it is if that has been begun already, and was interrupted.

    Args:
        before: its config.
        steps: all steps, those that it has included.
        at: where its last checkpoint stands; None if it has none yet.

    Raises:
        ValueError: if it is not finished, or has as many steps already.
    """
    planned, done = before["steps"], 0 if at is None else at.step
    if at is None or not at.finished or done <= from_step(before):
        if from_step(before) and steps == planned:
            return before
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
    """The step from which the run's last extension goes on; 0 for a run that was not extended."""
    entries = config.get("extended", [])
    return int(entries[-1]["from_step"]) if entries else 0


def first_steps(config: Mapping[str, Any], folder: Path) -> int:
    """How many steps the run was planned for at first: its intervals are shares of that."""
    entries = config.get("extended", [])
    steps = entries[0]["steps_before"] if entries else config.get("steps")
    if type(steps) is not int or steps < 1:
        raise CheckpointError(f"{folder / CONFIG} is damaged: it has steps={short(steps)}; restore it from a copy")
    return steps


def reopened(at: Standing, config: Mapping[str, Any]) -> Standing:
    """The standing to go on from: that of a finished run which is now extended is a standing in the middle."""
    if at.finished and at.step <= from_step(config):
        return replace(at, finished=False, stopped_early=False, waited=0, validation=None)
    return at


def check_extended(config: Mapping[str, Any], folder: Path) -> None:
    """Raise CheckpointError unless the extensions in a config are what `extended` writes."""
    entries = config.get("extended", [])
    names = ("from_step", "steps_before", "steps")
    if isinstance(entries, list) and all(
        isinstance(entry, dict) and all(type(entry.get(name)) is int and entry[name] > 0 for name in names)
        for entry in entries
    ):
        return
    raise CheckpointError(f"{folder / CONFIG} is damaged: it has extended={short(entries)}; restore it from a copy")
