"""GroupClassifier: what it predicts for known, unknown and new groups, against the exact answer."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from estimators.students import exact, students

import quickstudy as qs
from quickstudy.estimators.classes import candidates
from quickstudy.estimators.classes.candidates import class_candidates
from quickstudy.estimators.group_classifier import GroupClassifier
from quickstudy.runs.reading import CheckpointError

pytestmark = pytest.mark.filterwarnings("ignore:X does not have valid feature names:UserWarning")
QUICK = ("everyone", "shares", "trees")


@pytest.fixture(scope="module")
def model() -> GroupClassifier:
    X, y, groups = students(60)
    return GroupClassifier(QUICK, seen=(0, 4)).fit(X, y, groups=groups)


def score(probs: Any, y: Any) -> float:
    return float(np.log(np.where(y == "right", probs["right"], probs["wrong"])).mean())


def test_new_groups_are_predicted_better_as_rows_arrive(model: GroupClassifier) -> None:
    """Better than without groups, and on the way to the exact posterior of the simulation."""
    X, y, groups = students(200, 16, seed=1)
    place = groups.groupby(groups).cumcount()
    later = place >= 8
    blind = pd.DataFrame(model.predict_proba(X[later]), index=X[later].index, columns=model.classes_)
    known = {0: score(blind, y[later])}
    for seen in (2, 8):
        new = model.adapt(X[place < seen], y[place < seen], groups=groups[place < seen])
        known[seen] = score(new.predict_proba(X[later], groups=groups[later]), y[later])
    best = pd.Series(index=X[later].index, dtype=float)
    for name in groups.unique():
        own, ask = (groups == name) & (place < 8), (groups == name) & later
        best[ask] = exact(X.item[own].to_numpy(), y[own].to_numpy(), X.item[ask].to_numpy())
    oracle = score({"right": best, "wrong": 1 - best}, y[later])
    assert known[8] > known[2] + 0.005 > known[0] + 0.01
    assert oracle > known[8] > known[0] + 0.4 * (oracle - known[0])


def test_scores_of_held_out_groups_show_it(model: GroupClassifier) -> None:
    scores = pd.DataFrame(model.scores_).set_index(["learner", "seen"])
    assert scores.loc[("together", 4), "log_likelihood"] > scores.loc[("everyone", 4), "log_likelihood"] + 0.01
    assert scores.loc[("everyone", 0), "log_likelihood"] == scores.loc[("everyone", 4), "log_likelihood"]
    assert set(model.weights_) == set(QUICK) and sum(model.weights_.values()) == pytest.approx(1.0)
    assert scores.loc[("together", 4), "groups"] == 60 and scores["brier"].between(0, 1).all()


def test_where_groups_do_not_differ_the_inputs_get_the_weight() -> None:
    X, y, groups = students(40, spread=0.0)
    model = GroupClassifier(("everyone", "shares"), seen=(0, 4)).fit(X, y, groups=groups)
    assert model.weights_["everyone"] > 0.85


def test_known_and_unknown_groups(model: GroupClassifier) -> None:
    """Known groups are given all their rows, as a new group with the same rows is."""
    X, y, groups = students(60)
    own = groups == "s7"
    again = model.adapt(X[own], y[own]).predict_proba(X[own])
    np.testing.assert_allclose(model.predict_proba(X[own], groups=groups[own]), again, rtol=1e-9)
    np.testing.assert_array_equal(model.predict_proba(X[own], groups=["who"] * 12), model.predict_proba(X[own]))
    np.testing.assert_array_equal(model.adapt(X[:0], []).predict_proba(X[own]), model.predict_proba(X[own]))
    assert model.score(X, y, groups) > model.score(X, y)
    with pytest.raises(ValueError, match="groups holds 7 .int., and fit was given|groups holds"):
        GroupClassifier("shares").fit(X, y, groups=groups.str[1:]).predict(X[:1], groups=[7])


def test_pandas_in_pandas_out(model: GroupClassifier) -> None:
    at = pd.DataFrame({"item": [-1.0, 2.0]}, index=["easy", "hard"])
    new = model.adapt(at, ["right", "right"])
    probs, labels = new.predict_proba(at), new.predict(at)
    assert list(probs.columns) == ["right", "wrong"] and list(probs.index) == list(labels.index) == ["easy", "hard"]
    assert labels.name == "answer" and labels["easy"] == "right"
    np.testing.assert_allclose(probs.sum(axis=1), 1.0, rtol=1e-12)
    assert isinstance(model.predict_proba(at), np.ndarray) and list(model.predict(at).index) == ["easy", "hard"]
    assert repr(new) == "GroupLabelPredictor(1 group, 2 rows)"
    more = new.append(at, ["wrong", "wrong"])
    assert (more.predict_proba(at)["right"] < probs["right"]).all()
    assert model.predict([[-3.0]], groups=["new"]).tolist() == ["right"]


@pytest.mark.parametrize("labels", [(0, 1), (False, True), (-3, 12), ("no", "yes"), (0.0, 1.0)])
def test_kinds_of_classes(labels: tuple[Any, Any], tmp_path: Path) -> None:
    X, y, groups = students(12)
    given = [labels[int(answer == "right")] for answer in y]
    model = GroupClassifier("shares").fit(X, given, groups=groups)
    assert model.classes_.tolist() == list(labels)
    assert set(model.predict(X, groups=groups)) <= set(labels)
    adapted = model.adapt(X[:3], [labels[1]] * 3).predict(X[:1])
    model.save(tmp_path / "model")
    again = GroupClassifier.load(tmp_path / "model").adapt(X[:3], [labels[1]] * 3).predict(X[:1])
    assert adapted.tolist() == again.tolist() == [labels[1]] and again.dtype == adapted.dtype


def test_three_classes_and_a_rare_one() -> None:
    """One that occurs once is unknown to the fits of some folds."""
    X, y, groups = students(12, 8)
    rare = y.where(np.arange(len(y)) != 5, "absent")
    model = GroupClassifier(("everyone", "shares"), seen=(0, 2)).fit(X, rare, groups=groups)
    probs = model.predict_proba(X, groups=groups)
    assert probs.shape == (len(X), 3) and (probs > 0).all() and list(model.classes_) == ["absent", "right", "wrong"]
    assert np.isfinite(model.scores_["log_likelihood"]).all()


@pytest.mark.parametrize("name", class_candidates())
def test_each_learner_by_its_name(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(candidates, "STEPS", 5)
    X, y, groups = students(12)
    model = GroupClassifier(name).fit(X, y, groups=groups)
    probs = model.predict_proba(X, groups=groups)
    assert ((probs > 0) & (probs < 1)).all() and model.weights_ == {name: 1.0}
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(GroupClassifier.load(tmp_path / "model").predict_proba(X, groups=groups), probs)


def test_learners_of_the_contract(model: GroupClassifier) -> None:
    X, y, groups = students(12)
    process = qs.CNP(width=8, head=qs.heads.CategoricalHead(2))
    few = {"steps": 4, "validation_tasks": 4, "tasks": 4}
    for learner in (process, qs.MAML(qs.nets.MLP(1, [8], 2))):
        trained = GroupClassifier(learner, training=few).fit(X, y, groups=groups)
        assert trained.predict_proba(X, groups=groups).shape == (len(X), 2)
    with pytest.raises(ValueError, match="built with dx=2"):
        GroupClassifier(qs.CNP(2, head=qs.heads.CategoricalHead(2))).fit(X, y, groups=groups)


def test_round_trip(model: GroupClassifier, tmp_path: Path) -> None:
    X, y, groups = students(60)
    model.save(tmp_path / "model")
    again = GroupClassifier.load(tmp_path / "model")
    np.testing.assert_array_equal(again.predict_proba(X, groups=groups), model.predict_proba(X, groups=groups))
    assert again.weights_ == model.weights_ and again.scores_ == model.scores_
    model.save(tmp_path / "model", rows=False)
    with pytest.raises(ValueError, match="saved without the rows"):
        GroupClassifier.load(tmp_path / "model").predict(X, groups=groups)
    with pytest.raises(CheckpointError):
        qs.GroupRegressor.load(tmp_path / "model")
    X, y, groups = X[:24], X.item[:24], ["a", "b", "c"] * 8
    qs.GroupRegressor("intercept").fit(X, y, groups=groups).save(tmp_path / "other")
    with pytest.raises(CheckpointError, match="holds a GroupRegressor"):
        GroupClassifier.load(tmp_path / "other")


def test_without_groups_it_is_logistic_regression() -> None:
    X, y, groups = students(20)
    with pytest.warns(UserWarning, match="every row counts as a group of its own"):
        model = GroupClassifier().fit(X, y)
    curve = GroupClassifier("everyone").fit(X, y, groups=groups)
    np.testing.assert_allclose(model.predict_proba(X), curve.predict_proba(X), rtol=1e-4)
    with pytest.raises(ValueError, match="fit was given no groups"):
        model.adapt(X, y)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": ["right"] * 144}, "y holds one class, 'right'"),
        ({"y": np.linspace(0, 1, 144)}, "Unknown label type: continuous"),
        ({"y": [None] + ["right"] * 143}, "NaN|unknown|None"),
        ({"y": ["right"] * 143}, "inconsistent numbers of samples"),
        ({"groups": ["a"] * 143}, "143 labels and X has 144 rows"),
        ({"groups": ["a"] * 144}, "in 1 groups"),
        ({"groups": ["a", "b", "c"] * 48, "learner": None}, "name one learner, such as learner='shares'"),
        ({"learner": "tree"}, "did you mean 'trees'"),
    ],
)
def test_what_fit_refuses(change: dict[str, Any], message: str) -> None:
    given = {**students(12)._asdict(), "learner": "shares", **change}
    with pytest.raises(ValueError, match=message):
        GroupClassifier(given["learner"]).fit(given["X"], given["y"], groups=given["groups"])


def test_unknown_classes_are_refused(model: GroupClassifier) -> None:
    with pytest.raises(ValueError, match="y holds 'left', which is not among the classes of fit: 'right', 'wrong'"):
        model.adapt([[0.0]], ["left"])
    with pytest.raises(ValueError, match="1 rows and y has 2"):
        model.adapt([[0.0]], ["right", "right"])
    with pytest.raises(ValueError, match="groups is None"):
        model.cross_validate([[0.0]], ["right"], None)


def test_cross_validate_of_one_learner() -> None:
    X, y, groups = students(30)
    found = GroupClassifier("shares").cross_validate(X, y, groups, seen=[0, 1, 6])
    assert found["learner"].tolist() == ["shares"] * 3 and found["log_likelihood"].is_monotonic_increasing
