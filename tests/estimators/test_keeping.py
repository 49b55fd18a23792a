"""Estimators in folders: the same predictions, with or without the rows of training, and for the command line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import quickstudy as qs
from quickstudy.estimators.group_regressor import GroupRegressor
from quickstudy.runs.reading import CheckpointError
from quickstudy.tables.model import TableModel

pytestmark = pytest.mark.filterwarnings("ignore:X does not have valid feature names:UserWarning")
ALONE = pd.DataFrame({"day": [0.0, 1.0]})


@pytest.mark.parametrize("learner", ["line", ("intercept", "everyone"), qs.MixedModel(fixed=2), qs.MeanAndGP()])
def test_round_trip(table: Any, tmp_path: Path, learner: Any) -> None:
    X, y, groups = table
    model = GroupRegressor(learner, seen=(0, 2), random_state=4).fit(X, y, groups=groups)
    model.save(tmp_path / "model")
    again = GroupRegressor.load(tmp_path / "model")
    pd.testing.assert_series_equal(again.predict(X, groups=groups), model.predict(X, groups=groups))
    found, expected = (each.adapt(ALONE, [250, 262]).predict(X, return_std=True, joint=2) for each in (again, model))
    for part, other in zip(found, expected, strict=True):
        (pd.testing.assert_series_equal if part.ndim == 1 else pd.testing.assert_frame_equal)(part, other)
    assert again.weights_ == model.weights_ and again.scores_ == model.scores_ and again.groups_ == model.groups_
    assert again.get_params()["seen"] == [0, 2] and again.random_state == 4
    refitted = again.fit(X, y, groups=groups)
    np.testing.assert_allclose(refitted.predict(X, groups=groups), model.predict(X, groups=groups), rtol=1e-6)
    model.save(tmp_path / "model")  # an earlier save is replaced


def test_without_rows_the_folder_holds_no_outcomes(table: Any, tmp_path: Path) -> None:
    X, y, groups = table
    model = GroupRegressor("line").fit(X, y, groups=groups)
    model.save(tmp_path / "model", rows=False)
    again = GroupRegressor.load(tmp_path / "model")
    assert again.groups_ is None and not (tmp_path / "model" / "rows.safetensors").exists()
    np.testing.assert_array_equal(again.adapt(ALONE, [250, 262]).predict(X), model.adapt(ALONE, [250, 262]).predict(X))
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    with pytest.raises(ValueError, match="saved without the rows of its groups"):
        again.predict(X, groups=groups)
    again.save(tmp_path / "again")
    assert GroupRegressor.load(tmp_path / "again").groups_ is None


def test_the_command_line_reads_it_and_it_reads_the_command_lines(table: Any, tmp_path: Path) -> None:
    X, y, groups = table
    model = GroupRegressor("line").fit(X, y, groups=groups)
    model.save(tmp_path / "model")
    support = qs.Examples(torch.tensor([[[0.0], [1.0]]]), torch.tensor([[[250.0], [262.0]]]))
    found = TableModel.load(tmp_path / "model").predict(support, torch.tensor([[[4.0]]]))
    np.testing.assert_allclose(found.mean.item(), model.adapt(ALONE, [250, 262]).predict([[4.0]])[0], rtol=1e-12)
    model.model_.save(tmp_path / "table")
    again = GroupRegressor.load(tmp_path / "table")
    assert again.groups_ is None and list(again.feature_names_in_) == ["day"]
    np.testing.assert_array_equal(again.adapt(ALONE, [250, 262]).predict(X), model.adapt(ALONE, [250, 262]).predict(X))


def test_arrays_without_names_and_without_groups(tmp_path: Path) -> None:
    x, y = np.arange(30.0)[:, None], np.arange(30.0) ** 2
    with pytest.warns(UserWarning, match="no groups"):
        model = GroupRegressor().fit(x, y)
    model.save(tmp_path / "model")
    again = GroupRegressor.load(tmp_path / "model")
    assert not hasattr(again, "feature_names_in_")
    np.testing.assert_array_equal(again.predict(x), model.predict(x))
    with pytest.raises(ValueError, match="fit was given no groups"):
        again.adapt(x, y)


class Own(nn.Module):
    """A learner of the user's own, around another."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = qs.MixedModel()
        self.fit, self.adapt, self.meta_loss = self.inside.fit, self.inside.adapt, self.inside.meta_loss


def test_what_cannot_be_saved(table: Any, tmp_path: Path) -> None:
    X, y, groups = table
    model = GroupRegressor(Own()).fit(X, y, groups=groups)
    with pytest.raises(TypeError, match="cannot be saved without pickle"):
        model.save(tmp_path / "model")
    dated = GroupRegressor("line").fit(X, y, groups=pd.to_datetime(groups.str[1:].astype(int), unit="D"))
    with pytest.raises(TypeError, match="is a Timestamp, which the folder cannot hold"):
        dated.save(tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("damage", ["{", "[]", '{"estimator": "GroupRegressor"}', '{"estimator": "Other"}'])
def test_damaged_folders(table: Any, tmp_path: Path, damage: str) -> None:
    X, y, groups = table
    GroupRegressor("line").fit(X, y, groups=groups).save(tmp_path / "model")
    (tmp_path / "model" / "estimator.json").write_text(damage)
    with pytest.raises(CheckpointError, match="damaged|holds a Other"):
        GroupRegressor.load(tmp_path / "model")
    with pytest.raises(CheckpointError):
        GroupRegressor.load(tmp_path / "nothing")


def test_facts_are_plain_json(table: Any, tmp_path: Path) -> None:
    X, y, groups = table
    GroupRegressor("line").fit(X, y, groups=groups).save(tmp_path / "model")
    facts = json.loads((tmp_path / "model" / "estimator.json").read_text())
    assert facts["parameters"]["learner"] == "line" and facts["groups"] == [f"p{i}" for i in range(12)]


def test_what_is_not_replaced(table: Any, tmp_path: Path) -> None:
    """Whatever saves replaces what it saved itself, and nothing else."""
    X, y, groups = table
    model = GroupRegressor("line").fit(X, y, groups=groups)
    labels = qs.GroupClassifier("shares").fit(X, np.where(y > y.median(), "high", "low"), groups=groups)
    savers: dict[str, Any] = {
        "learner": lambda folder: qs.save(qs.MixedModel(), folder),
        "table": model.model_.save,
        "regressor": model.save,
        "regressor without rows": lambda folder: model.save(folder, rows=False),
        "classifier": labels.save,
    }
    for name, save in savers.items():
        save(tmp_path / name)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "diary.txt").write_text("dear diary")
    (tmp_path / "file").write_text("dear diary")
    for place in (*savers, "notes", "file"):
        before = {path: path.read_bytes() for path in tmp_path.glob(f"{place}/*")}
        for name, save in savers.items():
            if place.split()[0] == name.split()[0]:
                continue
            with pytest.raises(FileExistsError, match="exists and was not made by .*[.]save; choose another path"):
                save(tmp_path / place)
        assert before == {path: path.read_bytes() for path in tmp_path.glob(f"{place}/*")}
    for name, save in savers.items():
        save(tmp_path / name)
        (tmp_path / "empty" / name).mkdir(parents=True)
        save(tmp_path / "empty" / name)
    model.save(tmp_path / "regressor", rows=False)
    assert not (tmp_path / "regressor" / "rows.safetensors").exists()
