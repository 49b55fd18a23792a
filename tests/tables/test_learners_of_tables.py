"""Learners in the units of a table, on residuals, and mixed with weights."""

from pathlib import Path
from typing import Any

import pytest
import torch

import quickstudy as qs
from quickstudy.data import Examples, Tasks
from quickstudy.tables.in_units import InUnits
from quickstudy.tables.on_residuals import OnResiduals
from quickstudy.tables.stack import Stack
from quickstudy.tasks.datasets.scaling import Scaling


def lines(groups: int = 30, seed: int = 0) -> Tasks:
    """Groups on lines of their own."""
    chance = torch.Generator().manual_seed(seed)
    x = torch.randn(groups, 9, 1, generator=chance)
    slope = 2 + 0.5 * torch.randn(groups, 1, 1, generator=chance)
    y = 1 + slope * x + 0.3 * torch.randn(groups, 9, 1, generator=chance)
    return Tasks(Examples(x[:, :4], y[:, :4]), Examples(x[:, 4:], y[:, 4:]))


@pytest.fixture(scope="module")
def model() -> Any:
    learner = qs.MixedModel()
    learner.fit(lines())
    return learner


def test_units_change_nothing_but_the_numbers(model: Any, tmp_path: Path) -> None:
    """A northing of 4.5e6 that varies by 0.2, against time in seconds since 1970."""
    tasks, scaling = (
        lines(5, seed=1),
        Scaling(("t",), ("y",), torch.tensor([1.7e9, 4.5e6]).double(), torch.tensor([3600, 0.2]).double()),
    )
    learner = InUnits(model, scaling.to_json())

    def in_table(points: Examples) -> Examples:
        return Examples(1.7e9 + 3600 * points.x.double(), 4.5e6 + 0.2 * points.y.double())

    support, query = in_table(tasks.support), in_table(tasks.query)
    belief, plain = learner.adapt(support)(query.x), model.adapt(tasks.support)(tasks.query.x)
    assert belief.mean.dtype == torch.float64
    torch.testing.assert_close((belief.mean - 4.5e6) / 0.2, plain.mean.double(), atol=1e-4, rtol=1e-4)
    density = plain.log_prob(tasks.query.y) - torch.tensor(0.2).log()
    torch.testing.assert_close(belief.log_prob(query.y), density.double(), atol=1e-3, rtol=1e-3)
    qs.save(learner, tmp_path / "m")
    again = qs.load(tmp_path / "m").adapt(support)(query.x)
    torch.testing.assert_close(again.mean, belief.mean, atol=1e-9, rtol=0)


def test_a_learner_of_logarithms_predicts_positive_outcomes() -> None:
    tasks = lines()
    positive = Tasks(*(part._replace(y=part.y.exp()) for part in tasks[:2]))
    scaling = Scaling(("x",), ("y",), torch.zeros(2).double(), torch.ones(2).double()).to_json()
    inside = qs.MixedModel()
    inside.fit(tasks)
    learner = InUnits(inside, scaling, log=True)
    belief, logs = (
        learner.adapt(positive.support)(positive.query.x.double()),
        inside.adapt(tasks.support)(tasks.query.x),
    )
    torch.testing.assert_close(belief.quantile(0.5).log().float(), logs.mean, atol=1e-4, rtol=1e-4)
    jacobian = positive.query.y.log().squeeze(-1)
    torch.testing.assert_close(
        belief.log_prob(positive.query.y.double()).float(),
        logs.log_prob(tasks.query.y) - jacobian,
        atol=1e-3,
        rtol=1e-3,
    )
    with pytest.raises(ValueError, match="outcomes above 0"):
        learner.adapt(Examples(torch.zeros(1, 1, 1).double(), torch.zeros(1, 1, 1).double()))


def test_a_process_on_residuals_starts_from_the_curve(model: Any, tmp_path: Path) -> None:
    tasks = lines(5, seed=2)
    learner = OnResiduals(qs.CNP(width=16), model)
    curve = model.adapt(tasks.support.first(0))(tasks.query.x).mean
    torch.testing.assert_close(learner.mean(tasks.query.x), curve)
    inside = learner.process.adapt(learner.residuals(tasks.support))(tasks.query.x)
    belief = learner.adapt(tasks.support)(tasks.query.x)
    torch.testing.assert_close(belief.mean, curve + inside.mean)
    torch.testing.assert_close(
        -belief.log_prob(tasks.query.y).mean(), learner.meta_loss(tasks).detach(), atol=1e-5, rtol=1e-4
    )
    learner.meta_loss(tasks).backward()
    assert all(p.grad is None for p in learner.curve.parameters())
    assert all(p.grad is not None for p in learner.process.parameters())
    later = learner.adapt(tasks.support.first(2)).append(Examples(tasks.support.x[:, 2:], tasks.support.y[:, 2:]))
    torch.testing.assert_close(later(tasks.query.x).mean, belief.mean)
    qs.save(learner, tmp_path / "r")
    torch.testing.assert_close(qs.load(tmp_path / "r").adapt(tasks.support)(tasks.query.x).mean, belief.mean)


def test_a_stack_mixes_densities(model: Any, tmp_path: Path) -> None:
    tasks, other = lines(5, seed=3), qs.CNP(width=8)
    stack = Stack({"mixed": model, "cnp": other}, (0, 4), [[0.0, 1.0], [0.75, 0.25]])
    belief = stack.adapt(tasks.support)(tasks.query.x)
    parts = [member.adapt(tasks.support)(tasks.query.x) for member in (model, other)]
    for joint in (False, True):
        each = [part.log_prob(tasks.query.y, joint=joint).exp() for part in parts]
        torch.testing.assert_close(
            belief.log_prob(tasks.query.y, joint=joint).exp(), 0.75 * each[0] + 0.25 * each[1], atol=1e-6, rtol=1e-4
        )
    torch.testing.assert_close(belief.mean, 0.75 * parts[0].mean + 0.25 * parts[1].mean)
    qs.save(stack, tmp_path / "s")
    torch.testing.assert_close(qs.load(tmp_path / "s").adapt(tasks.support)(tasks.query.x).mean, belief.mean)
    prior = stack.adapt(tasks.support, steps=0)(tasks.query.x)
    torch.testing.assert_close(prior.mean, other.adapt(tasks.support, steps=0)(tasks.query.x).mean)
    half = stack.adapt(tasks.support.first(0)).append(tasks.support)(tasks.query.x)
    torch.testing.assert_close(half.mean, belief.mean)
    with pytest.raises(ValueError, match="add up to 1"):
        Stack({"a": model}, (0,), [[0.5]])
    with pytest.raises(ValueError, match="increasing numbers, and one row for each"):
        Stack({"a": model}, (1, 0), [[1.0], [1.0]])
