"""scikit-learn's own checks, splitters, searches and routing take the estimators."""

import pickle
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import sklearn
from estimators.students import students
from sklearn.base import clone, is_regressor
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import quickstudy as qs
from quickstudy.estimators.group_classifier import GroupClassifier
from quickstudy.estimators.group_regressor import GroupRegressor

NO_GROUPS = pytest.mark.filterwarnings("ignore:fit was given no groups:UserWarning")
SINGLE = pytest.mark.filterwarnings("ignore:.* a single row:RuntimeWarning")
EXCEPTIONS = {
    "check_regressor_multioutput": "a line through 10 columns cannot be estimated from the 11 rows of the check",
}


@NO_GROUPS
@parametrize_with_checks([GroupRegressor(), GroupClassifier()], expected_failed_checks=lambda estimator: EXCEPTIONS)
def test_check_estimator(estimator: Any, check: Callable[[Any], None]) -> None:
    check(estimator)


@pytest.fixture
def every_five_rows(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`fit` takes every five rows for a group, where it is given none: the checks give none."""

    def grouping(whole: Any) -> Any:
        def fit(self: Any, X: Any, y: Any, groups: Any = None) -> Any:
            try:
                given = np.arange(np.asarray(X).shape[0]) // 5
            except (IndexError, TypeError, ValueError):  # the checks give X that is no table, which must be refused
                given = None
            return whole(self, X, y, groups=given if groups is None else groups)

        return fit

    for kind in (GroupRegressor, GroupClassifier):
        monkeypatch.setattr(kind, "fit", grouping(kind.fit))
    yield


@NO_GROUPS
@SINGLE
@pytest.mark.usefixtures("every_five_rows")
@parametrize_with_checks(
    [GroupRegressor("intercept"), GroupClassifier("everyone")], expected_failed_checks=lambda estimator: EXCEPTIONS
)
def test_check_estimator_with_groups(estimator: Any, check: Callable[[Any], None]) -> None:
    check(estimator)


@pytest.mark.parametrize("scoring", ["accuracy", "roc_auc", "neg_log_loss"])
def test_scorers_take_class_probabilities(scoring: str) -> None:
    X, y, groups = students(20)
    params = {"groups": groups}
    found = cross_val_score(
        GroupClassifier("everyone"), X, y, groups=groups, params=params, cv=GroupKFold(3), scoring=scoring
    )
    assert np.isfinite(found).all()


def test_splitters_give_held_out_groups(table: Any) -> None:
    """The groups of a test fold are unknown, so their predictions are those of a model without them."""
    X, y, groups = table
    model = GroupRegressor("line")
    found = cross_val_predict(model, X, y, groups=groups, params={"groups": groups}, cv=GroupKFold(3))
    for train, test in GroupKFold(3).split(X, y, groups):
        own = clone(model).fit(X.iloc[train], y.iloc[train], groups=groups.iloc[train])
        np.testing.assert_allclose(found[test], own.predict(X.iloc[test], groups=groups.iloc[test]))
        np.testing.assert_allclose(found[test], own.predict(X.iloc[test]))


def test_groups_that_only_the_splitter_gets_warn(table: Any) -> None:
    X, y, groups = table
    with pytest.warns(UserWarning, match="no groups, so every row counts as a group of its own"):
        cross_val_score(GroupRegressor("line"), X, y, groups=groups, cv=GroupKFold(3))


@pytest.fixture
def routing() -> Iterator[None]:
    with sklearn.config_context(enable_metadata_routing=True):
        yield


@pytest.mark.usefixtures("routing")
def test_routing_passes_groups_by_default(table: Any) -> None:
    """Nested cross-validation and pipelines give groups to splitters and to fit."""
    X, y, groups = table
    params, folds = {"groups": groups}, GroupKFold(3)
    plain = cross_val_score(GroupRegressor("line"), X, y, params=params, cv=folds)
    search = GridSearchCV(GroupRegressor(), {"learner": ["everyone", "line"]}, cv=folds)
    nested = cross_val_score(search, X, y, params=params, cv=folds)
    piped = make_pipeline(StandardScaler(), GroupRegressor("line"))
    assert plain.shape == nested.shape == (3,) and np.isfinite(nested).all()
    np.testing.assert_allclose(cross_val_score(piped, X, y, params=params, cv=folds), plain, rtol=1e-6)
    unrouted = GroupRegressor("line").set_fit_request(groups=False).set_score_request(groups=False)
    with pytest.warns(UserWarning, match="no groups"):
        cross_val_score(unrouted, X, y, cv=3)


def test_clone_and_pickle(table: Any) -> None:
    X, y, groups = table
    model = GroupRegressor(qs.MixedModel(), random_state=3)
    again = clone(model)
    assert again.random_state == 3 and again.learner is not model.learner and is_regressor(model)
    before = {name: value.clone() for name, value in model.learner.state_dict().items()}
    model.fit(X, y, groups=groups)
    assert all((value == before[name]).all() for name, value in model.learner.state_dict().items())
    kept = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(kept.predict(X, groups=groups), model.predict(X, groups=groups))
