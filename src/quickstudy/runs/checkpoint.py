"""Checkpoints: a folder of safetensors plus JSON, whole or not there, and never pickle.

`model.safetensors` holds the learner's `state_dict`, `training.safetensors` the tensors of the optimiser, and
`state.json` everything else: where training stands, the structure of both, and the digests that tell damage.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import safetensors
import safetensors.torch
from torch import Tensor, nn

from quickstudy.runs.atomic import newest, write_folder
from quickstudy.runs.flatten import flatten, unflatten

FORMAT = 1


class CheckpointError(RuntimeError):
    """A checkpoint is missing, damaged, or not one; the message names the file and the cure."""


class Checkpoint(NamedTuple):
    """What a checkpoint folder holds.

    Args:
        weights: the learner's `state_dict`.
        training: the optimiser's state; None in a folder made by `save`.
        facts: the readable rest: the learner's description, and where training stood.
    """

    weights: dict[str, Any]
    training: Any
    facts: dict[str, Any]


def write_checkpoint(folder: Path, weights: dict[str, Any], training: Any, facts: dict[str, Any]) -> None:
    """Replace the checkpoint at `folder`, atomically.

    Raises:
        OSError: if it cannot be written; the one before is then intact.
        TypeError: for state that JSON and safetensors cannot hold.
    """
    parts = {"model": weights} if training is None else {"model": weights, "training": training}
    files: dict[str, bytes] = {}
    record: dict[str, Any] = {"format": FORMAT, **facts, "parts": {}}
    for part, tree in parts.items():
        structure, tensors = flatten(tree)
        name = f"{part}.safetensors"
        files[name] = safetensors.torch.save({k: _plain(t) for k, t in tensors.items()})
        record["parts"][part] = {"sha256": hashlib.sha256(files[name]).hexdigest(), "structure": structure}
    record["sha256"] = _digest(record)
    files["state.json"] = json.dumps(record, indent=1, allow_nan=False).encode()
    write_folder(folder, files)


def read_checkpoint(folder: Path) -> Checkpoint:
    """The checkpoint at `folder`; one whose replacement was cut short is found too. Changes nothing.

    Raises:
        CheckpointError: if it is missing or damaged.
    """
    place = newest(folder)
    if place is None:
        raise CheckpointError(f"there is no checkpoint at {folder}; give a run, a checkpoint or a saved learner")
    if not any((place / name).exists() for name in ("state.json", "model.safetensors")):
        raise CheckpointError(f"{folder} is not a checkpoint; give a run, a checkpoint or a saved learner")
    facts = _read_facts(place / "state.json")
    trees = {part: _read_part(place / f"{part}.safetensors", entry) for part, entry in facts.pop("parts").items()}
    if "model" not in trees:
        raise _damaged(place / "state.json", "does not list the weights")
    return Checkpoint(trees["model"], trees.get("training"), facts)


def read_facts(folder: Path) -> dict[str, Any] | None:
    """The readable part of the checkpoint at `folder`, without its tensors; None if there is no checkpoint."""
    place = newest(folder)
    return None if place is None else _read_facts(place / "state.json")


def load_weights(learner: nn.Module, weights: dict[str, Any], folder: Path) -> None:
    """Copy `weights` into `learner`. Raises CheckpointError, naming the first misfit, where they are of another one."""
    mine = learner.state_dict()
    for name in (*mine, *weights):
        here, there = (_describe(state.get(name)) for state in (mine, weights))
        if here != there:
            raise CheckpointError(
                f"the weights in {folder} are of another learner: {name} is {there} there and {here} here; "
                "build the learner with the options that it was trained with"
            )
    learner.load_state_dict(weights)


def _read_facts(path: Path) -> dict[str, Any]:
    try:
        facts = json.loads(path.read_bytes())
        digest = facts.pop("sha256")
        whole = digest == _digest(facts)
    except FileNotFoundError:
        raise _damaged(path, "is missing") from None
    except (ValueError, KeyError, AttributeError, TypeError):
        raise _damaged(path, "cannot be read") from None
    if not whole:
        raise _damaged(path, "was changed after it was written")
    if facts["format"] > FORMAT:
        raise CheckpointError(f"{path} was written by a newer quickstudy (format {facts['format']}); update quickstudy")
    return facts


def _read_part(path: Path, entry: dict[str, Any]) -> Any:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise _damaged(path, "is missing") from None
    if hashlib.sha256(data).hexdigest() != entry["sha256"]:
        raise _damaged(path, "is truncated or was changed after it was written")
    try:
        return unflatten(entry["structure"], safetensors.torch.load(data))
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError) as error:
        raise _damaged(path, f"cannot be read ({error})") from None


def _damaged(path: Path, what: str) -> CheckpointError:
    return CheckpointError(
        f"{path} {what}; restore the folder from a copy, load the run's other checkpoint (which='best' or 'last'), "
        "or train anew in another out"
    )


def _digest(record: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def _plain(tensor: Tensor) -> Tensor:
    """A copy that shares no memory: safetensors refuses tensors that do."""
    return tensor.detach().cpu().clone().contiguous()


def _describe(value: Any) -> str:
    return (
        f"{str(value.dtype)[6:]} {list(value.shape)}"
        if isinstance(value, Tensor)
        else "absent"
        if value is None
        else "data"
    )
