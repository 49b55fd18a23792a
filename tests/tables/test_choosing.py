"""Choosing among learners of a table: held-out groups have no say, and the best of simple worlds wins."""

from typing import Any

import pytest
import torch

from quickstudy.tables import choosing
from quickstudy.tables.choosing import ALL, choose
from quickstudy.tables.judging import folds, held_out, usual_sizes
from quickstudy.tasks.datasets.columns import GroupedRows, read_groups

QUICK = ("everyone", "intercept", "line")


def world(slopes: float, groups: int = 24, rows: int = 7) -> GroupedRows:
    """Groups on lines, which differ in their slopes by `slopes`."""
    chance = torch.Generator().manual_seed(0)
    x = torch.arange(rows).double().repeat(groups)
    own = torch.arange(groups).repeat_interleave(rows)
    intercept, slope = torch.randn(2, groups, generator=chance).double()
    noise = 0.2 * torch.randn(len(x), generator=chance).double()
    y = 100 + intercept[own] + (1 + slopes * slope[own]) * x + noise
    columns = {"g": [f"g{i}" for i in own.tolist()], "x": x.tolist(), "y": y.tolist()}
    return read_groups(columns, "g", ("x",), ("y",))


@pytest.mark.parametrize(("slopes", "best"), [(0.0, "intercept"), (1.0, "line")])
def test_the_right_model_gets_the_weight(slopes: float, best: str) -> None:
    rows = world(slopes)
    choice = choose(rows, only=QUICK)
    assert max(choice.weights, key=lambda name: choice.weights[name]) == best
    score = {name: judged.density.mean() for name, judged in choice.scores.items()}
    assert score[ALL] > score["everyone"] + 0.3 and score[ALL] > score[best] - 0.1
    assert choice.scores[ALL].density.shape == (24, len(choice.seen)) and sorted(choice.names) == sorted(rows.names)
    assert 0.75 < choice.scores[ALL].inside[..., 1].mean() < 0.98


def test_no_fit_and_no_weight_sees_the_groups_that_are_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, seen = world(1.0), []
    original = choosing.fitted

    def spied(candidate: Any, rows: Any, names: Any, **options: Any) -> Any:
        seen.append(set(names))
        return original(candidate, rows, names, **options)

    monkeypatch.setattr(choosing, "fitted", spied)
    choose(rows, only=QUICK)
    outer = [set(train) for train, _ in folds(rows.names, 3, 0)]
    *within, _, _ = seen  # the last are the final fits, of both mixed models to all groups
    assert all(any(names <= train for train in outer) for names in within)


def test_every_number_of_seen_rows_is_judged_on_the_same_rows() -> None:
    rows = world(1.0, groups=6)
    several = held_out(rows, rows.names, (0, 1, 4))
    assert [tasks.support.num_points for tasks in several] == [0, 1, 4]
    for tasks in several[1:]:
        assert torch.equal(tasks.query.x, several[0].query.x) and torch.equal(tasks.query.y, several[0].query.y)
    assert several[0].query.x[0, :, 0].tolist() == [4, 5, 6]
    assert usual_sizes(rows) == (0, 1, 2) and usual_sizes(rows, (3, 4, 7)) == (3,)


def test_choosing_warns_of_no_range(recwarn: pytest.WarningsRecorder) -> None:
    """Groups of unequal size in years: an input of 0 in the padding would be 2,000 years from all others."""
    own = [g for g in range(8) for _ in range(4 + g % 3)]
    year = [2000 + i for g in range(8) for i in range(4 + g % 3)]
    columns = {"g": own, "x": year, "y": [a + 0.1 * b for a, b in zip(own, year, strict=True)]}
    choose(read_groups(columns, "g", ("x",), ("y",)), only=("everyone", "process"), steps=8, outer=2, inner=2)
    assert not recwarn.list


def test_choosing_takes_one_thread_and_gives_the_others_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """With two threads on two busy cores it took thirty times as long."""
    seen, original, before = [], choosing.fitted, torch.get_num_threads()

    def spied(*given: Any, **options: Any) -> Any:
        seen.append(torch.get_num_threads())
        return original(*given, **options)

    monkeypatch.setattr(choosing, "fitted", spied)
    torch.set_num_threads(2)
    try:
        choose(world(1.0, groups=6, rows=3), only=("everyone", "intercept"))
        assert set(seen) == {1} and torch.get_num_threads() == 2
        with pytest.raises(ValueError, match="6 groups|no learner"):
            choose(world(1.0, groups=6, rows=3), only=("nothing",))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_folds_depend_on_names_and_seed_alone() -> None:
    names = [f"g{i}" for i in range(10)]
    found = folds(names, 3, 0)
    assert sorted(name for _, test in found for name in test) == sorted(names)
    assert all(not set(train) & set(test) and len(train) + len(test) == 10 for train, test in found)
    assert found == folds(names, 3, 0) != folds(names, 3, 1)


def test_a_table_needs_enough_groups() -> None:
    rows = world(1.0, groups=5)
    with pytest.raises(ValueError, match="5 groups, .*give at least 6"):
        choose(rows, only=QUICK)
    fewest = choose(world(1.0, groups=6, rows=3), only=("everyone", "intercept", "curve"))
    assert fewest.scores[ALL].density.isfinite().all()


def test_huge_groups_are_thinned() -> None:
    rows = world(1.0, groups=6)
    steps = torch.linspace(0, 6, 5000).double()
    huge = torch.stack([steps, 100 + steps + 0.2 * torch.randn(5000).double()], 1)
    rows = rows._replace(rows=(huge, *rows.rows[1:]))
    tasks = held_out(rows, rows.names[:2], (0, 4))
    assert tasks[0].query.sizes().tolist() == [200, 3]
    assert tasks[1].query.x[0, 0, 0] == steps[4] and tasks[1].query.x[0, -1, 0] == steps[-1]
    choice = choose(rows, only=("line", "trees"))
    assert choice.scores["trees"].density.isfinite().all()
