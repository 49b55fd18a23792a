"""GroupPredictor: one new group, several, further rows, and rows unlike all others."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from estimators.conftest import people

from quickstudy.estimators.group_regressor import GroupRegressor


@pytest.fixture
def model(table: Any) -> GroupRegressor:
    X, y, groups = table
    return GroupRegressor("line").fit(X, y, groups=groups)


def days(*values: float) -> pd.DataFrame:
    return pd.DataFrame({"day": list(values)})


def test_several_groups_are_each_predicted_by_themselves(model: GroupRegressor) -> None:
    X, y, labels = days(0, 0, 1, 1), [200, 320, 205, 340], ["a", "b", "a", "b"]
    both = model.adapt(X, y, groups=labels)
    assert both.groups == ("a", "b") and repr(both) == "GroupPredictor(2 groups, 4 rows)"
    alone = [model.adapt(days(0, 1), outcomes).predict(days(6)).iloc[0] for outcomes in ([200, 205], [320, 340])]
    np.testing.assert_allclose(both.predict(days(6, 6), groups=["a", "b"]), alone, rtol=1e-12)
    np.testing.assert_allclose(both.predict(days(6, 6), groups=["b", "a"]), alone[::-1], rtol=1e-12)
    with pytest.raises(ValueError, match="there are 2 groups; give groups="):
        both.predict(days(6))
    with pytest.raises(ValueError, match="groups holds 'c'; adapt was given rows of 'a', 'b'"):
        both.predict(days(6), groups=["c"])


def test_append_agrees_with_all_rows_at_once(model: GroupRegressor) -> None:
    first = model.adapt(days(0), [260])
    joined = first.append(days(1), [280]).append(days(2), [300])
    whole = model.adapt(days(0, 1, 2), [260, 280, 300])
    np.testing.assert_allclose(joined.predict(days(5)), whole.predict(days(5)), rtol=1e-12)
    assert first.predict(days(5), return_std=True)[1][0] > joined.predict(days(5), return_std=True)[1][0]
    more = model.adapt(days(0), [260], groups=["a"]).append(days(0, 1), [300, 280], groups=["b", "a"])
    assert more.groups == ("a", "b")
    np.testing.assert_allclose(
        more.predict(days(5), groups=["a"]), model.adapt(days(0, 1), [260, 280]).predict(days(5)), rtol=1e-12
    )
    with pytest.raises(ValueError, match="2 groups; give groups="):
        more.append(days(2), [300])


def test_no_rows_give_the_prior(model: GroupRegressor) -> None:
    nobody = model.adapt(days(), [])
    np.testing.assert_allclose(nobody.predict(days(1, 2)), model.predict(days(1, 2)), rtol=1e-12)
    known = nobody.append(days(0), [260])
    np.testing.assert_allclose(known.predict(days(1)), model.adapt(days(0), [260]).predict(days(1)), rtol=1e-12)


def test_rows_unlike_those_of_training(model: GroupRegressor) -> None:
    """As after a change of units."""
    with pytest.warns(RuntimeWarning, match="the known rows of s are unlike"):
        new = model.adapt(days(0, 1, 0, 1), [250, 260, 0.25, 0.26], groups=["ms", "ms", "s", "s"])
    assert new.unlike() == {"ms": False, "s": True}


def test_intervals_shrink_as_rows_arrive_and_keep_their_coverage() -> None:
    """Of new people from the same world, about nine of ten outcomes are in the 90% interval."""
    X, y, groups = people(count=150, rows=6, seed=1)
    model = GroupRegressor("line").fit(X, y, groups=groups)
    X, y, groups = people(count=200, rows=6, seed=2)
    seen = X.day < 2
    new = model.adapt(X[seen], y[seen], groups=groups[seen])
    low, high = (
        new.predict(X[~seen], groups=groups[~seen], quantiles=[0.05, 0.95])[1][f"speed_q{p}"] for p in (0.05, 0.95)
    )
    assert 0.86 < ((y[~seen] > low) & (y[~seen] < high)).mean() < 0.94
    prior = model.predict(X[~seen], return_std=True)[1]
    assert (high - low).mean() < 2 * 1.645 * prior.mean() / 1.5
