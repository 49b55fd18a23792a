"""Widths that held-out groups ask for, and values that depend on how many rows are seen."""

from pathlib import Path
from typing import Any

import pytest
import torch

import quickstudy as qs
from quickstudy.data import Examples
from quickstudy.tables.by_number import at_number
from quickstudy.tables.calibrated import Calibrated, factors
from quickstudy.tables.judging import held_out, judge
from quickstudy.tasks.datasets.columns import GroupedRows, read_groups


def world(noise: float, groups: int = 300) -> GroupedRows:
    """Groups that scatter around 1."""
    chance = torch.Generator().manual_seed(0)
    y = 1 + noise * torch.randn(groups * 6, generator=chance)
    own = torch.arange(groups).repeat_interleave(6)
    columns = {"g": own.tolist(), "x": list(range(6)) * groups, "y": y.tolist()}
    return read_groups(columns, "g", ("x",), ("y",))


@pytest.mark.parametrize("noise", [0.1, 0.2, 0.6])
def test_the_factor_is_the_ratio_of_the_true_spread_to_the_believed_one(noise: float) -> None:
    rows = world(noise)
    believed = qs.MixedModel(random=0, noise=0.2).double()  # its prior has variance 1 between groups
    with torch.no_grad():
        believed.log_scale.fill_(-20.0)
        believed.effects[0, 0] = 1.0
    judged = judge(believed, held_out(rows, rows.names, (0, 2)))
    found = factors(judged)
    assert len(found) == 2 and found[0] == pytest.approx([noise / 0.2], rel=0.05)
    wide = judge(Calibrated(believed, (0, 2), found), held_out(rows, rows.names, (0, 2)))
    assert wide.inside[..., 1].mean() == pytest.approx(0.9, abs=0.02)
    assert wide.density.mean() >= judged.density.mean() - 1e-3


def test_few_groups_change_little() -> None:
    rows = world(0.6, groups=3)
    wild = qs.MixedModel(random=0, noise=0.02).double()
    few = factors(judge(wild, held_out(rows, rows.names, (0,))))[0][0]
    rows = world(0.6, groups=60)
    many = factors(judge(wild, held_out(rows, rows.names, (0,))))[0][0]
    assert 1 < few < many


def test_values_are_interpolated_between_numbers_and_constant_beyond() -> None:
    values, numbers = torch.tensor([[1.0], [3.0], [2.0]]), torch.tensor([0, 1, 2, 3, 5, 100])
    found = at_number(values, (1, 3, 5), numbers)
    assert found[[0, 1, 3, 4, 5], 0].tolist() == pytest.approx([1, 1, 3, 2, 2])
    between = (torch.tensor(3.0).log() - torch.tensor(2.0).log()) / (torch.tensor(4.0).log() - torch.tensor(2.0).log())
    assert float(found[2, 0]) == pytest.approx(1 + 2 * float(between))
    assert at_number(values[:1], (4,), numbers)[:, 0].tolist() == [1.0] * 6


def test_what_a_calibrated_learner_predicts(tmp_path: Path) -> None:
    chance = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 5, 1, generator=chance), torch.randn(2, 5, 1, generator=chance)
    inside: Any = qs.MixedModel()
    learner = Calibrated(inside, (0, 5), [[1.0], [2.0]])
    support = Examples(x, y)
    plain, belief = inside.adapt(support)(x), learner.adapt(support)(x)
    torch.testing.assert_close(belief.variance, 4 * plain.variance)
    torch.testing.assert_close(belief.mean, plain.mean)
    grown = learner.adapt(support.first(2)).append(Examples(x[:, 2:], y[:, 2:]))(x)
    torch.testing.assert_close(grown.variance, belief.variance)
    torch.testing.assert_close(learner.adapt(support, steps=0)(x).variance, inside.adapt(support, steps=0)(x).variance)
    functions = learner.adapt(support).functions(4000, torch.Generator().manual_seed(1))(x)
    narrow = inside.adapt(support).functions(4000, torch.Generator().manual_seed(1))(x)
    torch.testing.assert_close(functions.std(0), 2 * narrow.std(0), atol=1e-3, rtol=1e-2)
    qs.save(learner, tmp_path / "c")
    torch.testing.assert_close(qs.load(tmp_path / "c").adapt(support)(x).variance, belief.variance)
