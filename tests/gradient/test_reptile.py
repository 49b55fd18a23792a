"""Reptile's gradient against training with torch.optim, its loss against MAML's."""

import copy

import pytest
import torch
from inner.grid import assert_close, batch, loss_and_gradient, mlp
from torch import nn

import quickstudy as qs

STEPS = 4


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


def trained(network, make, points, size):
    """The parameters after training on one task with an optimiser of torch, `size` points a step, in order."""
    network = copy.deepcopy(network)
    optimizer = make(network.parameters())
    x, y = points.x[0], points.y[0]
    for step in range(STEPS):
        places = (step * size + torch.arange(size)) % len(x)
        optimizer.zero_grad()
        (network(x[places]) - y[places]).square().sum(-1).mean().backward()
        optimizer.step()
    return list(network.parameters())


@pytest.mark.parametrize("data", ["all", "support"])
@pytest.mark.parametrize("minibatch", [None, 3])
@pytest.mark.parametrize(
    ("rule", "make"),
    [
        (qs.optimizers.SGD(0.1), lambda p: torch.optim.SGD(p, 0.1)),
        (qs.optimizers.Adam(0.01, betas=(0.0, 0.999)), lambda p: torch.optim.Adam(p, 0.01, (0.0, 0.999))),
    ],
    ids=["SGD", "Adam"],
)
def test_the_gradient_points_from_the_mean_of_what_training_makes(rule, make, minibatch, data):
    network, tasks = mlp(), batch()
    points = tasks.support.append(tasks.query) if data == "all" else tasks.support
    each = [trained(network, make, points.select([i]), minibatch or points.num_points) for i in range(3)]
    expected = [p - torch.stack(ends).mean(0) for p, *ends in zip(network.parameters(), *each, strict=True)]
    learner = qs.Reptile(network, rule=rule, steps=STEPS, minibatch=minibatch, data=data)
    assert_close(loss_and_gradient(learner, tasks)[1], expected)


@pytest.mark.parametrize("data", ["all", "support"])
def test_the_loss_is_that_of_query_points_not_seen(data):
    network, tasks = mlp(), batch()
    expected = qs.MAML(network, lr=0.1, steps=STEPS).meta_loss(tasks).item()
    assert qs.Reptile(network, lr=0.1, steps=STEPS, data=data).meta_loss(tasks).item() == pytest.approx(
        expected, rel=1e-12
    )


def test_gradient_descent_on_it_is_the_update_of_the_paper():
    network, tasks = mlp(), batch()
    learner = qs.Reptile(network, lr=0.1, steps=STEPS, data="support")
    adapted = learner.adapt(tasks.support).adapted.params
    expected = [p + 0.3 * (adapted[name].mean(0) - p) for name, p in network.named_parameters()]
    optimizer = torch.optim.SGD(learner.parameters(), lr=0.3)
    learner.meta_loss(tasks).backward()
    optimizer.step()
    assert_close(list(network.parameters()), [p.detach() for p in expected])


def test_one_step_is_joint_training_on_all_points():
    network, tasks = mlp(), batch()
    both = tasks.support.append(tasks.query)
    _, joint = loss_and_gradient(qs.Pretrained(network), qs.Tasks(tasks.support, both))
    _, found = loss_and_gradient(qs.Reptile(network, lr=0.1, steps=1), tasks)
    assert_close(found, [0.1 * g for g in joint])


def test_what_does_not_move_gets_no_gradient():
    network = mlp()
    learner = qs.Reptile(network, lr=0.1, adapt="2.*", likelihood=qs.likelihoods.Gaussian(0.5, learn=True))
    learner.meta_loss(batch()).backward()
    assert network[0].weight.grad is None and network[2].weight.grad.abs().max() > 0
    assert all(p.grad is not None for p in learner.likelihood.parameters())


def test_learned_inputs_move_too():
    network = qs.nets.WithContext(qs.nets.MLP(8, [5], 1), 2)
    start = nn.Parameter(torch.ones(2))
    learner, tasks = qs.Reptile(network, lr=0.1, inputs={"context": start}), batch()
    learner.meta_loss(tasks).backward()
    ends = learner.adapt(tasks.support.append(tasks.query)).adapted.params["context"]
    torch.testing.assert_close(start.grad, start.detach() - ends.mean(0))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"data": "query"}, "data='query'"),
        ({"lr": nn.Parameter(torch.tensor(0.1))}, "no gradient for learned rates"),
        ({"mixed_mode": True}, "leave out mixed_mode"),
        ({"implicit": qs.Implicit(), "proximal": 1.0}, "leave out first_order"),
    ],
)
def test_bad_options(options, says):
    with pytest.raises(ValueError, match=says):
        qs.Reptile(mlp(), **options)
