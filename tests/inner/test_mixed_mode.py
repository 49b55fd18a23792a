"""A second outer derivative, and tensors that a gradient would miss."""

import warnings

import pytest
import torch
from inner.grid import batch, mlp
from torch import nn

import quickstudy as qs
from quickstudy.gradient.maml import MAML
from quickstudy.inner.optimizers import SGD
from quickstudy.inner.rates import Rates

NETWORKS = {  # not those whose third derivative torch has wrong: LayerNorm, BatchNorm, InstanceNorm
    "MLP": mlp,
    "GroupNorm": lambda: mlp(nn.GroupNorm(2, 6, eps=0.1)),
    "convolution": lambda: nn.Sequential(
        nn.Unflatten(1, (2, 3)), nn.Conv1d(2, 4, 2), nn.Tanh(), nn.Flatten(), nn.Linear(8, 1)
    ),
}


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)


def gradient(learner, tasks, *, create_graph=False):
    return torch.autograd.grad(learner.meta_loss(tasks), list(learner.parameters()), create_graph=create_graph)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(
    ("engine", "options", "says"),
    [
        ("loop", {}, None),
        ("batched", {}, None),
        ("lowrank", {}, None),
        ("loop", {"mixed_mode": True}, "reverse mode"),
        ("batched", {"mixed_mode": True}, "reverse mode"),
        ("lowrank", {"chunk": 2}, "second derivative"),
    ],
)
def test_a_second_outer_derivative(name, engine, options, says):
    """The Hessian of the meta-loss along a direction is the slope of its gradient; what cannot serve it says so."""
    torch.manual_seed(1)
    network, tasks = NETWORKS[name](), batch()
    rule = SGD(Rates(network, 0.1, per="layer"), momentum=0.5)
    learner = MAML(network, rule=rule, steps=3, engine=engine, **options)
    params = list(learner.parameters())
    along, start = [torch.randn_like(p) for p in params], [p.detach().clone() for p in params]
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        grads = gradient(learner, tasks, create_graph=True)
    found = torch.autograd.grad(sum((g * d).sum() for g, d in zip(grads, along, strict=True)), params)
    assert [w for w in said if says is not None and says in str(w.message)] or says is None

    def at(step):
        with torch.no_grad():
            for p, s, d in zip(params, start, along, strict=True):
                p.copy_(s + step * d)
        return torch.cat([g.flatten() for g in gradient(learner, tasks)])

    h = 2e-5
    slope = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h)
    assert (torch.cat([g.flatten() for g in found]) - slope).norm() <= 1e-6 * slope.norm()


@pytest.mark.parametrize(
    "options",
    [
        {"mixed_mode": True},
        {"checkpoint": "every"},
        {"checkpoint": "sqrt", "mixed_mode": True},
    ],
)
def test_tensors_that_the_loss_closes_over_are_found_out(options):
    scale = torch.ones((), requires_grad=True)

    def loss(output, y):
        return scale * (output - y).square().sum(-1)

    tasks = batch()
    with pytest.raises(ValueError, match="pass them as outer="):
        MAML(mlp(), loss=loss, lr=0.1, steps=3, **options).meta_loss(tasks)
    plain = MAML(mlp(), loss=loss, lr=0.1, steps=3).meta_loss(tasks)
    assert torch.autograd.grad(plain, scale)[0] != 0  # plain unrolling sees them


def test_data_with_a_graph_and_checkpoints():
    shift = torch.zeros((), requires_grad=True)
    x, y, _ = batch().support
    loop = qs.inner_loop(mlp(), lr=0.1, steps=3, checkpoint="sqrt")
    with pytest.raises(ValueError, match="outer="):
        loop(batch=lambda step, adapted: qs.Examples(x + shift, y), num_tasks=3)


@pytest.mark.parametrize("engine", ["loop", "batched", "lowrank"])
def test_a_gradient_to_the_support_points(engine):
    """Data poisoning and distillation need it."""
    network, tasks = mlp(), batch()
    points = tasks.support.x.clone().requires_grad_()

    def loss(points):
        learner = MAML(network, lr=0.1, steps=3, engine=engine)
        return learner.meta_loss(qs.Tasks(qs.Examples(points, tasks.support.y), tasks.query))

    found = torch.autograd.grad(loss(points), points)[0]
    direction, h = torch.randn_like(points), 1e-4
    at = [loss(points.detach() + step * h * direction).item() for step in (1, -1, 2, -2)]
    slope = (8 * (at[0] - at[1]) - (at[2] - at[3])) / (12 * h)
    assert (found * direction).sum().item() == pytest.approx(slope, rel=1e-6)
