"""Predictions for the held-out groups of a table, by a learner and its rivals."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from recipes import running

from quickstudy.evaluation.intervals import Metric
from quickstudy.experiments.options import check_options
from quickstudy.recipes.table import held_out
from quickstudy.recipes.table import recipe as table


@pytest.fixture
def options(tmp_path: Path) -> table.Options:
    return table.Options(data=running.plants(tmp_path), task="plant", x=("day",), y=("height",), folds=3, width=8)


def test_every_group_is_held_out_once(options: table.Options) -> None:
    tables = held_out.folds(options)
    tested = [name for each in tables for name in each.groups("test")]
    assert sorted(tested) == [f"p{i}" for i in range(7)]
    for each in tables:
        groups = [set(each.groups(split)) for split in ("train", "validation", "test")]
        assert all(groups) and sum(map(len, groups)) == 7 == len(set.union(*groups))


@pytest.mark.parametrize("folds", [1, 6])
def test_invalid_numbers_of_folds(options: table.Options, folds: int) -> None:
    with pytest.raises(ValueError, match=f"--folds {folds}: 7 groups can be divided into 2 to 5 folds"):
        held_out.folds(replace(options, folds=folds))


def test_more_rows_seen_than_groups_have(options: table.Options) -> None:
    """Four groups have 6 rows and three have 7: a column for 6 rows would mix two protocols, one for 7 has none."""
    with pytest.raises(ValueError, match="--seen 7: the largest group has 7 rows, .* give at most 6"):
        held_out.folds(replace(options, seen=(4, 7)))
    with pytest.warns(RuntimeWarning, match="--seen 6: 4 of 7 groups have no more than 6 rows"):
        held_out.folds(replace(options, seen=(2, 6)))
    held_out.folds(replace(options, seen=(5,)))
    with pytest.raises(ValueError, match="--seen 0: expected at least 1"):
        check_options(replace(options, seen=(0,)))


def test_what_is_left_out_is_said(options: table.Options) -> None:
    assert held_out.left_out(held_out.folds(options)[0]) == ""
    options.data.write_text(f"{options.data.read_text()}p0,9,\np9,1,3\n")  # 45 rows of 7 groups before
    first = held_out.folds(replace(options, missing="drop", short="drop"))[0]
    assert held_out.left_out(first) == (
        "Left out: 1 of 47 rows, which lack a value (--missing drop), and 1 of 8 groups, which have a single row "
        "(--short drop)."
    )


def test_few_validation_groups_are_said(options: table.Options) -> None:
    tables = held_out.folds(options)
    said = held_out.few_for_validation(tables, "best")
    assert said.startswith("Only 1 group of each fold chooses the best weights") and "--which last" in said
    assert held_out.few_for_validation(tables, "last") == ""


class NoRivals:
    """Rivals that have no predictors."""

    def predictors(self, support: object) -> dict[str, object]:
        """Return no predictors."""
        return {}


def test_maml_is_measured_after_the_given_numbers_of_steps(options: table.Options) -> None:
    first = held_out.folds(options)[0]
    torch.manual_seed(0)
    learner = table.build(replace(options, learner="maml"), first)
    default = held_out.HeldOut(first, NoRivals(), learner, "maml", 4).scores()
    by_steps = held_out.HeldOut(first, NoRivals(), learner, "maml", 4, (0, 3)).scores()
    assert set(default) == {"maml/mse/k=4", "maml/log_likelihood/k=4"}
    assert set(by_steps) == {f"{name}/steps={count}" for name in default for count in (0, 3)}
    for name, values in default.items():
        assert torch.equal(by_steps[f"{name}/steps=3"], values)  # as many as in training
        assert not torch.equal(by_steps[f"{name}/steps=0"], values)


def test_errors_are_in_the_units_of_the_file(options: table.Options) -> None:
    """The group-blind error equals that from unscaled rows; values ten times as large have ten times the error."""
    first = held_out.folds(options)[0]
    learner = table.build(options, first)
    groups = held_out.HeldOut(first, held_out.Rivals(first), learner, "np", 4)
    query = groups.tasks.query
    y = first.unscale_y(query.y.double())
    assert y[query.real()].min() > 20  # heights, not standard deviations
    belief = groups.beliefs(query.x)["group_blind", None]
    error = torch.where(query.real(), (belief.mean - y).square().squeeze(-1), 0).sum(1) / query.sizes()
    found = held_out.summary([groups.scores()])
    assert found["group_blind/rmse/k=4"].mean == pytest.approx(float(error.mean().sqrt()), rel=1e-4)

    lines = options.data.read_text().splitlines()
    wide = [lines[0], *(",".join([*line.split(",")[:2], str(10 * float(line.split(",")[2]))]) for line in lines[1:])]
    options.data.write_text("\n".join(wide) + "\n")
    second = held_out.folds(options)[0]
    again = held_out.summary([held_out.HeldOut(second, held_out.Rivals(second), learner, "np", 4).scores()])
    for name, metric in found.items():
        shifted = metric.mean * 10 if "/rmse/" in name else metric.mean - math.log(10)
        assert again[name].mean == pytest.approx(shifted, rel=1e-3), name


def test_which_data_the_rivals_use(options: table.Options) -> None:
    """The group-blind curve ignores the rows seen; both GPs fit them; the shared one has a single length scale."""
    first = held_out.folds(options)[0]
    tasks = first.held_out("test", support=3)
    found = held_out.Rivals(first).predictors(tasks.support)
    means = {name: predictor(tasks.support.x).mean for name, predictor in found.items()}
    same = first.held_out("test", support=3).support.x
    assert torch.equal(same[0], same[1]) and torch.equal(means["group_blind"][0], means["group_blind"][1])
    assert bool((means["gp_shared"] - tasks.support.y).abs().max() < 0.3)  # in standard deviations of the table
    assert found["gp_shared"].info["lengthscale"].unique().numel() == 1
    assert found["gp"].info["lengthscale"].unique().numel() == tasks.num_tasks


def test_root_of_a_mean_has_an_interval_by_the_delta_method() -> None:
    found = held_out.root(Metric(4.0, 0.4, 600, "tasks"))
    assert (found.mean, found.ci95) == (2.0, pytest.approx(0.1))


@pytest.mark.parametrize("learner", ["np", "cnp", "maml"])
def test_two_inputs_and_two_outputs(tmp_path: Path, learner: str) -> None:
    path = tmp_path / "two.csv"
    rows = [f"{g},{i},{i * g % 3},{i + g},{i - g}" for g in range(6) for i in range(5)]
    path.write_text("group,a,b,c,d\n" + "\n".join(rows) + "\n")
    options = table.Options(
        data=path, task="group", x=("a", "b"), y=("c", "d"), folds=2, width=8, learner=learner, seen=(2,)
    )
    first = held_out.folds(options)[0]
    built = table.build(options, first)
    groups = held_out.HeldOut(first, held_out.Rivals(first), built, learner, 2)
    assert {f"{learner}/rmse/k=2", "gp/log_likelihood/k=2"} <= set(held_out.summary([groups.scores()]))
    assert len(groups.pictures("#000000")) == len(first.groups("test"))
