"""Which learners are tried on a table."""

import pytest
import torch

from quickstudy.data import Examples
from quickstudy.tables import candidates
from quickstudy.tasks.datasets.columns import GroupedRows, read_groups


def rows(low: float, high: float) -> GroupedRows:
    y = torch.linspace(low, high, 12).tolist()
    columns = {"g": list("aaabbbcccddd"), "x": [0.0, 1.0, 2.0] * 4, "y": y}
    return read_groups(columns, "g", ("x",), ("y",))


def test_logarithms_are_tried_where_outcomes_are_positive_and_spread() -> None:
    assert {"log-curve", "log-gp"} <= set(candidates.candidates(rows(1, 10)))
    for low, high in ((-1, 10), (0, 10), (5, 10)):
        assert not {"log-curve", "log-gp"} & set(candidates.candidates(rows(low, high)))


def test_trees_are_left_out_without_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "find_spec", lambda name: None)
    assert "trees" not in candidates.candidates(rows(1, 10)) and not candidates.has_trees()


@pytest.mark.parametrize("name", ["everyone", "intercept", "curve", "gp", "process", "log-curve"])
def test_every_learner_predicts_in_the_units_of_the_table(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The outcomes are 3 exp(slope x), with a slope for each group."""
    monkeypatch.setattr(candidates, "STEPS", 20)
    torch.manual_seed(0)
    x = torch.arange(6.0).repeat(12)
    slope = 0.4 + 0.05 * torch.randn(12).repeat_interleave(6)
    y = 1000 * (slope * x + 0.05 * torch.randn(72)).exp()
    columns = {"g": torch.arange(12).repeat_interleave(6).tolist(), "x": x.tolist(), "y": y.tolist()}
    table = read_groups(columns, "g", ("x",), ("y",))
    learner = candidates.fitted(candidates.candidates(table)[name], table, table.names[:9], seed=0, most=4)
    from quickstudy.tables.judging import held_out, judge

    judged = judge(learner, held_out(table, table.names[9:], (0, 4)))
    spread = float(y.std())
    assert judged.squared.sqrt().max() < (2 if name == "process" else 0.8) * spread
    assert judged.density.isfinite().all() and judged.rows.shape == (3, 2, 2)


def test_treatments_change_the_slope_and_have_no_random_slopes() -> None:
    """Two arms, whose groups have slopes 1 and -1: known before any row, and no more uncertain in either arm."""
    torch.manual_seed(0)
    x, arm = torch.arange(6.0).repeat(20), ["drug", "placebo"] * 10
    slope = torch.tensor([1.0, -1.0]).repeat(10) + 0.1 * torch.randn(20)
    y = 10 + slope.repeat_interleave(6) * x + 0.1 * torch.randn(120)
    names = [f"g{i}" for i in range(20) for _ in range(6)]
    columns = {"g": names, "x": x.tolist(), "arm": [arm[i // 6] for i in range(120)], "y": y.tolist()}
    table = read_groups(columns, "g", ("x", "arm"), ("y",))
    for name in ("everyone", "line", "curve"):
        learner = candidates.fitted(candidates.candidates(table)[name], table, table.names, seed=0, most=4)
        nothing = Examples(torch.zeros(2, 0, 2).double(), torch.zeros(2, 0, 1).double())
        belief = learner.adapt(nothing)(torch.tensor([[[5.0, 0.0]], [[5.0, 1.0]]]).double())
        assert belief.mean.flatten().tolist() == pytest.approx([15, 5], abs=0.4)
        assert belief.variance.sqrt().flatten().tolist() == pytest.approx([0.5, 0.5], abs=0.25)
        inside = learner.learner if name != "everyone" else learner.learner.learner
        assert inside.design.random.features == (1 if name == "everyone" else 2)
