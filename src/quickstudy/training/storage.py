"""`save` a learner to a folder, and `load` one from a folder, a checkpoint or a run. No pickle is read."""

import json
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from quickstudy.spec import from_spec, to_spec
from quickstudy.training.atomic import newest
from quickstudy.training.checkpoint import CheckpointError, load_weights, read_checkpoint, write_checkpoint
from quickstudy.training.run import is_run


def save(learner: nn.Module, path: Path | str) -> Path:
    """Save a learner, description and weights, as the folder `path`. An earlier save there is replaced.

    Raises:
        FileExistsError: if something else is at `path`.
        OSError: if it cannot be written; an earlier save is then intact.
    """
    folder = Path(path)
    if folder.exists() and not _is_save(folder):
        raise FileExistsError(f"{folder} exists and was not made by quickstudy.save; choose another path")
    write_checkpoint(folder, learner.state_dict(), None, {"kind": "learner", "learner": to_spec(learner)})
    return folder


def load(
    path: Path | str,
    *,
    which: Literal["best", "last"] = "best",
    network: nn.Module | None = None,
    device: torch.device | str = "cpu",
) -> Any:
    """The learner in a run folder, a checkpoint folder, or a folder made by `save`, in eval mode.

    Args:
        which: of a run's checkpoints: the one with the least validation loss, or the last one.
        network: where the learner has a network (or is a learner) that quickstudy does not know: that module, built
            anew. Its weights are overwritten.
        device: where to.

    Raises:
        CheckpointError: if the folder is missing, damaged or of another learner.
        ValueError: if `network` is needed.
    """
    if which not in ("best", "last"):
        raise ValueError(f"which={which!r}; expected 'best' or 'last'")
    folder = Path(path)
    if is_run(folder):
        run, folder = folder, folder / "checkpoints" / which
        if which == "best" and newest(folder) is None:
            raise CheckpointError(
                f"{run} has no best checkpoint yet; use which='last', or train on with exist='resume'"
            )
    checkpoint = read_checkpoint(folder)
    learner = from_spec(checkpoint.facts["learner"], network)
    weight = next(
        (w for w in checkpoint.weights.values() if isinstance(w, torch.Tensor) and w.is_floating_point()), None
    )
    if weight is not None:
        learner.to(weight.dtype)
    load_weights(learner, checkpoint.weights, folder)
    return learner.to(device).eval()


def _is_save(folder: Path) -> bool:
    try:
        return bool(json.loads((folder / "state.json").read_bytes()).get("kind") == "learner")
    except (OSError, ValueError, AttributeError):
        return False
