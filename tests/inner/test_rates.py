"""Rates: what a step moves by, and what of it is learned."""

import pytest
import torch
from inner.grid import batch, loss_and_gradient, mlp
from torch import nn

from quickstudy.gradient.maml import MAML
from quickstudy.inner.optimizers import SGD
from quickstudy.inner.rates import Rates, rate_at


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)


@pytest.mark.parametrize(
    ("lr", "expected"),
    [
        (0.1, [0.1, 0.1, 0.1]),
        (0, [0, 0, 0]),
        ([0.1, 0.2], [0.1, 0.2, 0.2]),
        (torch.tensor([0.1, 0.2]), [0.1, 0.2, 0.2]),
        (torch.tensor(0.3), [0.3, 0.3, 0.3]),
        ({"other": 1.0, "a.*": [0.5, 0.25], "*": 2.0}, [0.5, 0.25, 0.25]),
    ],
)
def test_the_rate_of_a_step(lr, expected):
    assert [float(rate_at(SGD(lr).lr, "a.weight", step)) for step in range(3)] == pytest.approx(expected)


@pytest.mark.parametrize("steps", [None, 2])
@pytest.mark.parametrize(("per", "count"), [("scalar", 1), ("layer", 2), ("parameter", 6 * 6 + 6 + 6 + 1)])
def test_rates_of_their_own(per, count, steps):
    network = mlp()
    rates = Rates(network, 0.1, per=per, steps=steps)
    assert sum(p.numel() for p in rates.parameters()) == count * (steps or 1)
    assert rates.at("2.weight", 9).shape == (network[2].weight.shape if per == "parameter" else ())
    learner = MAML(network, rule=SGD(rates), steps=3)
    learner.meta_loss(batch()).backward()
    assert all(p.grad is not None for p in rates.parameters())
    fixed = Rates(network, 0.1, per=per, steps=steps, learn=False)
    assert not any(p.requires_grad for p in fixed.parameters())
    torch.testing.assert_close(
        MAML(network, rule=SGD(fixed), steps=3).meta_loss(batch()), MAML(network, lr=0.1, steps=3).meta_loss(batch())
    )


def test_a_learned_rate_may_become_negative():
    network, tasks = mlp(), batch()
    rate = nn.Parameter(torch.tensor(-0.1))
    loss = MAML(network, lr=rate, steps=1).meta_loss(tasks)
    assert loss > MAML(network, lr=0.0, steps=1).meta_loss(tasks)  # uphill
    assert torch.autograd.grad(loss, rate)[0] < 0  # and better the less so


@pytest.mark.parametrize("per", ["scalar", "layer", "parameter"])
def test_rates_kept_as_logarithms(per):
    """The same steps; the derivative by the logarithm is the rate times that by the rate."""
    network, tasks = mlp(), batch()
    plain, logs = (Rates(network, 0.1, per=per, steps=2, log=log) for log in (False, True))
    _, [*_, expected] = loss_and_gradient(MAML(network, rule=SGD(plain), steps=3), tasks)
    _, [*_, found] = loss_and_gradient(MAML(network, rule=SGD(logs), steps=3), tasks)
    torch.testing.assert_close(logs.at("0.weight", 1), plain.at("0.weight", 1))
    torch.testing.assert_close(found, 0.1 * expected)
    with torch.no_grad():
        for value in logs.parameters():
            value -= 50.0
    assert (logs.at("0.weight", 0) > 0).all()
    assert Rates(**logs.config()).log


def test_rates_by_pattern_that_miss_a_parameter():
    with pytest.raises(ValueError, match=r"no rate for '2.weight', only for 0.\*"):
        MAML(mlp(), lr={"0.*": 0.1}).meta_loss(batch())
    with pytest.raises(ValueError, match="no rate for 'weight'"):
        MAML(nn.Linear(6, 1), rule=SGD(Rates(mlp(), per="layer"))).meta_loss(batch())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"per": "step"}, "per='step'"),
        ({"steps": 0}, "steps=0"),
        ({"initial": -1.0}, "initial=-1.0"),
        ({"initial": 0.0, "log": True}, "initial=0"),
    ],
)
def test_bad_options(options, says):
    with pytest.raises(ValueError, match=says):
        Rates(mlp(), **options)
