"""Which learners are tried on a table."""

import pytest
import torch

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
