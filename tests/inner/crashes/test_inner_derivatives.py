"""Losses and networks that take derivatives of their own: forces, Hamiltonians, physics, penalties, nested models."""

import copy
import pickle

import pytest
import torch
from inner.crashes.oracle import (
    ENGINES,
    adapted_modules,
    assert_close,
    batch,
    expected,
    heard,
    masked,
    meta,
    mlp,
    same,
    solved,
    squared,
    study,
)
from torch import nn
from torch.autograd.functional import hvp, jacobian, vjp
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vmap

import quickstudy as qs


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)


# objectives: the derivative is taken of the model that is adapted, by its inputs


def slope(u, x):
    return torch.autograd.grad(u, x, torch.ones_like(u), create_graph=True)[0]


def poisson(model, examples, outer):
    """u'' = f with grad_outputs, twice: a physics-informed loss."""
    x = examples.x.detach().clone().requires_grad_()
    u_x = slope(model(x), x)
    laplace = sum(slope(u_x[:, i], x)[:, i] for i in range(2))
    return (laplace - examples.y.squeeze(-1)).square().mean() + squared(model, examples)


def burgers(model, examples, outer):
    """u_t + u u_x = nu u_xx, by the columns of the input, put together again."""
    t, x = (c.detach().clone().requires_grad_() for c in examples.x.unbind(-1))
    u = model(torch.stack([t, x], -1)).squeeze(-1)
    u_t, u_x = torch.autograd.grad(u.sum(), (t, x), create_graph=True)
    u_xx = torch.autograd.grad(u_x.sum(), x, create_graph=True)[0]
    return (u_t + u * u_x - 0.1 * u_xx).square().mean() + squared(model, examples)


def of_a_view(model, examples, outer):
    """Marks a view of the given points."""
    x = examples.x[:]
    x.requires_grad_()
    return slope(model(x), x).square().sum(-1).mean() + squared(model, examples)


def gradient_penalty(model, examples, outer):
    """(|grad| - 1)^2 between two points, as in WGAN-GP."""
    x, y, _ = examples
    between = (0.3 * x + 0.7 * x.flip(0)).detach().requires_grad_(True)
    norm = slope(model(between).tanh(), between).norm(dim=-1)
    return (norm - 1).square().mean() + (model(x) - y).square().mean()


def sobolev(model, examples, outer):
    """Slopes along one direction are part of the data."""
    x = examples.x.detach().requires_grad_()
    u = model(x)
    along = slope(u, x) @ torch.tensor([0.6, 0.8])
    return (u - examples.y).square().mean() + (along - examples.y.squeeze(-1).cos()).square().mean()


def score_matching(model, examples, outer):
    """Hutchinson's trace of the score's Jacobian, in `enable_grad`, as libraries write it."""
    with torch.enable_grad():
        x = examples.x.detach().requires_grad_()
        score = slope(model(x), x)
        v = examples.y.sign() * torch.tensor([[1.0, -1.0]])
        along = torch.autograd.grad((score * v).sum(), x, create_graph=True)[0]
    return (along * v).sum(-1).mean() + 0.5 * score.square().sum(-1).mean()


def inputs_backward(model, examples, outer):
    """`backward` into the points alone."""
    x = examples.x.detach().clone().requires_grad_()
    model(x).sum().backward(inputs=[x], create_graph=True)
    return x.grad.square().mean() + squared(model, examples)


def batched_rows(model, examples, outer):
    """A Jacobian in one call, `is_grads_batched`."""
    x = examples.x.detach().requires_grad_()
    u = model(x).squeeze(-1)
    rows = torch.autograd.grad(u, x, torch.eye(len(u)), create_graph=True, is_grads_batched=True)[0]
    return rows.square().sum() + squared(model, examples)


def functional_grad(model, examples, outer):
    at = lambda point: model(point[None]).sum()  # noqa: E731
    return vmap(grad(at))(examples.x).square().mean() + squared(model, examples)


def laplacian(model, examples, outer):
    at = lambda point: model(point[None]).squeeze()  # noqa: E731
    trace = vmap(lambda point: hessian(at)(point).diagonal().sum())(examples.x)
    return (trace - examples.y.squeeze(-1)).square().mean() + squared(model, examples)


def jacobians(model, examples, outer):
    """Forward and reverse mode in one loss."""
    at = lambda point: model(point[None])[0]  # noqa: E731
    rows, columns = vmap(jacrev(at))(examples.x), vmap(jacfwd(at))(examples.x)
    return (rows * columns).sum(-1).mean() + squared(model, examples)


def directional(model, examples, outer):
    u, along = jvp(model, (examples.x,), (examples.x.flip(-1),))
    return along.square().mean() + (u - examples.y).square().mean()


def hessian_vector(model, examples, outer):
    """Forward over reverse, the product by a vector."""
    energy = lambda x: model(x).square().sum()  # noqa: E731
    return jvp(grad(energy), (examples.x,), (examples.x.cos(),))[1].square().mean() + squared(model, examples)


def pulled(model, examples, outer):
    """torch.autograd.functional, the older way."""
    x = examples.x.detach()
    back = vjp(model, x, examples.y.cos(), create_graph=True)[1]
    curved = hvp(lambda x: model(x).square().sum(), x, x.sin(), create_graph=True)[1]
    whole = jacobian(model, x, create_graph=True)
    return back.square().mean() + curved.square().mean() + whole.square().sum() + squared(model, examples)


def forward_mode(model, examples, outer):
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(examples.x, examples.x.sin())
        u, along = torch.autograd.forward_ad.unpack_dual(model(dual))
    return along.square().mean() + (u - examples.y).square().mean()


def attacked(model, examples, outer):
    """Adversarial points: one step of the model's own loss, through which the outer gradient goes."""
    x = examples.x.detach().requires_grad_()
    worse = torch.autograd.grad((model(x) - examples.y).square().sum(), x, create_graph=True)[0]
    return (model(x + 0.1 * worse) - examples.y).square().mean()


OBJECTIVES = [
    poisson,
    burgers,
    of_a_view,
    gradient_penalty,
    sobolev,
    score_matching,
    inputs_backward,
    batched_rows,
    functional_grad,
    laplacian,
    jacobians,
    directional,
    hessian_vector,
    pulled,
    forward_mode,
    attacked,
]
named = lambda f: f.__name__  # noqa: E731


@pytest.mark.filterwarnings("ignore:Using backward.. with create_graph")
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("objective", OBJECTIVES, ids=named)
def test_objectives(engine, objective):
    network, tasks = mlp(), batch()
    wanted = expected(network, tasks, objective=objective)
    make = lambda: qs.inner_loop(network, objective=objective, lr=0.1, steps=2, engine=engine)  # noqa: E731
    same(engine, lambda: study(make(), tasks, objective), wanted)


@pytest.mark.parametrize(
    ("options", "refusal"),
    [({"checkpoint": "every"}, "checkpoint"), ({"mixed_mode": True}, "mixed_mode"), ({"first_order": True}, None)],
    ids=["checkpoint", "mixed mode", "first order"],
)
@pytest.mark.parametrize("engine", ["loop", "auto", "batched"])
@pytest.mark.parametrize("objective", [burgers, gradient_penalty, functional_grad, attacked], ids=named)
def test_objectives_with_options(engine, objective, options, refusal):
    network, tasks = mlp(), batch()
    how = {"graph": False} if "first_order" in options else {}
    wanted = expected(network, tasks, objective=objective, **how)
    make = lambda: qs.inner_loop(network, objective=objective, lr=0.1, steps=2, engine=engine, **options)  # noqa: E731
    same(engine, lambda: study(make(), tasks, objective), wanted, refusal=refusal, warning=refusal)


def test_options_stay_open_to_plain_objectives():
    """Where nothing but the options stands in the way, the loop's answer is there: no refusal above hides a crash."""
    network, tasks = mlp(), batch()
    for options in ({"checkpoint": "every"}, {"mixed_mode": True}):
        loop = qs.inner_loop(network, objective=squared, lr=0.1, steps=2, **options)
        assert_close(study(loop, tasks), expected(network, tasks))


# networks: the derivative is part of what is predicted


class Force(nn.Module):
    """F = -dE/dx of a learned energy, as interatomic potentials have it."""

    def __init__(self):
        super().__init__()
        self.energy = mlp()

    def forward(self, x):
        with torch.enable_grad():
            x = x.clone().requires_grad_()
            return -torch.autograd.grad(self.energy(x).sum(), x, create_graph=True)[0]


class Hamiltonian(nn.Module):
    """(dq/dt, dp/dt) = (dH/dp, -dH/dq) of Greydanus et al. 2019, by `torch.func`."""

    def __init__(self):
        super().__init__()
        self.energy = mlp()

    def forward(self, x):
        dq, dp = vmap(grad(lambda s: self.energy(s).squeeze()))(x).unbind(-1)
        return torch.stack([dp, -dq], -1)


class Lagrangian(nn.Module):
    """Accelerations solve M a = f - C v, with the Hessian by the velocity (Cranmer et al. 2020)."""

    def __init__(self):
        super().__init__()
        self.body = mlp()

    def forward(self, x):
        def lagrangian(q, v):
            return self.body(torch.cat([q, v])).squeeze() + v.square().sum()

        def acceleration(state):
            q, v = state.split(1)
            mass = hessian(lagrangian, 1)(q, v)
            force = grad(lagrangian, 0)(q, v) - jacrev(grad(lagrangian, 1), 0)(q, v) @ v
            return torch.linalg.solve(mass, force)

        return vmap(acceleration)(x).expand(-1, 2)


class Equilibrium(nn.Module):
    """Predicts the place that a few steps down its own energy lead to: a loop in the loop."""

    def __init__(self):
        super().__init__()
        self.energy = mlp(dx=4)

    def forward(self, x):
        z = torch.zeros_like(x, requires_grad=True)
        for _ in range(2):
            total = self.energy(torch.cat([x, z], -1)).sum() + z.square().sum()
            z = z - 0.2 * torch.autograd.grad(total, z, create_graph=True)[0]
        return z


class LearnsAsItReads(nn.Module):
    """Takes a gradient step on a layer of its own in each pass, as test-time training does."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.layer, self.last = nn.Linear(2, 2), nn.Linear(2, 2)

    def forward(self, x):
        own = (self.layer(x) - x).square().mean()
        step = torch.autograd.grad(own, self.layer.weight, create_graph=True)[0]
        return self.last(torch.tanh(nn.functional.linear(x, self.layer.weight - 0.5 * step, self.layer.bias)))


class Flow(nn.Module):
    """y and the trace of dy/dx, a column at a time, as continuous normalising flows have it."""

    def __init__(self):
        super().__init__()
        self.body = mlp(dy=2)

    def forward(self, x):
        x = x.detach().requires_grad_()
        y = self.body(x)
        trace = sum(torch.autograd.grad(y[:, i].sum(), x, create_graph=True)[0][:, i] for i in range(2))
        return torch.stack([y[:, 0], trace], -1)


class Convex(nn.Module):
    """The gradient of a convex potential, by `jacrev` of the whole batch: an optimal transport map."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(2, 3)
        self.mix = nn.Parameter(torch.randn(3))

    def forward(self, x):
        potential = lambda x: nn.functional.softplus(self.first(x)) @ self.mix.square()  # noqa: E731
        return jacrev(lambda x: potential(x).sum())(x) + 0.1 * x


NEED_GRADIENTS = (Equilibrium, LearnsAsItReads, Flow)  # they predict nothing where gradients are switched off
NETWORKS = [Force, Hamiltonian, Lagrangian, Equilibrium, LearnsAsItReads, Flow, Convex]
every_network = pytest.mark.parametrize("kind", NETWORKS, ids=named)


@pytest.mark.parametrize("engine", ENGINES)
@every_network
def test_networks(engine, kind):
    torch.manual_seed(2)
    network, tasks = kind(), batch(dy=2)
    wanted = expected(network, tasks)
    same(engine, lambda: meta(qs.MAML(network, lr=0.1, steps=2, engine=engine), tasks), wanted)


OPEN = pytest.mark.xfail(strict=True, reason="adapted weights are constants, of which nothing can be differentiated")


@pytest.mark.parametrize(
    "kind", [pytest.param(k, marks=OPEN) if k is LearnsAsItReads else k for k in NETWORKS], ids=named
)
def test_predictions_with_and_without_gradients(kind):
    """`adapt`, the predictor and one task's module, also where the caller has switched gradients off."""
    torch.manual_seed(2)
    network, tasks = kind(), batch(dy=2)
    wanted = torch.stack([m(x) for m, x in zip(adapted_modules(network, tasks.support), tasks.query.x, strict=True)])
    (means, alone, loss), _ = heard(lambda: predictions(qs.MAML(network, lr=0.1, steps=2), tasks))
    assert len(means) == (1 if kind in NEED_GRADIENTS else 2)
    for mean in means:
        torch.testing.assert_close(mean, wanted.detach(), rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(alone.detach(), wanted[1].detach(), rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(loss, (wanted.detach() - tasks.query.y).square().sum(-1).mean())


def predictions(learner, tasks):
    predict = learner.adapt(tasks.support)
    means = [predict(tasks.query.x).mean.detach()]
    if not isinstance(learner.network, NEED_GRADIENTS):
        with torch.no_grad():
            means.append(learner.adapt(tasks.support)(tasks.query.x).mean)
    again = pickle.loads(pickle.dumps(copy.deepcopy(predict.task(1))))
    return means, again(tasks.query.x[1]), learner.meta_loss(tasks).detach()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", [Force, Hamiltonian, Flow], ids=named)
def test_unequal_tasks(engine, kind):
    """Padding is NaN, and a derivative by the inputs must not carry it anywhere."""
    torch.manual_seed(2)
    network, tasks = kind(), batch(num_tasks=3, dy=2)
    tasks = qs.Tasks(masked(tasks.support, [4, 2, 3]), masked(tasks.query, [1, 3, 2]))
    wanted = expected(network, tasks)
    same(engine, lambda: meta(qs.MAML(network, lr=0.1, steps=2, engine=engine), tasks), wanted)


@pytest.mark.parametrize("solver", ["cg", "neumann"])
@pytest.mark.parametrize("kind", [Force, Hamiltonian], ids=named)
def test_implicit_gradients(kind, solver):
    """Whatever the engine, solved problems have the gradient that the Hessian says, or the option says why not."""
    torch.manual_seed(2)
    network, tasks = kind(), batch(dy=2)
    wanted = solved(network, tasks, proximal=17.0, lr=0.05, steps=14)
    how = qs.Implicit(solver=solver, iterations=16, rate=0.05)
    options = {"lr": 0.05, "steps": 14, "proximal": 17.0, "implicit": how}
    close = lambda a, b: torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-8)  # noqa: E731
    same(
        "auto",
        lambda: meta(qs.MAML(network, **options), tasks),
        wanted,
        refusal="implicit",
        warning="implicit",
        close=close,
    )


def test_a_trained_learner_stays_right():
    """One warning, the first time; the numbers follow the weights."""
    network, tasks = Force(), batch(dy=2)
    learner = qs.MAML(network, lr=0.1, steps=2)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for step in range(3):
        wanted = expected(network, tasks)
        found, said = heard(lambda: meta(learner, tasks))
        assert_close(found, wanted)
        assert not (step and said)
        for p, g in zip(network.parameters(), found[1:], strict=True):
            p.grad = g
        optimizer.step()


def test_the_points_stay_as_they_were():
    """No point of the user's is marked as needing a gradient by being shown to the network."""
    network, tasks = Force(), batch(dy=2)
    before = [t.clone() for part in (tasks.support, tasks.query) for t in part[:2]]
    heard(lambda: qs.MAML(network, lr=0.1, steps=2).meta_loss(tasks).backward())
    after = [t for part in (tasks.support, tasks.query) for t in part[:2]]
    assert all(torch.equal(a, b) and not b.requires_grad for a, b in zip(before, after, strict=True))
