"""Predictions for the held-out groups of a table, by a learner and its rivals."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from recipes import running

from quickstudy.data import Examples
from quickstudy.evaluation.intervals import Metric, root
from quickstudy.predictive import Point
from quickstudy.recipes.table import folds, held_out, rivals
from quickstudy.recipes.table import recipe as table
from quickstudy.tasks import Table
from quickstudy.tasks.fitted_gp import thinned


@pytest.fixture
def options(tmp_path: Path) -> table.Options:
    return table.Options(data=running.plants(tmp_path), task="plant", x=("day",), y=("height",), folds=3, width=8)


@pytest.fixture(autouse=True)
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gaussian processes are fitted on a coarse grid alone."""
    monkeypatch.setattr("quickstudy.tasks.fitted_gp._ROUNDS", 1)
    monkeypatch.setattr("quickstudy.tasks.fitted_gp._COARSE", 5)


class NoRivals:
    """Rivals that have no predictors."""

    def predictors(self, support: object) -> dict[str, object]:
        """Return no predictors."""
        return {}


def _first(options: table.Options) -> Table:
    return folds.deal(options, folds.read(options))[0]


def test_maml_is_measured_after_the_given_numbers_of_steps(options: table.Options) -> None:
    first = _first(options)
    torch.manual_seed(0)
    learner = table.build(replace(options, learner="maml"), first)
    default = held_out.HeldOut(first, NoRivals(), learner, name="maml", seen=4).scores()  # type: ignore[arg-type]
    by_steps = held_out.HeldOut(first, NoRivals(), learner, name="maml", seen=4, steps=(0, 3)).scores()  # type: ignore[arg-type]
    assert set(default) == {"maml/mse/k=4", "maml/log_likelihood/k=4"}
    assert set(by_steps) == {f"{name}/steps={count}" for name in default for count in (0, 3)}
    for name, values in default.items():
        assert torch.equal(by_steps[f"{name}/steps=3"], values)  # as many as in training
        assert not torch.equal(by_steps[f"{name}/steps=0"], values)


UNITS = {
    "tenfold": (0.0, 10.0),
    "northing": (4.5e6, 1e-3),
    "1e9": (1e9, 0.1),
    "1e22": (0.0, 1e22),
    "1e-22": (0.0, 1e-22),
}


@pytest.mark.parametrize("unit", UNITS)
def test_errors_are_in_the_units_of_the_file(options: table.Options, unit: str) -> None:
    """In other units, errors of the learner and of all rivals are as many times as large, and curves are there."""
    offset, size = UNITS[unit]
    first = _first(options)
    torch.manual_seed(0)
    learner = table.build(options, first)
    groups = held_out.HeldOut(first, rivals.Rivals(first), learner, name="np", seen=4)
    found = held_out.summary([groups.scores()])
    query = groups.tasks.query
    belief = groups.predictions(query.clean().x)["group_blind", None]
    y = first.unscale_y(query.clean().y)
    error = torch.where(query.real(), (first.unscale_y(belief.mean) - y).square().squeeze(-1), 0).sum(1) / query.sizes()
    assert found["group_blind/rmse/k=4"].mean == pytest.approx(float(error.mean().sqrt()), rel=1e-9)
    assert y[query.real()].min() > 20  # heights, not standard deviations
    assert found["np/rmse/k=4"].over == "groups"

    lines = [line.split(",") for line in options.data.read_text().splitlines()]
    moved = [
        ",".join(lines[0]),
        *(f"{g},{1.7e9 + 60 * float(x)!r},{offset + size * float(y)!r}" for g, x, y in lines[1:]),
    ]
    options.data.write_text("\n".join(moved) + "\n")
    second = _first(options)
    other = held_out.HeldOut(second, rivals.Rivals(second), learner, name="np", seen=4)
    again = held_out.summary([other.scores()])
    for name, metric in found.items():
        shifted = metric.mean * size if "/rmse/" in name else metric.mean - math.log(size)
        assert again[name].mean == pytest.approx(shifted, rel=1e-5, abs=0), name
    for panel, same in zip(groups.pictures("#0").values(), other.pictures("#0").values(), strict=True):
        torch.testing.assert_close((same.mean - offset) / size, panel.mean, rtol=1e-3, atol=0.01)
        torch.testing.assert_close((same.x - 1.7e9) / 60, panel.x, rtol=1e-4, atol=1e-4)


def test_numbers_of_rows_seen_are_judged_on_the_same_rows(options: table.Options) -> None:
    """A rival that sees nothing has the same error whatever number of rows is seen."""
    first = _first(options)
    learner = table.build(options, first)
    plain = rivals.Rivals(first)
    found = {seen: held_out.HeldOut(first, plain, learner, name="np", seen=seen, after=5) for seen in (1, 3, 5)}
    blind = [each.scores()[f"group_blind/mse/k={seen}"] for seen, each in found.items()]
    assert torch.allclose(blind[0], blind[1]) and torch.allclose(blind[0], blind[2])
    assert [each.tasks.support.num_points for each in found.values()] == [1, 3, 5]
    longer = held_out.HeldOut(first, NoRivals(), learner, name="np", seen=2, after=6)  # type: ignore[arg-type]
    sizes = dict(zip(first.names, first.points.points.sizes().tolist(), strict=True))
    assert longer.groups == tuple(name for name in first.groups("test") if sizes[name] > 6)


def test_which_data_the_rivals_use(options: table.Options) -> None:
    """The group-blind curve ignores the rows seen; both GPs fit them; the shared one has a single length scale."""
    first = _first(options)
    tasks = first.held_out("test", support=3)
    found = rivals.Rivals(first).predictors(tasks.support)
    means = {name: predictor(tasks.support.x).mean for name, predictor in found.items()}
    same = first.held_out("test", support=3).support.x
    assert torch.equal(same[0], same[1]) and torch.equal(means["group_blind"][0], means["group_blind"][1])
    assert bool((means["gp_shared"] - tasks.support.y).abs().max() < 0.3)  # in standard deviations of the table
    assert found["gp_shared"].info["lengthscale"].unique().numel() == 1  # type: ignore[attr-defined]
    assert found["gp"].info["lengthscale"].unique().numel() > 1  # type: ignore[attr-defined]


def test_few_rows_of_many_are_a_choice_of_the_real_ones(generator: torch.Generator) -> None:
    x = torch.arange(300.0).view(3, 100, 1)
    mask = torch.arange(100) < torch.tensor([[100], [40], [5]])
    few = thinned(Examples(torch.where(mask[..., None], x, math.nan), x, mask), 30)
    assert few.sizes().tolist() == [30, 30, 5] and few.num_points == 30
    for t in range(3):
        kept = few.x[t, few.real()[t], 0]
        assert torch.equal(kept, few.y[t, few.real()[t], 0]) and bool((kept.diff() > 0).all())
        assert bool((kept >= 100 * t).all()) and bool((kept < 100 * t + int(mask[t].sum())).all())
    whole = Examples(x, x)
    assert thinned(whole, 100) is whole


def test_one_long_group_among_short_ones_costs_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """No covariance of all rows of a group is built, in fitting or in predicting."""
    asked: list[int] = []
    original = rivals.ExactGP.__call__

    def counted(self: object, x: torch.Tensor) -> object:
        asked.append(x.shape[1])
        return original(self, x)  # type: ignore[arg-type]

    monkeypatch.setattr(rivals.ExactGP, "__call__", counted)
    rows = [(f"g{i}", j, math.sin(i + j)) for i in range(8) for j in range(5)]
    rows += [("long", j / 100, math.cos(j / 100)) for j in range(1500)]
    columns = dict(zip("gxy", zip(*rows, strict=True), strict=True))
    splits = {"train": ["g0", "g1", "g2", "g3", "g4"], "validation": ["g5"], "test": ["g6", "g7", "long"]}
    small = Table.from_columns(columns, task="g", x="x", y="y", splits=splits)
    learner = table.build(table.Options(data=Path("x"), task="g", x=("x",), y=("y",), width=8), small)
    found = held_out.HeldOut(small, rivals.Rivals(small), learner, name="np", seen=3)
    assert found.scores()["gp/mse/k=3"].isfinite().all() and max(asked) <= rivals.AT_ONCE
    other = Table.from_columns(columns, task="g", x="x", y="y", splits={"train": ["long", "g0"], "test": ["g1"]})
    seen = other.held_out("train", support=1499).support
    found_there = rivals.Rivals(other).predictors(seen)
    assert found_there["group_blind"](seen.x).mean.shape == seen.y.shape
    for predictor in (found_there["gp"], found_there["gp_shared"]):
        assert predictor.support.num_points <= rivals.MOST_ROWS  # type: ignore[attr-defined]


def test_curves_stay_within_the_rows_of_their_group(tmp_path: Path) -> None:
    rows = [f"{g},{10 * g + i},{i + g}" for g in range(6) for i in range(5)]
    path = tmp_path / "apart.csv"
    path.write_text("g,x,y\n" + "\n".join(rows) + "\n")
    options = table.Options(data=path, task="g", x=("x",), y=("y",), folds=2, width=8, seen=(2,))
    first = _first(options)
    groups = held_out.HeldOut(first, rivals.Rivals(first), table.build(options, first), name="np", seen=2)
    for name, panel in groups.pictures("#000000").items():
        g = int(name.split()[-1])
        assert (float(panel.x[0]), float(panel.x[-1])) == pytest.approx((10 * g, 10 * g + 4))


def test_root_of_a_mean_has_an_interval_by_the_delta_method() -> None:
    found = root(Metric(4.0, 0.4, 600, "tasks"))
    assert (found.mean, found.ci95) == (2.0, pytest.approx(0.1))


@pytest.mark.parametrize("learner", ["np", "cnp", "maml"])
def test_two_inputs_and_two_outputs(tmp_path: Path, learner: str) -> None:
    """Each output has its own error, in its own units, and its own figure."""
    path = tmp_path / "two.csv"
    rows = [f"{g},{i},{i * g % 3},{i + g},{1e6 * (i - g)}" for g in range(6) for i in range(5)]
    path.write_text("group,a,b,c,d/e\n" + "\n".join(rows) + "\n")
    options = table.Options(
        data=path,
        task="group",
        x=("a", "b"),
        y=("c", "d/e"),
        folds=2,
        width=8,
        learner=learner,
        seen=(2,),  # type: ignore[arg-type]
    )
    first = _first(options)
    built = table.build(options, first)
    groups = held_out.HeldOut(first, rivals.Rivals(first), built, name=learner, seen=2)
    found = held_out.summary([groups.scores()])
    assert {f"{learner}/rmse/y=c/k=2", "gp/log_likelihood/y=d∕e/k=2"} <= set(found)
    assert found["group_blind/rmse/y=d∕e/k=2"].mean > 1e4 * found["group_blind/rmse/y=c/k=2"].mean
    for j, scale in enumerate((1, 1e6)):
        panels = groups.pictures("#000000", j)
        assert len(panels) == len(first.groups("test"))
        assert max(float(panel.unseen[1].abs().max()) for panel in panels.values() if panel.unseen) >= scale
    belief = groups.predictions(groups.tasks.query.x, groups.tasks.query.y)["group_blind", None]
    whole = rivals.Rivals(first).predictors(groups.tasks.support)["group_blind"](groups.tasks.query.x)
    assert belief.log_density is not None
    torch.testing.assert_close(belief.log_density.sum(2), whole.log_prob(groups.tasks.query.y))


def test_a_belief_without_marginals_is_refused() -> None:
    with pytest.raises(TypeError, match="a Point about several outputs has no density of each"):
        held_out._of_output(Point(torch.zeros(1, 2, 2)), 0)
