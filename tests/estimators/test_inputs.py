"""Columns of X that are dates, durations or categories: read as by the command, and the same in predict and load."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from quickstudy.cli import main
from quickstudy.estimators.group_classifier import GroupClassifier
from quickstudy.estimators.group_regressor import GroupRegressor
from quickstudy.runs.reading import CheckpointError
from quickstudy.tables.choosing import choose
from quickstudy.tables.model import TableModel
from quickstudy.tasks.datasets.columns import read_groups
from quickstudy.tasks.datasets.inputs import Reading

pytestmark = pytest.mark.filterwarnings("ignore:X does not have valid feature names:UserWarning")
START = pd.Timestamp("2021-03-01")


class Trial:
    """Patients of two arms at three sites, seen on dates, each some time after a meal."""

    def __init__(self, count: int = 9, rows: int = 6, seed: int = 0):
        chance = np.random.default_rng(seed)
        patient = np.repeat(np.arange(count), rows)
        self.day = np.tile(7.0 * np.arange(rows), count) + patient
        self.meal, arm, site = chance.uniform(0, 3, len(patient)), patient % 2, patient % 3
        self.y = (
            20 + patient + 0.3 * self.day - 2 * self.meal + 5 * arm + 3 * (site == 2) + chance.normal(size=len(arm))
        )
        self.groups = np.array([f"p{i}" for i in patient])
        self.frame = pd.DataFrame(
            {
                "date": START + pd.to_timedelta(self.day, unit="D"),
                "meal": pd.to_timedelta(self.meal, unit="h"),
                "arm": np.where(arm == 1, "drug", "control"),
                "site": pd.Categorical(np.array([3, 5, 11])[site]),
                "fed": self.meal < 1,
            }
        )
        self.numbers = pd.DataFrame(
            {
                "date": self.day + (START - pd.Timestamp("1970-01-01")).days,
                "meal": self.meal / 24,
                "arm=drug": 1.0 * (arm == 1),
                "site=5": 1.0 * (site == 1),
                "site=11": 1.0 * (site == 2),
                "fed": 1.0 * (self.meal < 1),
            }
        )


@pytest.fixture(scope="module")
def trial() -> Trial:
    return Trial()


@pytest.fixture(scope="module")
def model(trial: Trial) -> GroupRegressor:
    return GroupRegressor("line").fit(trial.frame, trial.y, groups=trial.groups)


KINDS: dict[str, Any] = {
    "as they are": lambda frame: frame,
    "text": lambda frame: frame.astype({"date": str, "meal": str}),
    "objects": lambda frame: frame.astype(object).assign(site=pd.Categorical(frame.site)),
    "categories of text": lambda frame: frame.assign(arm=pd.Categorical(frame.arm, ["drug", "control", "other"])),
    "nullable": lambda frame: frame.convert_dtypes().assign(site=pd.Categorical(frame.site)),
    "date objects": lambda frame: frame.assign(date=frame.date.dt.date),
    "another resolution": lambda frame: frame.assign(date=frame.date.astype("datetime64[s]")),
}


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_model_of_the_numbers_that_the_columns_stand_for(trial: Trial, kind: str) -> None:
    model = GroupRegressor("line").fit(KINDS[kind](trial.frame), trial.y, groups=trial.groups)
    plain = GroupRegressor("line").fit(trial.numbers, trial.y, groups=trial.groups)
    assert model.model_.x == tuple(trial.numbers.columns)
    assert list(model.feature_names_in_) == list(trial.frame.columns) and model.n_features_in_ == 5
    found = model.predict(KINDS[kind](trial.frame), groups=trial.groups)
    np.testing.assert_allclose(found, plain.predict(trial.numbers, groups=trial.groups), rtol=1e-6)
    new = model.adapt(KINDS[kind](trial.frame)[:2], trial.y[:2]).predict(KINDS[kind](trial.frame)[:9])
    np.testing.assert_allclose(new, plain.adapt(trial.numbers[:2], trial.y[:2]).predict(trial.numbers[:9]), rtol=1e-6)
    assert not model.outside(trial.frame).any()


def test_rows_of_polars_and_lists(trial: Trial, model: GroupRegressor) -> None:
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({name: trial.frame[name].tolist() for name in trial.frame}).with_columns(
        polars.col("site").cast(polars.String).cast(polars.Categorical)
    )
    other = GroupRegressor("line").fit(frame, polars.Series(trial.y), groups=polars.Series(trial.groups))
    expected = model.predict(trial.frame, groups=trial.groups).to_numpy()
    np.testing.assert_allclose(other.predict(frame, groups=trial.groups), expected, rtol=1e-9)
    rows = [["2021-03-01", "0 days 02:00:00", "drug", 5, True], ["2021-03-09", "0 days 01:00:00", "control", 3, False]]
    same = pd.DataFrame(rows, columns=trial.frame.columns)
    np.testing.assert_allclose(model.predict(rows), model.predict(same), rtol=1e-12)


def test_the_command_predicts_the_same_from_a_file(trial: Trial, model: GroupRegressor, tmp_path: Path) -> None:
    model.save(tmp_path / "model")
    new = trial.frame[:4].assign(fed=1 * trial.frame.fed[:4], group="zoe", y=[*trial.y[:2], "", ""])
    new.to_csv(tmp_path / "new.csv", index=False)
    options = [str(tmp_path / "model"), str(tmp_path / "new.csv"), "--out", str(tmp_path / "found.csv")]
    assert main(["predict", *options]) == 0
    with (tmp_path / "found.csv").open() as file:
        found = [float(row["y_mean"]) for row in csv.DictReader(file)]
    expected = model.adapt(trial.frame[:2], trial.y[:2]).predict(trial.frame[2:4])
    np.testing.assert_allclose(found, expected, rtol=1e-8)


def test_saved_models_remember_how_columns_are_read(trial: Trial, model: GroupRegressor, tmp_path: Path) -> None:
    model.save(tmp_path / "model")
    again = GroupRegressor.load(tmp_path / "model")
    pd.testing.assert_series_equal(
        again.predict(trial.frame, groups=trial.groups), model.predict(trial.frame, groups=trial.groups)
    )
    wrong = np.where(trial.y > np.median(trial.y), "high", "low")
    labels = GroupClassifier("everyone").fit(trial.frame[["arm", "date"]], wrong, groups=trial.groups)
    labels.save(tmp_path / "labels")
    other = GroupClassifier.load(tmp_path / "labels")
    np.testing.assert_array_equal(
        other.predict_proba(trial.frame[["arm", "date"]]), labels.predict_proba(trial.frame[["arm", "date"]])
    )


@pytest.mark.parametrize("dates", ["calendar", "elapsed"])
def test_models_of_the_command_that_read_dates_are_loaded(trial: Trial, tmp_path: Path, dates: str) -> None:
    columns = {name: trial.frame[name].astype(str).tolist() for name in ("date", "arm")}
    columns |= {"who": list(trial.groups), "y": trial.y.tolist()}
    rows = read_groups(columns, "who", ("date", "arm"), ("y",), reading=Reading(dates=dates))
    TableModel.of(choose(rows, only=("intercept",)), rows).save(tmp_path / "model")
    if dates == "elapsed":
        with pytest.raises(CheckpointError, match="counts days from the first date of a group .date."):
            GroupRegressor.load(tmp_path / "model")
        return
    found = GroupRegressor.load(tmp_path / "model").predict(trial.frame[["date", "arm"]][:3])
    assert np.isfinite(found).all() and found.index.equals(trial.frame.index[:3])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arm": "surgery"}, "'arm' holds 'surgery' in row 1, which was not in training .that had control, drug."),
        ({"site": 4}, "'site' holds 4 in row 1, which was not in training .that had 3, 5, 11."),
        ({"date": pd.Timestamp("2021-03-01", tz="UTC")}, "has a time zone, and dates in other rows have none"),
        ({"date": pd.NaT}, "row 1 has no value in column 'date'"),
        ({"date": "1/3/2021"}, r"its day and month could be confused.*convert the column by pandas.to_datetime\("),
        ({"date": 3.5}, "'date' holds 3.5 in row 1, which is no date"),
        ({"meal": 3.5}, "'meal' holds 3.5 in row 1, which is no duration"),
        ({"fed": "maybe"}, "'fed' holds 'maybe' in row 1, which is not a number"),
        ({"fed": np.inf}, "'fed' holds inf in row 1, which is not a finite number"),
        ({"arm": None}, "row 1 has no value in column 'arm'"),
    ],
)
def test_cells_that_training_did_not_have(
    trial: Trial, model: GroupRegressor, change: dict[str, Any], message: str
) -> None:
    rows = trial.frame[:1].astype(object).assign(**{name: [value] for name, value in change.items()})
    with pytest.raises(ValueError, match=message):
        model.predict(rows)
    with pytest.raises(ValueError, match=message):
        model.adapt(rows, [1.0])


def test_columns_in_another_order_are_refused(trial: Trial, model: GroupRegressor) -> None:
    for rows in (trial.frame[trial.frame.columns[::-1]], trial.frame.rename(columns={"arm": "Arm"}), trial.numbers):
        with pytest.raises(ValueError, match="feature names should match"):
            model.predict(rows)
    with pytest.raises(ValueError, match="4 features"):
        model.predict(trial.frame.iloc[:, :4].to_numpy())


def test_a_date_where_fit_had_numbers_is_refused(trial: Trial) -> None:
    plain = GroupRegressor("intercept").fit(trial.numbers[["date"]], trial.y, groups=trial.groups)
    with pytest.raises(ValueError, match="'date' holds Timestamp.* in row 1, which is not a number; a date or time"):
        plain.predict(trial.frame[["date"]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f[["arm", "date", "meal"]], r"holds categories, .* give X\[\['date', 'arm', 'meal'\]\]"),
        (lambda f: f.assign(arm=[f"w{i}" for i in range(54)]), "has 54 different words .*leave this column out of X"),
        (lambda f: f.assign(arm="drug"), "'drug' in all rows, so it tells nothing; leave it out of X"),
        (lambda f: f.assign(date=f.date.where(f.date > START)), "'date' of X has no value in row 1; leave out rows"),
        (lambda f: f.assign(arm=f.arm.where(f.meal > f.meal[4])), "'arm' of X has no value in row "),
        (lambda f: f.assign(meal=None), "'meal' has no values; leave it out of X"),
        (lambda f: f.assign(arm=[*f.arm[:50], "1", "2", "3", "4"]), "give the column 'arm' the type 'category'"),
        (lambda f: pd.concat([f, f[["arm"]]], axis=1), "X has 2 columns called 'arm'"),
        (lambda f: f.assign(date=f.date.dt.strftime("%d/%m/%Y")), r"pandas.to_datetime\(..., format='%d/%m/%Y'\)"),
        (lambda f: f.assign(arm=[{}] * 54), "'arm' holds {} in row 1, which is not a number"),
    ],
)
def test_columns_that_cannot_be_read(trial: Trial, change: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GroupRegressor("line").fit(change(trial.frame), trial.y, groups=trial.groups)


def test_arrays_of_dates_are_told_to_be_frames(trial: Trial) -> None:
    with pytest.raises(TypeError, match="X is an array of datetime64.*; give a data frame, whose columns may hold dat"):
        GroupRegressor("line").fit(trial.frame[["date"]].to_numpy(), trial.y, groups=trial.groups)
