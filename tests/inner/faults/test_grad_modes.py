"""Parts without a gradient are constants in every way to differentiate, mixed mode included."""

import re

import pytest
import torch
from inner.faults.oracle import (
    allowed_to_refuse,
    every_way,
    found,
    judge,
    made,
    of,
    of_task,
    points,
    squared,
    with_weights,
)
from torch import nn
from torch.nn import functional as F

import quickstudy as qs


def mlp(outputs=2):
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, outputs))


# in the objective


def semi_gradient(model, data, outer):
    """The target of temporal differences: the example of the issue."""
    x, y = data
    with torch.no_grad():
        target = y + 0.9 * model(x.roll(1, 0))
    return (model(x) - target).square().sum(-1).mean()


def semi_gradient_by_function(model, data, outer):
    x, y = data

    @torch.no_grad()
    def target():
        return y + 0.9 * model(x.roll(1, 0))

    return (model(x) - target()).square().sum(-1).mean()


def set_grad_disabled(model, data, outer):
    x, y = data
    before = torch.is_grad_enabled()
    torch.set_grad_enabled(False)
    target = y + model(x.flip(0)).tanh()
    torch.set_grad_enabled(before)
    return (model(x) - target).square().sum(-1).mean()


def inference(model, data, outer):
    x, y = data
    with torch.inference_mode():
        weight = model(x).square().sum(-1)
    return (weight.clone() * (model(x) - y).square().sum(-1)).mean()


def grad_within_no_grad(model, data, outer):
    """Switched off, on again inside, and off once more."""
    x, y = data
    with torch.no_grad():
        off = model(x)
        with torch.enable_grad():
            on = model(x)
        off = off + on
    return ((on - y).square() + off * on).sum(-1).mean()


def double_q(model, data, outer):
    """The best action by one pass, its value by another."""
    x, y = data
    with torch.no_grad():
        best = model(x).argmax(-1)
        value = model(x.roll(1, 0)).gather(1, best[:, None])[:, 0]
    return (model(x)[:, 0] - y[:, 0] - 0.9 * value).square().mean()


def focal(model, data, outer):
    """Points that fit badly weigh more."""
    x, y = data
    losses = (model(x) - y).square().sum(-1)
    with torch.no_grad():
        weights = (losses / losses.mean()).clamp(0.2, 2.0)
    return (weights * losses).mean()


def advantages(model, data, outer):
    x, y = data
    out = model(x)
    with torch.no_grad():
        advantage = y[:, 0] - out[:, 1]
        advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-3)
    return -(advantage * F.logsigmoid(out[:, 0])).mean() + (out[:, 1] - y[:, 0]).square().mean()


def siamese(model, data, outer):
    x, y = data
    a, b = model(x), model(x + 0.1 * y[:, :1])
    return -F.cosine_similarity(a, b.detach()).mean() - F.cosine_similarity(b, a.detach()).mean()


def by_data(model, data, outer):
    x, y = data
    out = model(x)
    return (out * out.data.softmax(-1) - y).square().sum(-1).mean()


def by_number(model, data, outer):
    """Divided by its own value, as a Python number."""
    losses = squared(model, data)
    return losses / float(losses.detach())


def by_numpy(model, data, outer):
    x, y = data
    out = model(x)
    return (out * torch.from_numpy(out.detach().numpy() ** 2) - y).square().sum(-1).mean()


def by_list(model, data, outer):
    x, y = data
    out = model(x)
    return (out * torch.tensor(out.tolist(), dtype=out.dtype) - y).square().sum(-1).mean()


def penalty_at_fixed_weights(model, data, outer):
    """One output is frozen by no_grad and multiplied with another."""
    x, _ = data
    with torch.no_grad():
        slope = model(x + 1e-3) - model(x)
    return squared(model, data) + (slope * model(x)).sum()


OBJECTIVES = (
    semi_gradient,
    semi_gradient_by_function,
    set_grad_disabled,
    inference,
    grad_within_no_grad,
    double_q,
    focal,
    advantages,
    siamese,
    by_data,
    by_number,
    by_numpy,
    by_list,
    penalty_at_fixed_weights,
)


@every_way
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_objectives(objective, way):
    torch.manual_seed(0)
    judge(of(mlp(), objective=objective), way)


@every_way
def test_pseudo_labels(way):
    def objective(model, data, outer):
        x, _ = data
        with torch.no_grad():
            probabilities = model(x).softmax(-1)
            sure, labels = probabilities.max(-1)
        return (F.cross_entropy(model(x + 0.1), labels, reduction="none") * (sure > 0.4)).mean() + squared(model, data)

    judge(of(mlp(), objective=objective), way)


# in the network


class Through(nn.Module):
    """`during` stands between two layers."""

    def __init__(self, during):
        super().__init__()
        self.first, self.last, self.during = nn.Linear(3, 4), nn.Linear(4, 2), during
        self.codes = nn.Parameter(torch.linspace(-1, 1, 5))

    def forward(self, x):
        return self.last(self.during(self, self.first(x)))


def straight_through(network, h):
    with torch.no_grad():
        rest = h.sign() - h
    return h + rest


def straight_through_of_a_softer_one(network, h):
    soft = torch.tanh(2 * h)
    with torch.no_grad():
        rest = (h > 0).to(h) - soft
    return soft + rest


def nearest_code(network, h):
    """Vector quantisation: codes move towards features, features see the gradient of the codes."""
    nearest = (h.detach().unsqueeze(-1) - network.codes).abs().argmin(-1)
    code = network.codes[nearest]
    return h + (code - h).detach() + 0.2 * (code - h.detach())


def own_normalisation(network, h):
    """Statistics count as constants."""
    with torch.no_grad():
        mean, sd = h.mean(0), h.std(0) + 0.1
    return (h - mean) / sd


def hard_sample(network, h):
    soft = h.softmax(-1)
    hard = F.one_hot(soft.argmax(-1), 4).to(h)
    return hard - soft.detach() + soft


def gate_by_own_size(network, h):
    with torch.no_grad():
        gate = torch.sigmoid(network.last.weight.sum() + h)
    return gate * h


def frozen_weight(network, h):
    """A weight that is read without a gradient, and with one elsewhere."""
    return torch.tanh(h) + F.linear(h, network.last.weight.detach() ** 2)[:, :1]


def running_average(network, h):
    """Of two passes, the first without a gradient."""
    with torch.set_grad_enabled(False):
        before = network.first(h[:, :3])
    return torch.tanh(h + 0.5 * before)


class StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.sign()

    @staticmethod
    def backward(ctx, g):
        return g


class StraightThroughWithJvp(torch.autograd.Function):
    """With a forward derivative as well, which torch takes on trust."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x):
        return x.sign()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * (x.abs() < 1)

    @staticmethod
    def jvp(ctx, t):
        return t


def by_function(network, h):
    return StraightThrough.apply(h)


def by_function_with_jvp(network, h):
    return StraightThroughWithJvp.apply(h)


DURING = (
    straight_through,
    straight_through_of_a_softer_one,
    nearest_code,
    own_normalisation,
    hard_sample,
    gate_by_own_size,
    frozen_weight,
    running_average,
    by_function,
    by_function_with_jvp,
)


@every_way
@pytest.mark.parametrize("during", DURING)
def test_networks(during, way):
    torch.manual_seed(0)
    judge(of(Through(during)), way)


# hooks that change a gradient


def hooked(network, h):
    out = 1.0 * h
    if out.requires_grad:
        out.register_hook(lambda g: 0.3 * g)
    return torch.tanh(out)


def clipped(network, h):
    out = torch.tanh(h)
    if out.requires_grad:
        out.register_hook(lambda g: g.clamp(-0.05, 0.05))
    return out


def bent(network, h):
    """The gradient goes through a curve."""
    out = torch.tanh(h)
    if out.requires_grad:
        out.register_hook(lambda g: torch.sinh(g) + g**3)
    return out


def saved_twice_as_large(network, h):
    """What is kept for the way back is not what was seen on the way there."""
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: 2 * t):
        return torch.tanh(h)


@every_way
@pytest.mark.parametrize("during", [hooked, clipped, bent, saved_twice_as_large])
def test_hooks(during, way):
    torch.manual_seed(0)
    judge(of(Through(during)), way)


# what begins late


@every_way
@pytest.mark.parametrize("objective", [semi_gradient, focal, advantages])
def test_what_begins_in_a_later_step(objective, way):
    """The first step, on which a way is chosen, is as plain as can be."""
    now = {"step": 0}

    def data(step):
        now["step"] = step
        return points(seed=step)

    def late(model, data, outer):
        return objective(model, data, outer) if now["step"] >= 2 else squared(model, data)

    judge(of(mlp(), data, objective=late), way)


@every_way
@pytest.mark.parametrize("during", [straight_through, own_normalisation, hooked, nearest_code])
def test_what_begins_in_a_later_call(during, way):
    network = Through(lambda network, h: torch.tanh(h))
    problem = of(network)
    loop = made(problem, way)
    for call in range(6):
        if call == 4:
            network.during = during
        judge(problem, way, loop)


@every_way
@pytest.mark.parametrize("objective", [semi_gradient, siamese])
def test_with_tensors_from_outside(objective, way):
    """What the objective is given besides gets its gradient, and none through what is constant."""

    def weighted(model, data, outer):
        return objective(model, data, None) * outer.exp() + (outer * model(data[0]).detach()).sum()

    judge(of(mlp(), objective=weighted, outer=torch.tensor(0.3, requires_grad=True)), way)


# the implicit gradient, whose linear system is that of the gradient as plain PyTorch differentiates it


def by_hook(model, data, outer):
    x, y = data
    out = 1.0 * model(x)
    if out.requires_grad:
        out.register_hook(lambda g: g + 0.5 * g.roll(1, -1) + 0.1 * torch.tanh(g) ** 2)
    return (out - y).square().sum(-1).mean()


@pytest.mark.parametrize("engine", ["loop", "auto", "batched"])
@pytest.mark.parametrize("objective", [squared, semi_gradient, focal, siamese, by_data, by_hook])
def test_implicit_gradients(objective, engine):
    torch.manual_seed(0)
    problem, proximal = of(mlp(), points(2), points(2, seed=1), objective=objective, steps=5, tasks=2), 5.0
    options = {"proximal": proximal, "implicit": qs.Implicit(iterations=100)}
    with allowed_to_refuse("implicit", re.compile("implicit|engine=")) as refused:
        answer = found(problem, made(problem, "auto", engine=engine, **options))
    if not refused:
        for name, value in implicit(problem, proximal).items():
            torch.testing.assert_close(answer.grads[name], value, rtol=1e-8, atol=1e-9)


def implicit(problem, proximal):
    """lambda (J + lambda)^-T dV/dw, with J the derivative of the inner gradient, entry by entry."""
    own = dict(problem.network.named_parameters())
    total = {k: torch.zeros_like(p) for k, p in own.items()}
    for task in range(problem.tasks):
        data, query = of_task(problem.data(0), task), of_task(problem.query, task)
        weights = {k: p.detach().clone().requires_grad_() for k, p in own.items()}
        for _ in range(problem.steps):
            loss = problem.objective(with_weights(problem.network, own, weights), data, None)
            grads = torch.autograd.grad(loss, list(weights.values()))
            weights = {
                k: (w - problem.rate * (g + proximal * (w - own[k]))).detach().requires_grad_()
                for (k, w), g in zip(weights.items(), grads, strict=True)
            }
        network, leaves = with_weights(problem.network, own, weights), list(weights.values())
        upstream = torch.autograd.grad(problem.objective(network, query, None), leaves)
        gradient = flat(torch.autograd.grad(problem.objective(network, data, None), leaves, create_graph=True))
        jacobian = torch.stack([flat(torch.autograd.grad(g, leaves, retain_graph=True)) for g in gradient])
        system = jacobian + proximal * torch.eye(len(jacobian))
        found = proximal * torch.linalg.solve(system.t(), flat(upstream)) * (task + 1)
        for k, part in zip(total, found.split([w.numel() for w in leaves]), strict=True):
            total[k] += part.reshape(total[k].shape)
    return total


def flat(tensors):
    return torch.cat([t.flatten() for t in tensors])
