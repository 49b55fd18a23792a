"""Checkpoints: folders of safetensors and JSON files, written atomically, without pickle.

`model.safetensors` holds the learner's `state_dict`, `training.safetensors` the tensors of the optimiser, and
`state.json` everything else: where training stands, the structure of both, and digests that detect damage.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import safetensors
import safetensors.torch
from torch import Tensor, nn

from quickstudy._version import __version__
from quickstudy.runs.atomic import newest, write_folder
from quickstudy.runs.flatten import flatten, unflatten
from quickstudy.runs.reading import LARGEST, parse_object, read_file, short
from quickstudy.runs.reading import CheckpointError as CheckpointError
from quickstudy.runs.rebuild.building import LATER

FORMAT = 1
STATE = "state.json"
WEIGHTS = "model.safetensors"


class Checkpoint(NamedTuple):
    """The content of a checkpoint folder.

    Args:
        weights: the learner's `state_dict`.
        training: the optimiser's state; None in a folder made by `save`.
        facts: the rest of `state.json`: the learner's description, and where training stood.
    """

    weights: dict[str, Any]
    training: Any
    facts: dict[str, Any]


def write_checkpoint(folder: Path, weights: dict[str, Any], training: Any, facts: dict[str, Any]) -> None:
    """Replace the checkpoint at `folder`, atomically.

    Args:
        folder: the checkpoint.
        weights, training, facts: as in `Checkpoint`.

    Raises:
        OSError: if it cannot be written; the previous checkpoint is then intact.
        TypeError: for state that JSON and safetensors cannot hold.
    """
    parts = {"model": weights} if training is None else {"model": weights, "training": training}
    files: dict[str, bytes] = {}
    record: dict[str, Any] = {"format": FORMAT, "quickstudy": __version__, **facts, "parts": {}}
    for part, tree in parts.items():
        structure, tensors = flatten(tree)
        name = f"{part}.safetensors"
        files[name] = safetensors.torch.save({k: _plain(t) for k, t in tensors.items()})
        record["parts"][part] = {"sha256": hashlib.sha256(files[name]).hexdigest(), "structure": structure}
    record["sha256"] = _digest(record)
    files[STATE] = json.dumps(record, indent=1, allow_nan=False).encode()
    write_folder(folder, files)


def read_checkpoint(folder: Path) -> Checkpoint:
    """Read the checkpoint at `folder`, also if its replacement was interrupted. Changes nothing.

    Raises:
        CheckpointError: if the checkpoint is missing or damaged.
    """
    place = newest(folder)
    if place is None:
        raise CheckpointError(f"there is no checkpoint at {folder}; give a run, a checkpoint or a saved learner")
    if not any((place / name).exists() for name in (STATE, WEIGHTS)):
        raise CheckpointError(f"{folder} is not a checkpoint; give a run, a checkpoint or a saved learner")
    facts = _read_facts(place / STATE)
    trees = {part: _read_part(place / f"{part}.safetensors", entry) for part, entry in facts.pop("parts").items()}
    weights = trees["model"]
    if not isinstance(weights, dict) or not all(isinstance(name, str) for name in weights):
        raise damaged(place / STATE, "does not list the weights by name")
    return Checkpoint(weights, trees.get("training"), facts)


def read_facts(folder: Path) -> dict[str, Any] | None:
    """Read `state.json` of the checkpoint at `folder`, without the tensors; None if there is no checkpoint."""
    place = newest(folder)
    return None if place is None else _read_facts(place / STATE)


def load_weights(learner: nn.Module, weights: dict[str, Any], folder: Path) -> None:
    """Copy `weights` into `learner`. Raises CheckpointError, naming the first difference, if they do not fit."""
    own = learner.state_dict()
    for name in (*own, *weights):
        if name.endswith(LATER):
            continue
        here, there = (_describe(state.get(name)) for state in (own, weights))
        if here != there:
            raise CheckpointError(
                f"the weights in {folder} are of another learner: {name} is {there} there and {here} here; "
                "build the learner with the options that it was trained with"
            )
    try:
        learner.load_state_dict(weights)
    except Exception as error:  # a user's module may read more than tensors
        raise CheckpointError(f"the weights in {folder} cannot be loaded ({short(error)})") from error


def _read_facts(path: Path) -> dict[str, Any]:
    try:
        facts = parse_object(read_file(path, LARGEST))
    except (FileNotFoundError, NotADirectoryError):
        raise damaged(path, "is missing") from None
    except (ValueError, OSError) as error:
        raise damaged(path, f"cannot be read: it {error}") from None
    digest = facts.pop("sha256", None)
    if digest != _digest(facts):
        raise damaged(path, "was changed after it was written")
    number = facts.get("format")
    if isinstance(number, int) and number > FORMAT:
        raise CheckpointError(f"{path} was written by a newer quickstudy (format {number}); update quickstudy")
    if type(number) is not int or number != FORMAT:
        raise damaged(path, f"says format={short(number)}")
    parts = facts.get("parts")
    if not isinstance(parts, dict) or "model" not in parts or not set(parts) <= {"model", "training"}:
        raise damaged(path, "does not list the weights")
    return facts


def _read_part(path: Path, entry: Any) -> Any:
    try:
        data = read_file(path)
        if hashlib.sha256(data).hexdigest() != entry["sha256"]:
            raise damaged(path, "is truncated or was changed after it was written")
        return unflatten(entry["structure"], safetensors.torch.load(data))
    except (FileNotFoundError, NotADirectoryError):
        raise damaged(path, "is missing") from None
    except (safetensors.SafetensorError, ValueError, LookupError, TypeError, OverflowError) as error:
        raise damaged(path, f"cannot be read: {short(error)}") from None


def damaged(path: Path, what: str) -> CheckpointError:
    """The error for a damaged checkpoint file at `path`: what is wrong with it, and what to do."""
    return CheckpointError(
        f"{path} {what}; restore the folder from a copy, load the run's other checkpoint (which='best' or 'last'), "
        "or train anew in another out"
    )


def other_version(facts: dict[str, Any]) -> str:
    """A sentence for error messages, if another version of quickstudy wrote the checkpoint; otherwise nothing."""
    writer = facts.get("quickstudy", __version__)
    return "" if writer == __version__ else f" (quickstudy {short(writer)} wrote it, and this is {__version__})"


def _digest(record: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def _plain(tensor: Tensor) -> Tensor:
    """A copy on the CPU that shares no memory with other tensors, as safetensors requires."""
    return tensor.detach().cpu().clone().contiguous()


def _describe(value: Any) -> str:
    return (
        f"{str(value.dtype)[6:]} {list(value.shape)}"
        if isinstance(value, Tensor)
        else "absent"
        if value is None
        else "data"
    )
