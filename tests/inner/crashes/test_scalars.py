"""Parameters that are single numbers, or have no entries at all, wherever tasks get an axis of their own."""

import pytest
import torch
from inner.crashes.oracle import (
    ENGINES,
    adapt,
    adapted_modules,
    assert_close,
    batch,
    by_points,
    expected,
    heard,
    judge,
    learned,
    meta,
    mlp,
    one,
    same,
    solved,
    with_gradients,
)
from torch import nn

import quickstudy as qs


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)


class Temperature(nn.Module):
    """A network with one number that scales its output."""

    def __init__(self):
        super().__init__()
        self.body, self.log_scale = mlp(), nn.Parameter(torch.tensor(0.2))

    def forward(self, x):
        return self.body(x) * self.log_scale.exp()


class Curve(nn.Module):
    """Numbers only: amplitude and phase of a wave, no layer at all."""

    def __init__(self):
        super().__init__()
        self.amplitude, self.phase = nn.Parameter(torch.tensor(0.8)), nn.Parameter(torch.tensor(0.3))

    def forward(self, x):
        return self.amplitude * torch.sin(x.sum(-1, keepdim=True) + self.phase)


class One(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.5))

    def forward(self, x):
        return torch.tanh(self.weight * x.sum(-1, keepdim=True))


class Branches(nn.Module):
    """A list of numbers beside layers; one of them frozen, one never read."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.first, self.second = nn.Linear(2, 1), nn.Linear(2, 1)
        self.mix = nn.ParameterList([torch.tensor(0.3), torch.tensor(-0.4), torch.tensor(1.0), torch.tensor(2.0)])
        self.mix[2].requires_grad_(False)

    def forward(self, x):
        return self.mix[0] * self.first(x).tanh() + self.mix[1].sigmoid() * self.second(x) + self.mix[2]


class Shapes(nn.Module):
    """[], [1], [1, 1] and no entries at all, side by side."""

    def __init__(self):
        super().__init__()
        self.body = mlp()
        self.none, self.one, self.matrix = (nn.Parameter(torch.full(s, 0.7)) for s in ((), (1,), (1, 1)))
        self.empty = nn.Parameter(torch.zeros(0, 3))

    def forward(self, x):
        return (self.body(x) * self.none + self.one) @ self.matrix + self.empty.sum()


class Activation(nn.Module):
    """PReLU-like slopes learned as numbers, read more than once."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.first, self.last, self.beta = nn.Linear(2, 3), nn.Linear(3, 1), nn.Parameter(torch.tensor(1.3))

    def forward(self, x):
        h = self.first(x)
        return self.last(h * torch.sigmoid(self.beta * h)) / self.beta.square()


NETWORKS = [Temperature, Curve, One, Branches, Shapes, Activation]
SOLVERS = {"cg": qs.Implicit(iterations=12), "neumann": qs.Implicit(solver="neumann", iterations=16, rate=0.05)}
SOLVED = {"lr": 0.05, "steps": 14, "proximal": 17.0}
every_network = pytest.mark.parametrize("kind", NETWORKS, ids=lambda kind: kind.__name__)


def closely(found, wanted):
    """As far as an inner problem is solved."""
    assert len(found) == len(wanted)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("engine", ["loop", "auto", "batched"])
@every_network
def test_implicit_gradients(engine, kind, solver):
    network, tasks = kind(), batch()
    wanted = solved(network, tasks, **SOLVED)
    make = lambda: qs.MAML(network, implicit=SOLVERS[solver], engine=engine, **SOLVED)  # noqa: E731
    same(engine, lambda: meta(make(), tasks), wanted, close=closely)


@every_network
def test_imaml(kind):
    network, tasks = kind(), batch()
    wanted = solved(network, tasks, **SOLVED)
    learner = qs.iMAML(network, lam=17.0, lr=0.05, steps=14, cg_steps=12)
    found, said = heard(lambda: meta(learner, tasks))
    closely(found, wanted)
    assert not said
    modules = adapted_modules(network, tasks.support, **SOLVED)
    means = torch.stack([m(x) for m, x in zip(modules, tasks.query.x, strict=True)])
    torch.testing.assert_close(learner.adapt(tasks.support)(tasks.query.x).mean, means.detach())


OPTIONS = {
    "plain": {},
    "mixed mode": {"mixed_mode": True},
    "checkpoints": {"checkpoint": "every"},
    "proximal": {"proximal": 0.7},
    "chunks": {"chunk": 1},
}


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("engine", ENGINES)
@every_network
def test_every_engine_and_option(engine, kind, option):
    network, tasks = kind(), batch()
    wanted = expected(network, tasks, proximal=OPTIONS[option].get("proximal", 0.0))
    make = lambda: qs.MAML(network, lr=0.1, steps=2, engine=engine, **OPTIONS[option])  # noqa: E731
    same(engine, lambda: meta(make(), tasks), wanted)


# a number that comes in by another way


class Shifted(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = mlp()

    def forward(self, x, shift):
        return self.body(x + shift) * (1 + shift.square())


@pytest.mark.parametrize("solver", [None, *SOLVERS])
@pytest.mark.parametrize("engine", ["loop", "auto", "batched"])
def test_a_number_as_extra_input(engine, solver):
    network, tasks = Shifted(), batch()
    shift = nn.Parameter(torch.tensor(0.3))
    how = {"lr": 0.1, "steps": 2} if solver is None else SOLVED
    options = how if solver is None else {**how, "implicit": SOLVERS[solver]}
    learner = qs.MAML(network, inputs={"shift": shift}, engine=engine, **options)
    params = [*network.parameters(), learner.inputs["shift"]]
    start = dict(learner.inputs.items())
    if solver is None:
        wanted = expected(network, tasks, params, inputs=start, **how)
        same(engine, lambda: meta(learner, tasks, params), wanted)
        return
    unrolled = expected(network, tasks, params, inputs=start, **how)
    same(engine, lambda: meta(learner, tasks, params), unrolled, close=closely)


class Noise(nn.Module):
    """A loss with a number of its own, which is learned and does not adapt."""

    def __init__(self):
        super().__init__()
        self.log_sd = nn.Parameter(torch.tensor(-0.3))

    def forward(self, output, y):
        return ((output - y).square() / (2 * self.log_sd).exp() / 2 + self.log_sd).sum(-1)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("engine", ["loop", "auto", "batched"])
def test_a_number_in_the_loss(engine, solver):
    """The unrolled loop at its end is the oracle here: the loss's own gradient is in it."""
    network, tasks, loss = Temperature(), batch(), Noise()
    params = [*learned(network), loss.log_sd]
    wanted = expected(network, tasks, params, objective=by_points(loss), **SOLVED)
    make = lambda: qs.MAML(network, loss=loss, implicit=SOLVERS[solver], engine=engine, **SOLVED)  # noqa: E731
    same(engine, lambda: meta(make(), tasks, params), wanted, close=closely)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_number_as_outer(solver):
    """A learned penalty, handed on: 0-dimensional itself, of numbers alone."""

    def penalised(model, examples, outer):
        x, y, _ = examples
        return (model(x) - y).square().mean() + outer.exp() * (model(torch.zeros(1, 2)) - 1).square().mean()

    network, tasks, strength = Curve(), batch(), torch.tensor(-1.0, requires_grad=True)
    params = [*learned(network), strength]
    values = []
    for i in range(tasks.num_tasks):
        weights, buffers = adapt(network, one(tasks.support, i), objective=penalised, outer=strength, **SOLVED)
        values.append(judge(network, weights, buffers, set(), penalised, one(tasks.query, i), strength)[0])
    wanted = with_gradients(torch.stack(values).mean(), params)
    loop = qs.inner_loop(network, objective=penalised, implicit=SOLVERS[solver], **SOLVED)
    found = loop(tasks.support, outer=strength).evaluate(penalised, tasks.query).mean()
    closely(with_gradients(found, params), wanted)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("rule", ["momentum", "Adam", "rates"])
def test_rules(engine, rule):
    """What a rule keeps of a number is a number; engines agree with the loop of the same rule."""
    rules = {
        "momentum": lambda network: qs.optimizers.SGD(0.1, momentum=0.9),
        "Adam": lambda network: qs.optimizers.Adam(0.05, eps=1e-2),
        "rates": lambda network: qs.optimizers.SGD(qs.optimizers.Rates(network, 0.1, per="parameter")),
    }
    network, tasks = Shapes(), batch()
    wanted = meta(qs.MAML(network, rule=rules[rule](network), steps=3, engine="loop"), tasks, learned(network))
    make = lambda: qs.MAML(network, rule=rules[rule](network), steps=3, engine=engine)  # noqa: E731
    if engine == "lowrank" and rule != "momentum":
        with pytest.raises(ValueError, match="lowrank"):
            make()
        return
    same(engine, lambda: meta(make(), tasks, learned(network)), wanted)


@every_network
def test_what_was_adapted(kind):
    """Every task's own number: stacked, alone, copied out."""
    network, tasks = kind(), batch()
    adapted, _ = heard(lambda: qs.inner_loop(network, lr=0.1, steps=2)(tasks.support, create_graph=False))
    for i in range(2):
        weights, _ = adapt(network, one(tasks.support, i), graph=False)
        assert_close([adapted.params[k][i] for k in weights], [w.detach() for w in weights.values()])
        module = adapted.module(i)
        assert {k: p.shape for k, p in module.named_parameters()} == {k: w.shape for k, w in weights.items()}
