"""Distributions of one learner are as wide as held-out groups show that they must be."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from estimators.conftest import people
from torch import Tensor, nn

import quickstudy as qs
from quickstudy.estimators.group_regressor import GroupRegressor
from quickstudy.predictive.widened import Widened
from quickstudy.tables.calibrated import PRIOR
from quickstudy.tables.candidates import candidates, fitted
from quickstudy.tables.judging import folds, held_out, usual_sizes
from quickstudy.tasks.datasets.columns import GroupedRows, read_groups

pytestmark = pytest.mark.filterwarnings("ignore:X does not have valid feature names:UserWarning")


def rows_of(table: Any) -> GroupedRows:
    X, y, groups = table
    return read_groups({"person": list(groups), "day": list(X.day), "speed": list(y)}, "person", ("day",), ("speed",))


def widths_by_hand(rows: GroupedRows, name: str) -> list[float]:
    """The root mean square of (y - mean) / std over held-out groups, with some groups in which it is 1."""
    sizes = usual_sizes(rows)
    squares: list[list[float]] = [[] for _ in sizes]
    for training, test in folds(rows.names, 3, 0):
        learner = fitted(candidates(rows)[name], rows, training, seed=0, most=4)
        for k, tasks in enumerate(held_out(rows, test, sizes)):
            belief = learner.adapt(tasks.support)(tasks.query.x)
            z = (tasks.query.y - belief.mean) / belief.variance.sqrt()
            squares[k] += z.detach().square().mean((1, 2)).tolist()
    return [((sum(own) + PRIOR) / (len(own) + PRIOR)) ** 0.5 for own in squares]


@pytest.mark.parametrize("name", ["curve", "gp"])
def test_spread_is_multiplied_by_what_held_out_groups_ask_for(table: Any, name: str) -> None:
    X, y, groups = table
    rows = rows_of(table)
    model = GroupRegressor(name).fit(X, y, groups=groups)
    plain = fitted(candidates(rows)[name], rows, rows.names, seed=0, most=4).double()
    x = torch.tensor([[[3.0], [4.5]]]).double()
    for width, seen in zip(widths_by_hand(rows, name), usual_sizes(rows), strict=True):
        own = rows.rows[2][:seen]
        belief = plain.adapt(qs.Examples(own[None, :, :1], own[None, :, 1:]))(x)
        mean, std = model.adapt(own[:, :1].numpy(), own[:, 1].numpy()).predict(x[0].numpy(), return_std=True)
        np.testing.assert_allclose(mean, belief.mean[0, :, 0].detach(), rtol=1e-6)
        np.testing.assert_allclose(std, width * belief.variance[0, :, 0].sqrt().detach(), rtol=1e-4)


@dataclass(frozen=True)
class Sure:
    """A predictor that is too sure of itself."""

    inside: Any
    factor: float

    def __call__(self, x: Tensor) -> Widened:
        belief = self.inside(x)
        return Widened(belief, belief.mean.new_full((len(x), 1), self.factor))


class TooSure(nn.Module):
    """A learner of the user's own, which may be too sure of itself."""

    def __init__(self, factor: float = 0.25) -> None:
        super().__init__()
        self.inside, self.factor = qs.MixedModel(), factor

    def fit(self, family: Any) -> "TooSure":
        self.inside.fit(family)
        return self

    def meta_loss(self, tasks: Any) -> Tensor:
        return self.inside.meta_loss(tasks)

    def adapt(self, support: Any, **options: Any) -> Any:
        return Sure(self.inside.adapt(support, **options), self.factor)


@pytest.mark.parametrize("factor", [0.25, 1.0])
def test_a_learner_of_ones_own_that_is_fitted_by_its_fit_has_honest_intervals(factor: float) -> None:
    """Cross-validation shows it: each fold finds the widths within its own training groups."""
    X, y, groups = people(count=24, rows=6)
    scores = GroupRegressor(TooSure(factor), seen=[0, 2]).cross_validate(X, y, groups)
    assert scores["coverage90"].between(0.8, 0.97).all()
    true, other = people(count=60, rows=6, seed=5), GroupRegressor(TooSure(factor)).fit(X, y, groups=groups)
    ends = other.predict(true.X, quantiles=[0.05, 0.95])[1].to_numpy()
    assert 0.8 < np.mean((ends[:, 0] < true.y) & (true.y < ends[:, 1])) < 0.97


def test_with_fewer_than_six_groups_and_for_trained_learners_beliefs_stay_as_they_are() -> None:
    X, y, groups = people(count=5)
    few = GroupRegressor("line").fit(X, y, groups=groups)
    rows = rows_of((X, y, groups))
    belief = (
        fitted(candidates(rows)["line"], rows, rows.names, seed=0, most=4)
        .double()
        .adapt(qs.Examples(torch.zeros(1, 0, 1), torch.zeros(1, 0, 1)).to(dtype=torch.float64))(
            torch.ones(1, 1, 1).double()
        )
    )
    std = few.predict([[1.0]], return_std=True)[1]
    np.testing.assert_allclose(std, belief.variance[0, :, 0].sqrt().detach(), rtol=1e-9)
    X, y, groups = people(count=8)
    trained = GroupRegressor(qs.CNP(width=8), training={"steps": 2, "support": (0, 2), "validation_tasks": 2})
    calls: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        from quickstudy.estimators import setting

        real = setting.fit
        patch.setattr(setting, "fit", lambda *args, **options: (calls.append(1), real(*args, **options))[1])
        trained.fit(X, y, groups=groups)
    assert calls == [1]


@pytest.mark.parametrize(
    ("seen", "message"),
    [
        ((6,), r"seen=\[6\]; the largest group has 6 rows, so give numbers from 0 to 5"),
        ((-1, 2), "seen=-1"),
        ((1.5,), "seen=1.5"),
        ((2, 2), "each once"),
        ((), "one or more numbers"),
    ],
)
def test_numbers_of_seen_rows_that_cannot_be(table: Any, seen: Any, message: str) -> None:
    X, y, groups = table
    for learner in ("line", ("intercept", "line")):
        with pytest.raises(ValueError, match=message):
            GroupRegressor(learner, seen=seen).fit(X, y, groups=groups)
    with pytest.raises(TypeError, match="seen=3; expected numbers of rows"):
        GroupRegressor("line", seen=3).fit(X, y, groups=groups)
