"""`save` a learner to a folder, and `load` one from a folder, a checkpoint or a run. No pickle is read."""

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from torch.utils._pytree import tree_map

from quickstudy.devices import pick_device
from quickstudy.learner import check_learner
from quickstudy.runs.atomic import newest
from quickstudy.runs.checkpoint import (
    STATE,
    WEIGHTS,
    Checkpoint,
    damaged,
    load_weights,
    other_version,
    read_checkpoint,
    write_checkpoint,
)
from quickstudy.runs.reading import LARGEST, CheckpointError, parse_object, read_file, short
from quickstudy.runs.rebuild.building import LATER, build_described
from quickstudy.runs.rebuild.spec import from_spec, to_spec
from quickstudy.runs.run import is_run
from quickstudy.runs.shipped import found, hidden_by, shipped_names

ACTING = ("actor", "log_prob")  # methods of policy learners and of policies, which have no meta_loss
TRAINING = "training.safetensors"  # in the save of an actor: what it adapted to


def save(learner: Any, path: Path | str) -> Path:
    """Save a learner, its description and its weights, as the folder `path`. An earlier save there is replaced.

    That holds these alone: the folder of an estimator or of a table's model has more, and is not replaced.

    Args:
        learner: a learner, a policy learner, a policy, or an actor (`quickstudy.rl.Actor`): of an actor, its learner is
            saved with what the actor adapted to, and `load` returns the adapted actor.
        path: the folder.

    Raises:
        TypeError: if `learner` is none of these, or `path` is not a path.
        ValueError: for an actor that belongs to no learner.
        FileExistsError: if something else is at `path`.
        OSError: if it cannot be written; an earlier save is then intact.
    """
    adapted = learner.saved() if callable(getattr(learner, "restored", None)) else None
    module = learner if adapted is None else learner.learner
    if not isinstance(module, nn.Module) or not any(callable(getattr(module, name, None)) for name in ACTING):
        check_learner(module)
    folder = _as_path(path)
    check_free(folder, "quickstudy.save", optional=(TRAINING,))
    write_save(module, folder, adapted)
    return folder


def check_free(folder: Path, maker: str, beside: Collection[str] = (), optional: Collection[str] = ()) -> None:
    """Raise FileExistsError unless there is nothing at `folder`, or an earlier save of the same maker.

    Args:
        folder: where something will be saved.
        maker: what saves, for the message.
        beside: files that it always writes beside those of the learner.
        optional: files that it may write.
    """
    if not folder.exists():
        return
    files = {each.name for each in folder.iterdir()} if folder.is_dir() else {folder.name}
    rest = files - {STATE, WEIGHTS}
    if not (folder.is_dir() and not files) and not (_is_save(folder) and set(beside) <= rest <= {*beside, *optional}):
        raise FileExistsError(f"{folder} exists and was not made by {maker}; choose another path, or remove it")


def write_save(learner: nn.Module, folder: Path, adapted: Any = None) -> None:
    """Write the learner, and what an actor of it adapted to, in place of whatever is at `folder`."""
    kind = "learner" if adapted is None else "actor"
    write_checkpoint(folder, learner.state_dict(), adapted, {"kind": kind, "learner": to_spec(learner)})


def load(
    path: Path | str,
    *,
    which: Literal["best", "last"] = "best",
    learner: nn.Module | None = None,
    network: nn.Module | None = None,
    device: torch.device | str = "cpu",
) -> Any:
    """Load the learner (or actor) in a run folder, a checkpoint folder, or a folder made by `save`, in eval mode.

    Args:
        path: the folder; or, where no folder has this name, the name of a learner that comes with the package, such as
            "tnp/rbf". The page "Trained learners" of the docs lists them.
        which: the checkpoint of a run: that with the lowest validation loss, or the last one.
        learner: a learner, built as the saved one was. Its weights are overwritten, and it is returned. Needed if the
            learner's class or a part of it (a loss, an optimiser) is your own.
        network: the network, built as it was then, if only the network is your own. Its weights are overwritten. A
            whole learner is accepted as well.
        device: of the learner that is returned.

    Raises:
        CheckpointError: if the folder is missing, damaged or of another learner.
        TypeError, ValueError: for bad arguments, or if `learner` or `network` is needed and not given.
    """
    if which not in ("best", "last"):
        raise ValueError(f"which={which!r}; expected 'best' or 'last'")
    _check_given(learner, network)
    place, folder = pick_device(device), _as_path(found(path))
    if not folder.exists() and isinstance(path, str):
        raise CheckpointError(
            f"there is no checkpoint at {path}; give a run, a checkpoint, a saved learner, or the name of a learner "
            f"that comes with the package: {', '.join(shipped_names())}"
        )
    if is_run(folder):
        _check_one(folder)
        run, folder = folder, folder / "checkpoints" / which
        if which == "best" and newest(folder) is None:
            raise CheckpointError(
                f"{run} has no best checkpoint: it was not validated yet, or it was made by rl.fit, which keeps the "
                "last one only; use which='last'"
            )
    try:
        checkpoint = read_checkpoint(folder)
    except CheckpointError as error:
        raise type(error)(f"{error}{hidden_by(path)}") from error
    if learner is None:
        learner = _described(checkpoint, folder, network)
    numbers = {k: w for k, w in checkpoint.weights.items() if isinstance(w, torch.Tensor) and w.is_floating_point()}
    weight = next((w for k, w in numbers.items() if not k.endswith(LATER)), None)
    if weight is not None:
        learner.to(weight.dtype)
        for name, tensor in learner.state_dict(keep_vars=True).items():
            if name in numbers:  # a part, such as trees, may have a precision of its own
                tensor.data = tensor.data.to(numbers[name].dtype)
    load_weights(learner, checkpoint.weights, folder)
    learner.to(place).eval()
    return _restored(learner, checkpoint, place, folder) if checkpoint.facts.get("kind") == "actor" else learner


def _restored(learner: Any, checkpoint: Checkpoint, place: torch.device, folder: Path) -> Any:
    """The actor of this learner that was saved."""
    try:
        saved = tree_map(lambda leaf: leaf.to(place) if isinstance(leaf, torch.Tensor) else leaf, checkpoint.training)
        return learner.actor().restored(saved)
    except (TypeError, ValueError, AttributeError) as error:
        raise damaged(folder / STATE, f"does not hold an actor: {short(error)}") from error


def _check_one(run: Path) -> None:
    """Raise CheckpointError if a run consists of several trainings, each in a folder of its own."""
    if newest(run / "checkpoints" / "last") is None:
        parts = sorted(each.name for each in run.iterdir() if is_run(each))
        if parts:
            raise CheckpointError(
                f"{run} has {len(parts)} learners, one in each of the folders {', '.join(parts[:5])}"
                f"{' ...' if len(parts) > 5 else ''}; load one of them, such as qs.load({str(run / parts[0])!r})"
            )


def _check_given(learner: Any, network: Any) -> None:
    """Raise TypeError or ValueError unless at most one of `learner` and `network` is given, and it is one."""
    if learner is not None and network is not None:
        raise ValueError("learner= and network= are both given; give the whole learner, or its network alone")
    for name, module in (("learner", learner), ("network", network)):
        if module is not None and not isinstance(module, nn.Module):
            raise TypeError(f"{name} is a {type(module).__name__}; expected a torch.nn.Module")
    if learner is not None and not _is_learner(learner):
        raise TypeError(
            f"learner is a {type(learner).__name__}, which has no adapt() and no update(); give the whole learner, or "
            "a network as network="
        )


def _is_learner(module: nn.Module) -> bool:
    return any(callable(getattr(module, method, None)) for method in ("adapt", "update"))


def _described(checkpoint: Checkpoint, folder: Path, network: nn.Module | None) -> nn.Module:
    """The learner that the checkpoint describes. Raises CheckpointError if it cannot be built or does not fit."""
    spec = checkpoint.facts.get("learner")
    if not isinstance(spec, dict) or not isinstance(spec.get("class", ...), str | None):
        raise damaged(folder / STATE, "does not describe a learner")
    if network is None and not _foreign(spec):
        try:
            return build_described(lambda: from_spec(spec), checkpoint.weights)
        except Exception as error:  # any constructor, with any arguments
            what = f"describes a learner that cannot be built: {short(error)}{other_version(checkpoint.facts)}"
            raise damaged(folder / STATE, what) from error
    return _build(spec, set(checkpoint.weights), network)


def _build(spec: dict[str, Any], weights: set[str], network: nn.Module | None) -> nn.Module:
    """The learner that `spec` describes, or `network` if that is the whole learner."""
    missing = _foreign(spec)
    if not missing and network is not None:
        raise ValueError(f"this {spec['class']} needs no network; leave network= out (learner= takes a whole learner)")
    if network is not None and set(network.state_dict()) == weights:
        return network
    if missing - {"network"} and (network is None or not _is_learner(network)):
        parts = " and ".join(sorted(missing))
        custom = (
            f"is of a custom class, {spec.get('foreign')},"
            if missing == {""}
            else f"was trained with a custom {parts},"
        )
        raise ValueError(
            f"this {spec['class'] or 'learner'} {custom} which is not saved; build the whole learner as it was then "
            "and pass it as learner="
        )
    if missing == {"network"} and network is not None and _is_learner(network):
        raise ValueError(f"network= is a whole {type(network).__name__}; pass it as learner=")
    return network if network is not None and missing != {"network"} else from_spec(spec, network)


def _foreign(spec: dict[str, Any]) -> set[str]:
    """The names of parts that are not quickstudy's own; "" is the learner itself."""
    if spec["class"] is None:
        return {""}
    return {key for key, value in spec.items() if isinstance(value, dict) and "class" in value and _foreign(value)}


def _as_path(path: Any) -> Path:
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"path={path!r}; expected the path of a folder")
    return Path(path)


def _is_save(folder: Path) -> bool:
    try:
        return parse_object(read_file(folder / STATE, LARGEST)).get("kind") in ("learner", "actor")
    except (OSError, ValueError):
        return False
