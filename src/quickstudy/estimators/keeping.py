"""Estimators in folders, without pickle: the model of the table, and beside it what belongs to the estimator."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import nn

from quickstudy.checks import shown
from quickstudy.estimators.rows import Names
from quickstudy.runs.atomic import write_file
from quickstudy.runs.reading import LARGEST, CheckpointError, parse_object, read_file
from quickstudy.runs.rebuild.spec import from_spec, to_spec
from quickstudy.runs.storage import check_free
from quickstudy.tables.model import FACTS as TABLE
from quickstudy.tables.model import TableModel
from quickstudy.tasks.datasets.inputs import Input

FACTS = "estimator.json"
ROWS = "rows.safetensors"
Estimator = TypeVar("Estimator")


def write(model: Any, folder: Path | str, rows: bool, save: Callable[[Path], Any]) -> None:
    """Write a fitted estimator; `save` writes its model, in place of an earlier one. See `GroupRegressor.save`."""
    of_table = [TABLE] if isinstance(model.model_, TableModel) else []
    check_free(Path(folder), f"{type(model).__name__}.save", [FACTS, *of_table], [ROWS])
    facts = {
        "estimator": type(model).__name__,
        "parameters": _parameters(model),
        "names": model._names._asdict() | {"inputs": [each._asdict() for each in model._names.inputs]},
        "named": hasattr(model, "feature_names_in_"),
        "weights": model.weights_,
        "scores": model.scores_,
        "groups": None,
    }
    if rows and model._known is not None:
        facts["groups"] = [_label(label) for label in model._known]
    if hasattr(model, "classes_"):
        facts["classes"] = [_label(label) for label in model.classes_.tolist()]
    text = json.dumps(facts).encode()
    save(Path(folder))
    if facts["groups"] is not None:
        known = list(model._known.values())
        tensors = {"sizes": torch.tensor([len(each) for each in known])}
        tensors["rows"] = torch.cat(known).contiguous() if known else torch.zeros(0)
        write_file(Path(folder) / ROWS, safetensors.torch.save(tensors))
    write_file(Path(folder) / FACTS, text)


def read(kind: type[Estimator], folder: Path | str, load: Callable[[Path], Any]) -> Estimator:
    """The estimator in a folder; `load` reads its model. See `GroupRegressor.load`."""
    table = load(Path(folder))
    path = Path(folder) / FACTS
    if not path.exists() and isinstance(table, TableModel):
        odd = [each.name for each in table.inputs if each.elapsed or each.fill is not None]
        if odd:
            raise CheckpointError(
                f"{folder} fills in missing values, or counts days from the first date of a group ({', '.join(odd)}), "
                f"which {kind.__name__} does not; predict by `quickstudy predict`, or by "
                "quickstudy.tables.predicting.predict"
            )
        names = Names(table.task, table.inputs, table.y, len(table.y) == 1)
        facts: dict[str, Any] = {"parameters": {}, "names": names, "named": True}
        return _built(kind, table, facts, None)
    try:
        facts = parse_object(read_file(path, LARGEST))
        if facts["estimator"] != kind.__name__:
            raise CheckpointError(f"{folder} holds a {facts['estimator']}; use quickstudy.{facts['estimator']}.load")
        names = facts["names"]
        inputs = tuple(map(Input.from_json, names["inputs"]))
        facts["names"] = Names(str(names["groups"]), inputs, tuple(names["y"]), bool(names["flat"]))
        return _built(kind, table, facts, _rows(folder, facts["groups"]))
    except (OSError, KeyError, TypeError, ValueError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"{path} or {ROWS} beside it is damaged ({error!r}); restore it from a copy") from None


def _built(kind: Any, table: Any, facts: dict[str, Any], known: Any) -> Any:
    """An estimator as it was after `fit`."""
    given = dict(facts["parameters"])
    if isinstance(given.get("learner"), dict):
        given["learner"] = from_spec(given["learner"])
    model = kind(**given)
    names = model._names = facts["names"]
    model.n_features_in_, model.n_outputs_ = len(names.inputs), len(names.y)
    if facts["named"]:
        model.feature_names_in_ = np.array([each.name for each in names.inputs], dtype=object)
    model._known, model.groups_ = known, None if known is None else tuple(known)
    model.model_, model.scores_ = table, facts.get("scores")
    model.weights_ = facts["weights"] if "weights" in facts else dict(table.weights)
    if "classes" in facts:
        model.classes_ = np.array(facts["classes"])
    return model


def _rows(folder: Path | str, labels: list[Any] | None) -> dict[Any, torch.Tensor] | None:
    if labels is None:
        return None
    tensors = safetensors.torch.load(read_file(Path(folder) / ROWS))
    parts = tensors["rows"].split(tensors["sizes"].tolist())
    return dict(zip(labels, parts, strict=True)) if labels else {}


def _parameters(model: Any) -> dict[str, Any]:
    """The constructor arguments as JSON, without the function that receives progress."""
    given = {name: value for name, value in model.get_params(deep=False).items() if name != "progress"}
    if isinstance(given["learner"], nn.Module):
        described = given["learner"] = to_spec(given["learner"])
        try:
            from_spec(described)
        except ValueError as error:
            raise TypeError(f"the learner cannot be saved without pickle ({error}); pickle the estimator") from None
    if not isinstance(given["random_state"], int | None):
        given["random_state"] = None
    try:
        found: dict[str, Any] = json.loads(json.dumps(given))
    except (TypeError, ValueError) as error:
        raise TypeError(f"the arguments of the estimator cannot be saved ({error}); pickle it") from None
    return found


def _label(label: Any) -> Any:
    if not isinstance(label, str | int | float):
        raise TypeError(
            f"the label {shown(label)} is a {type(label).__name__}, which the folder cannot hold; use text or numbers, "
            "or, for groups, give rows=False"
        )
    return label
