"""Where an inner loop stands at an edge: modes without gradients, nothing that moves, problems half solved, vectors."""

import pytest
import torch
from torch import nn

import quickstudy as qs

ENGINES = ("loop", "batched", "lowrank")


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)


def mlp():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 1))


def batch():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 9, 6, generator=generator)
    y = torch.sin(x.sum(-1, keepdim=True) + torch.randn(3, 1, 1, generator=generator))
    return qs.Tasks(qs.Examples(x[:, :5], y[:, :5]), qs.Examples(x[:, 5:], y[:, 5:]))


class WithContext(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = mlp()

    def forward(self, x, context):
        return self.body(x + context)


class OfAVector(nn.Module):
    """A linear layer that sees one vector in place of points."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.value, self.first, self.last = nn.Parameter(torch.randn(4)), nn.Linear(4, 6), nn.Linear(6, 1)

    def forward(self, x):
        return self.last(torch.tanh(x + self.first(self.value)))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_adapts_where_no_gradient_is_taken(engine, mode):
    learner, tasks = qs.MAML(mlp(), lr=0.1, steps=3, engine=engine), batch()
    expected = learner.meta_loss(tasks).detach()
    belief = learner.adapt(tasks.support)(tasks.query.x).mean
    with mode():
        torch.testing.assert_close(learner.meta_loss(tasks), expected)
        torch.testing.assert_close(learner.adapt(tasks.support)(tasks.query.x).mean, belief)


def slope(learner, tasks, h=1e-4):
    """Of the meta-loss along a random direction, by fourth-order central differences, and by the gradient."""
    params = [p for p in learner.parameters() if p.requires_grad]
    grads = torch.autograd.grad(learner.meta_loss(tasks), params, allow_unused=True)
    along, start = [torch.randn_like(p) for p in params], [p.detach().clone() for p in params]

    def at(step):
        with torch.no_grad():
            for p, s, d in zip(params, start, along, strict=True):
                p.copy_(s + step * d)
        return learner.meta_loss(tasks).item()

    found = sum((g * d).sum().item() for g, d in zip(grads, along, strict=True) if g is not None)
    return (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h), found


@pytest.mark.parametrize(
    "make",
    [
        lambda how: qs.MAML(mlp(), rule=qs.optimizers.SGD(0.1, weight_decay=0.5), **how),
        lambda how: qs.MAML(
            WithContext(), lr=0.1, adapt="body.*", inputs={"context": nn.Parameter(torch.full((6,), 0.3))}, **how
        ),
        lambda how: qs.MAML(mlp(), lr=0.1, **{**how, "steps": 0}),
    ],
    ids=["weight decay", "a context that stays", "no steps"],
)
def test_implicit_gradients_at_the_edges(make):
    learner = make({"steps": 400, "proximal": 3.0, "implicit": qs.Implicit(iterations=40)})
    exact, found = slope(learner, batch())
    assert abs(exact - found) <= 1e-6 * abs(exact)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_layer_may_see_a_vector(engine):
    exact, found = slope(qs.MAML(OfAVector(), lr=0.1, steps=2, engine=engine), batch())
    assert abs(exact - found) <= 1e-6 * abs(exact)


@pytest.mark.parametrize("engine", ENGINES)
def test_nothing_moves_but_something_learns(engine):
    network = mlp()
    network[0].requires_grad_(False)
    learner = qs.MAML(network, lr=0.1, adapt="0.*", engine=engine)
    learner.meta_loss(batch()).backward()
    assert network[2].weight.grad.abs().sum() > 0


def test_what_would_be_wrong_is_refused():
    tasks = batch()
    with pytest.raises(ValueError, match="optimizers.Rates"):
        qs.MAML(mlp(), lr={"*": nn.Parameter(torch.tensor(0.1))})
    with pytest.raises(ValueError, match="complex"):
        qs.MAML(nn.Linear(6, 1, dtype=torch.complex128), mixed_mode=True)
    mixing = qs.inner_loop(nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)), lr=0.1)
    padded = tasks.support._replace(mask=torch.arange(5) < torch.tensor([5, 4, 3])[:, None])
    with pytest.raises(ValueError, match="masked points"):
        mixing(batch=lambda step, adapted: padded, num_tasks=3)
    learner = qs.MAML(mlp(), lr=0.1, steps=4, checkpoint="sqrt")
    params = list(learner.parameters())
    with pytest.raises(NotImplementedError, match="checkpoint="):
        torch.autograd.grad(learner.meta_loss(tasks), params, create_graph=True)
