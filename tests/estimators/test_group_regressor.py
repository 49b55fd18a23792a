"""GroupRegressor: what it predicts for known, unknown and new groups, and what it says to bad input."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from estimators.conftest import people

import quickstudy as qs
from quickstudy.estimators.group_regressor import GroupRegressor
from quickstudy.tables.choosing import ALL, choose
from quickstudy.tables.model import TableModel
from quickstudy.tasks.datasets.columns import read_groups

pytestmark = pytest.mark.filterwarnings("ignore:X does not have valid feature names:UserWarning")


def test_chooses_as_the_command_does() -> None:
    """The same mixture and the same scores as from the rows of a file."""
    X, y, groups = people(count=8, rows=4)
    only = ("everyone", "intercept", "line")
    model = GroupRegressor(only).fit(X, y, groups=groups)
    rows = read_groups({"person": list(groups), "day": list(X.day), "speed": list(y)}, "person", ("day",), ("speed",))
    choice = choose(rows, only=only)
    assert (
        model.scores_ is not None
        and model.weights_ == {name: sum(own) / len(own) for name, own in choice.weights.items()}
        and model.model_.digest == TableModel.of(choice, rows).digest
    )
    at = [k for k, name in enumerate(model.scores_["learner"]) if name == ALL]
    expected = choice.scores[ALL].density.mean(0).tolist()
    assert [model.scores_["log_likelihood"][k] for k in at] == pytest.approx(expected)
    scored = model.cross_validate(X, y, groups)
    pd.testing.assert_frame_equal(scored, pd.DataFrame(model.scores_))
    assert model.learner == only


def test_predictions_are_those_of_the_learner(table: Any) -> None:
    """Known groups are given their own rows, unknown ones none, and new ones theirs."""
    X, y, groups = table
    model = GroupRegressor("line").fit(X, y, groups=groups)
    rows = read_groups({"person": list(groups), "day": list(X.day), "speed": list(y)}, "person", ("day",), ("speed",))
    learner = model.model_.learner
    x = torch.tensor([[[0.5], [7.0]]]).double()
    own = rows.rows[rows.names.index("p7")]
    given = qs.Examples(own[None, :, :1], own[None, :, 1:])
    for support, labels in ((given, ["p7", "p7"]), (given.first(0), ["who", "else"]), (given.first(0), None)):
        belief = learner.adapt(support)(x)
        mean, std, quantiles = model.predict(
            x[0].numpy().tolist(), groups=labels, return_std=True, quantiles=[0.1, 0.9]
        )
        np.testing.assert_allclose(mean, belief.mean[0, :, 0].detach(), rtol=1e-9)
        np.testing.assert_allclose(std, belief.variance[0, :, 0].sqrt().detach(), rtol=1e-9)
        np.testing.assert_allclose(quantiles.T, belief.quantile([0.1, 0.9])[:, 0, :, 0].detach(), rtol=1e-9)
    new = model.adapt(own[:, :1].numpy(), own[:, 1].numpy())
    np.testing.assert_allclose(new.predict(x[0].numpy()), model.predict(x[0].numpy(), groups=["p7", "p7"]), rtol=1e-9)


def test_pandas_in_pandas_out(table: Any) -> None:
    X, y, groups = table
    model = GroupRegressor("line").fit(X, y, groups=groups)
    at = pd.DataFrame({"day": [3.0, 9.0]}, index=["a", "b"])
    mean, std, quantiles, draws = model.predict(
        at, groups=["p1", "new"], return_std=True, quantiles=[0.05, 0.95], joint=3
    )
    assert mean.name == "speed" and std.name == "speed_sd" and list(mean.index) == ["a", "b"]
    assert list(quantiles.columns) == ["speed_q0.05", "speed_q0.95"] and list(quantiles.index) == ["a", "b"]
    assert list(draws.columns) == ["speed_draw1", "speed_draw2", "speed_draw3"]
    assert (quantiles["speed_q0.05"] < mean).all() and (mean < quantiles["speed_q0.95"]).all() and std["b"] > std["a"]
    assert list(model.feature_names_in_) == ["day"] and model.groups_ == tuple(f"p{i}" for i in range(12))
    assert isinstance(model.cross_validate(X, y, groups, seen=[0, 2]), pd.DataFrame)
    assert isinstance(model.cross_validate(X.to_numpy(), y, groups, seen=[0, 2]), dict)
    assert list(model.predict(X, groups=groups).index) == list(X.index)
    assert model.score(X, y, groups) > 0.98 > 0.6 > model.score(X, y)


def test_several_outputs(table: Any) -> None:
    X, y, groups = table
    both = pd.DataFrame({"speed": y, "slowness": 1e6 - y})
    model = GroupRegressor("line").fit(X, both, groups=groups)
    one = GroupRegressor("line").fit(X, y, groups=groups)
    mean, quantiles = model.predict(X, groups=groups, quantiles=[0.1, 0.8])
    assert list(mean.columns) == ["speed", "slowness"] and model.n_outputs_ == 2
    assert list(quantiles.columns) == ["speed_q0.1", "speed_q0.8", "slowness_q0.1", "slowness_q0.8"]
    np.testing.assert_allclose(mean["speed"], one.predict(X, groups=groups), rtol=1e-5)
    arrays = model.predict(X.to_numpy(), groups=groups, quantiles=[0.1, 0.8], joint=2)
    assert [part.shape for part in arrays] == [(72, 2), (72, 2, 2), (72, 2, 2)]
    new = model.adapt(X.iloc[:2], both.iloc[:2])
    assert new.predict(X.iloc[:3]).shape == (3, 2)
    assert "rmse_slowness" in model.cross_validate(X, both, groups)


def test_order_of_rows_and_names_of_groups_do_not_matter(table: Any) -> None:
    X, y, groups = table
    model = GroupRegressor("line").fit(X, y, groups=groups)
    other = GroupRegressor("line").fit(X[::-1], list(y[::-1]), groups=groups[::-1].astype("category"))
    np.testing.assert_array_equal(other.predict(X, groups=groups), model.predict(X, groups=groups))
    together = model.predict(X, groups=groups)
    apart = pd.concat([model.predict(X[groups == name], groups=groups[groups == name]) for name in model.groups_])
    np.testing.assert_allclose(apart[X.index], together, rtol=1e-12)


def test_units_that_need_float64(table: Any) -> None:
    """Unix times by the minute, and outcomes with a large offset."""
    X, y, groups = table
    plain = GroupRegressor("line").fit(X, y, groups=groups)
    model = GroupRegressor("line").fit(1.7e9 + 60 * X, 4.5e6 + y / 1000, groups=groups)
    found = model.predict(1.7e9 + 60 * X, groups=groups) - 4.5e6
    np.testing.assert_allclose(1000 * found, plain.predict(X, groups=groups), atol=1e-3)


def test_joint_draws_hold_together_within_a_group(table: Any) -> None:
    """Draws of an unknown group's rows share its intercept and slope; rows of no group share nothing."""
    X, y, groups = table
    model = GroupRegressor("line").fit(X, y, groups=groups)
    at = np.array([[0.0], [1.0]])
    mean, std, draws = model.predict(at, groups=["new", "new"], return_std=True, joint=4000)
    np.testing.assert_allclose(draws.mean(1), mean, atol=4 * std.max() / 4000**0.5)
    np.testing.assert_allclose(draws.std(1), std, rtol=0.06)
    assert np.corrcoef(draws)[0, 1] > 0.9
    assert abs(np.corrcoef(model.predict(at, joint=4000)[1])[0, 1]) < 0.06
    np.testing.assert_array_equal(model.predict(at, groups=["new", "new"], joint=4000)[1], draws)
    with pytest.raises(ValueError, match="joint=2 for a group with 2,001 rows"):
        model.predict(np.zeros((2001, 1)), groups=["new"] * 2001, joint=2)


def test_a_learner_of_the_contract_is_fitted_in_standard_units(table: Any) -> None:
    """A closed form by its `fit`, another by `qs.fit`; neither is changed, nor are torch's random numbers."""
    X, y, groups = table
    process = qs.CNP(width=16)
    state = torch.random.get_rng_state()
    mixed = GroupRegressor(qs.MixedModel()).fit(X, y, groups=groups)
    named = GroupRegressor("line").fit(X, y, groups=groups)
    np.testing.assert_allclose(mixed.predict(X, groups=groups), named.predict(X, groups=groups), rtol=1e-5)
    assert mixed.weights_ == {"MixedModel": 1.0}
    trained = GroupRegressor(process, training={"steps": 10, "support": (0, 3), "validation_tasks": 4}).fit(
        X, y, groups=groups
    )
    assert abs(trained.predict(X).mean() - y.mean()) < 3 * y.std() and "CNP" in trained.weights_
    assert torch.equal(torch.random.get_rng_state(), state)


def test_without_groups_it_is_a_curve_for_all(table: Any) -> None:
    X, y, groups = table
    with pytest.warns(UserWarning, match="every row counts as a group of its own"):
        model = GroupRegressor("gp").fit(X, y)
    design = np.column_stack([np.ones(72), X.day])
    line = design @ np.linalg.lstsq(design, y, rcond=None)[0]
    np.testing.assert_allclose(model.predict(X, groups=groups), line, atol=8)
    mean, std = model.predict(X, return_std=True)
    assert 0.8 < (y - mean).std() / std.mean() < 1.2
    with pytest.raises(ValueError, match="does not know how alike the rows of a group are"):
        model.adapt(X, y)
    with pytest.raises(ValueError, match="groups is None"):
        model.cross_validate(X, y, None)


def test_groups_with_a_single_row(table: Any) -> None:
    """They are left out of fitting with a warning, and predicted given their row."""
    X, y, groups = table
    more = pd.concat([X, pd.DataFrame({"day": [0.0]}, index=[0])])
    with pytest.warns(RuntimeWarning, match="1 of 13 groups have a single row"):
        model = GroupRegressor("line").fit(more, [*y, 400.0], groups=[*groups, "lone"])
    without = GroupRegressor("line").fit(X, y, groups=groups)
    at = [[5.0]]
    assert model.predict(at, groups=["lone"])[0] > without.predict(at)[0] + 50
    np.testing.assert_allclose(model.predict(at, groups=["p3"]), without.predict(at, groups=["p3"]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"groups": ["a"] * 71}, "71 labels and X has 72 rows"),
        ({"groups": [None] + ["a"] * 71}, "no label in row 0"),
        ({"groups": [["a", "b"]] * 72}, r"shape \[72, 2\]"),
        ({"groups": ["a"] * 72}, "n_samples=72 in 1 groups"),
        ({"groups": list(range(72))}, "of which 0 have two rows or more"),
        ({"groups": [1, "1"] * 36}, "holds both 1 .int. and '1' .str."),
        ({"y": ["quick"] * 72}, "y holds 'quick', which is not a number; for classes, use GroupClassifier"),
        ({"y": np.array(["quick", 1.0] * 36, dtype=object)}, "y holds 'quick'"),
        ({"y": [np.nan] + [1.0] * 71}, "NaN"),
        ({"y": [1.0] * 71}, "inconsistent numbers of samples"),
        ({"y": [5.0] * 72}, "output 'y' is 5 in all rows"),
        ({"X": np.full((72, 1), np.nan)}, "NaN"),
        ({"learner": "lines"}, "did you mean 'line'"),
        ({"learner": ("line", "log-gp")}, "learner='log-gp'"),
        ({"learner": qs.MixedModel(2)}, "built with dx=2, and there are 1 columns of X"),
        ({"learner": None, "groups": ["a", "b", "c"] * 24}, "give at least 6 groups, or name one learner"),
    ],
)
def test_what_fit_refuses(table: Any, change: dict[str, Any], message: str) -> None:
    given = {**table._asdict(), "learner": "line", **change}
    with pytest.raises(ValueError, match=message):
        GroupRegressor(given["learner"]).fit(given["X"], given["y"], groups=given["groups"])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"y": pd.Series(pd.to_timedelta(np.arange(72), unit="D"))}, TypeError, "y holds timedelta64.*such as days"),
        ({"y": np.arange(72).astype("datetime64[D]")}, TypeError, "y holds datetime64"),
        ({"y": pd.DataFrame({"a": pd.date_range("2021", periods=72, tz="UTC")})}, TypeError, "y holds datetime64.*UTC"),
        ({"y": np.ma.masked_less(np.arange(72.0), 3)}, ValueError, "y is a masked array"),
        ({"X": np.ma.masked_less(np.arange(72.0)[:, None], 3)}, ValueError, "X is a masked array"),
        ({"learner": []}, ValueError, "name at least one learner, or give None"),
    ],
)
def test_what_would_be_wrong_without_a_word(table: Any, change: Any, error: type[Exception], message: str) -> None:
    given = {**table._asdict(), "learner": "line", **change}
    with pytest.raises(error, match=message):
        GroupRegressor(given["learner"]).fit(given["X"], given["y"], groups=np.asarray(table.groups))
    if "y" in change:
        with pytest.raises(error, match=message):
            GroupRegressor("line").fit(*table).adapt(table.X[:72], change["y"])


def test_what_predict_refuses(table: Any) -> None:
    X, y, groups = table
    model = GroupRegressor("line").fit(X.assign(dose=1.0 * np.arange(72)), y, groups=groups)
    both = X.assign(dose=1.0)
    for rows in (both[["dose", "day"]], both.rename(columns={"dose": "gram"}), both.assign(more=1.0)):
        with pytest.raises(ValueError, match="feature names should match"):
            model.predict(rows)
    with pytest.raises(ValueError, match="X has 3 features"):
        model.predict(np.zeros((1, 3)))
    with pytest.raises(ValueError, match="no label in row 1"):
        model.predict(both[:2], groups=["p1", None])
    with pytest.raises(ValueError, match="y has shape .*expected one column"):
        model.adapt(both[:2], [[1.0, 2.0]] * 2)
    with pytest.raises(ValueError, match="2 rows and y has 1"):
        model.adapt(both[:2], [1.0])
    for levels in ([5, 95], [0.0], [np.nan]):
        with pytest.raises(ValueError, match="between 0 and 1"):
            model.predict(both, quantiles=levels)
    with pytest.raises(TypeError, match="quantiles=0.5"):
        model.predict(both, quantiles=0.5)
    with pytest.raises(ValueError, match="joint"):
        model.predict(both, joint=0)


def test_rows_are_matched_by_position_and_misaligned_ones_refused(table: Any) -> None:
    X, y, groups = table
    for change in ({"y": y[::-1]}, {"groups": groups[::-1]}):
        given = {"y": y, "groups": groups} | change
        [name] = change
        with pytest.raises(ValueError, match=f"{name} has the index labels of X in another order"):
            GroupRegressor("line").fit(X, **given)


def test_labels_spelt_in_another_way_are_not_taken_for_unknown(table: Any) -> None:
    X, y, groups = table
    numbers = groups.str[1:].astype(int)
    model = GroupRegressor("line").fit(X, y, groups=numbers)
    np.testing.assert_array_equal(model.predict(X, groups=numbers.astype(float)), model.predict(X, groups=numbers))
    with pytest.raises(ValueError, match=r"'7' .str., and fit was given 7 .int."):
        model.predict(X[:1], groups=["7"])


def test_inputs_outside_the_range_of_training(table: Any) -> None:
    X, y, groups = table
    model = GroupRegressor("line").fit(X, y, groups=groups)
    assert model.outside(pd.DataFrame({"day": [0.0, 5.2, 5.3, -3.0]})).tolist() == [False, False, True, True]


def test_many_groups_and_many_rows_go_in_portions() -> None:
    X, y, groups = people(count=300, rows=3)
    model = GroupRegressor("intercept").fit(X, y, groups=groups)
    found = model.predict(X, groups=groups)
    at = np.flatnonzero(groups == "p299")
    np.testing.assert_allclose(found.iloc[at], model.predict(X.iloc[at], groups=groups.iloc[at]), rtol=1e-12)
    grid = pd.DataFrame({"day": np.linspace(0, 3, 700)})
    long = model.predict(grid, groups=["p1"] * 700)
    np.testing.assert_allclose(long[650:], model.predict(grid[650:], groups=["p1"] * 50), rtol=1e-12)


def test_adapt_warns_of_other_units() -> None:
    """As the command does: rows in metres where training had millimetres."""
    groups = np.repeat(np.arange(8), 5)
    x, y = np.tile(np.arange(5.0), 8)[:, None], 250 + 3.0 * groups + np.sin(np.arange(40.0))
    model = GroupRegressor("line").fit(x, y, groups=groups)
    with pytest.warns(RuntimeWarning, match="the known rows are unlike .*check the units"):
        model.adapt([[0.0], [1.0]], [0.25, 0.26])
    with pytest.warns(RuntimeWarning, match="the known rows of b are unlike"):
        model.adapt([[0.0], [0.0]], [255.0, 255_000.0], groups=["a", "b"])
    model.adapt([[0.0], [1.0]], [255.0, 256.0])


def test_a_series_as_X_is_told_to_be_a_frame() -> None:
    frame = pd.DataFrame({"day": np.tile(np.arange(5.0), 8), "speed": np.arange(40.0)})
    with pytest.raises(ValueError, match=r"X is a series; expected a data frame: give frame\[\['day'\]\]"):
        GroupRegressor("line").fit(frame["day"], frame["speed"], groups=np.repeat(np.arange(8), 5))
