"""Curves for few values of the input: as many knots as there are values, and a line where there are too few rows."""

import pytest
import torch

from quickstudy.data import Examples
from quickstudy.metric.mixed.mixed_model import MixedModel
from quickstudy.tables.kinds.features import features_of


def groups(times: int, count: int = 30) -> Examples:
    """Groups that bend, at `times` values of the input."""
    x = torch.linspace(0, 1, times).double().repeat(count, 1).unsqueeze(2)
    own = torch.randn(count, 1, 1, generator=torch.Generator().manual_seed(0)).double()
    return Examples(x, 10 * torch.sin(3 * x) + 0.3 * own + 0.01 * torch.cos(50 * x + own))


@pytest.mark.parametrize("times", [3, 4, 5, 6, 12])
def test_a_curve_bends_where_groups_have_few_visits(times: int) -> None:
    data = groups(times)
    fixed, random = features_of(data, 4, 1)
    assert fixed.knots == min(4, times)
    model = MixedModel(fixed=fixed, random=random)
    model.fit(data)
    data = data.to(dtype=torch.float32)
    mean = model.adapt(data.first(0))(data.x).mean[0, :, 0]
    assert (mean - data.y.mean(0)[:, 0]).abs().max() < 0.3  # a line is off by 4 or more


def test_two_values_and_few_rows_have_a_line() -> None:
    assert features_of(groups(2), 4, 1).fixed == 1
    assert features_of(groups(4, count=3), 4, 1).fixed == 1
    assert features_of(groups(12), 1, 1).fixed == 1
