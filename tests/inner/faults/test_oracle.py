"""The oracle itself, by finite differences."""

import pytest
import torch
from inner.faults.oracle import (
    assert_same,
    every_way,
    found,
    gradient,
    judge,
    made,
    of,
    plain,
)
from torch import nn


def smooth(**more):
    return of(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)), **more)


def test_the_gradient_of_the_oracle_is_the_slope():
    problem, h = smooth(momentum=0.5, decay=0.1), 1e-4
    along = {k: torch.randn_like(p) for k, p in problem.network.named_parameters()}

    def at(step):
        with torch.no_grad():
            for k, p in problem.network.named_parameters():
                p.add_(step * along[k])
        return (plain(problem).losses * torch.arange(1.0, 4.0)).sum()

    expected = sum((g * along[k]).sum() for k, g in plain(problem).grads.items())
    up, down = at(h), at(-2 * h)
    torch.testing.assert_close((up - down) / (2 * h), expected, rtol=1e-6, atol=0)


@every_way
@pytest.mark.parametrize("more", [{}, {"momentum": 0.5, "decay": 0.1}], ids=["plain", "momentum and weight decay"])
def test_every_way_agrees_on_a_simple_network(way, more):
    judge(smooth(**more), way)


def test_the_judgement_sees_what_is_wrong():
    problem = smooth()
    other = problem._replace(rate=problem.rate * (1 + 1e-7))
    with pytest.raises(AssertionError):
        assert_same(found(problem, made(other, "loop")), plain(problem))
    assert set(gradient(problem, torch.stack([p.sum() for p in problem.network.parameters()][:3]))) == {
        k for k, _ in problem.network.named_parameters()
    }
