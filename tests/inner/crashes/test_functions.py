"""Custom functions of autograd, old and new, and operations without a forward derivative: every engine and option."""

import numpy as np
import pytest
import torch
from inner.crashes.oracle import (
    ENGINES,
    batch,
    by_points,
    expected,
    heard,
    meta,
    mlp,
    only_one_by_one,
    same,
    solved,
    study,
)
from torch import nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

import quickstudy as qs

pytestmark = pytest.mark.filterwarnings("ignore:index_reduce.. is in beta")


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)


named = lambda f: f.__name__  # noqa: E731


class OldCube(Function):
    """Forward with a context: the way of all code before torch 2."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return 3 * x**2 * grad


class OldLinear(Function):
    """A layer of two inputs, one of which may need no gradient."""

    @staticmethod
    def forward(ctx, x, weight, power):
        ctx.save_for_backward(x, weight)
        ctx.power = power
        return x @ weight.t() * power

    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        by_x = grad @ weight * ctx.power if ctx.needs_input_grad[0] else None
        by_weight = grad.t() @ x * ctx.power if ctx.needs_input_grad[1] else None
        return by_x, by_weight, None


class OldPair(Function):
    """Two outputs, one of them marked as constant."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        kept = x > 0
        ctx.mark_non_differentiable(kept)
        return x.square(), kept

    @staticmethod
    def backward(ctx, grad, _):
        (x,) = ctx.saved_tensors
        return 2 * x * grad


class OldThrough(Function):
    """Straight through: another gradient than the derivative."""

    @staticmethod
    def forward(ctx, x):
        return x.round()

    @staticmethod
    def backward(ctx, grad):
        return grad


class Reversed(Function):
    """The gradient's sign turned, as domain-adversarial networks have it."""

    @staticmethod
    def forward(ctx, x, strength):
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad):
        return -ctx.strength * grad, None


class InNumpy(Function):
    """Softplus by numpy, its derivative by torch."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.from_numpy(np.log1p(np.exp(x.detach().numpy())))

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * torch.sigmoid(x)


class InNumpyBothWays(Function):
    """Its derivative is another such function."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.from_numpy(np.sin(x.detach().numpy()))

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * Cosine.apply(x)


class Cosine(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.from_numpy(np.cos(x.detach().numpy()))

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return -grad * InNumpyBothWays.apply(x)


class New(Function):
    """With `setup_context` and a generated batching rule, without a forward derivative."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x):
        return x**3

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return 3 * x**2 * grad


class NewWithoutRule(Function):
    """With `setup_context`, but neither a batching rule nor a forward derivative."""

    @staticmethod
    def forward(x):
        return torch.tanh(x)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx, grad):
        (y,) = ctx.saved_tensors
        return grad * (1 - y**2)


class NewWithOwnRule(Function):
    """A batching rule written by hand."""

    @staticmethod
    def forward(x, weight):
        return x @ weight

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def vmap(info, in_dims, x, weight):
        x = x.movedim(in_dims[0], 0) if in_dims[0] is not None else x.expand(info.batch_size, *x.shape)
        weight = weight.movedim(in_dims[1], 0) if in_dims[1] is not None else weight.expand(info.batch_size, 3, 3)
        return ManyTimes.apply(x, weight), 0

    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        return grad @ weight.t(), x.t() @ grad


class ManyTimes(Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x, weight):
        return x @ weight

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        return grad @ weight.mT, x.mT @ grad


class WrongRule(Function):
    """A batching rule with a mistake: it gives every task the first one's values."""

    @staticmethod
    def forward(x):
        return torch.sin(x)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def vmap(info, in_dims, x):
        x = x.movedim(in_dims[0], 0)
        return torch.sin(x[:1].expand_as(x)), 0

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * torch.cos(x)


class WithTangents(Function):
    """All that torch asks for, and a forward derivative that differs from the backward one: a surrogate gradient."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x):
        return torch.tanh(5 * x)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad / (1 + x.square())  # on purpose not tanh's: as spiking networks do

    @staticmethod
    def jvp(ctx, tangent):
        (x,) = ctx.saved_tensors
        return tangent * 5 * (1 - torch.tanh(5 * x).square())


class Once(Function):
    """No second derivative, by its author's word."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**2

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return 2 * x * grad


class Layer(nn.Module):
    """A function between two layers."""

    def __init__(self, function):
        super().__init__()
        torch.manual_seed(1)
        self.first, self.second, self.last = nn.Linear(2, 3), nn.Linear(3, 3, bias=False), nn.Linear(3, 1)
        self.function = function

    def forward(self, x):
        return self.last(self.function(torch.tanh(self.first(x)), self.second.weight))


FUNCTIONS = {
    "old cube": lambda h, w: OldCube.apply(h) + h @ w,
    "old linear": lambda h, w: OldLinear.apply(h, w, 0.7),
    "old linear of a constant": lambda h, w: h @ OldLinear.apply(w.new_ones(3, 3), w, 0.7),
    "old pair": lambda h, w: OldPair.apply(h @ w)[0],
    "old straight through": lambda h, w: OldThrough.apply(3 * h) + torch.tanh(h @ w),
    "reversed": lambda h, w: Reversed.apply(h, 0.5) @ w,
    "numpy": lambda h, w: InNumpy.apply(h @ w),
    "numpy both ways": lambda h, w: InNumpyBothWays.apply(h @ w),
    "new": lambda h, w: New.apply(h @ w),
    "new, no rule": lambda h, w: NewWithoutRule.apply(h @ w),
    "new, own rule": lambda h, w: NewWithOwnRule.apply(h, w),
    "new, wrong rule": lambda h, w: WrongRule.apply(2 * h @ w),
    "surrogate": lambda h, w: WithTangents.apply(h @ w),
    "of a weight": lambda h, w: h @ OldCube.apply(w),
    "one in another": lambda h, w: OldCube.apply(New.apply(h) @ w),
}
every_function = pytest.mark.parametrize("function", FUNCTIONS)
OPTIONS = {
    "mixed mode": {"mixed_mode": True},
    "checkpoints": {"checkpoint": "every"},
    "mixed mode, checkpoints": {"mixed_mode": True, "checkpoint": 2},
}
every_option = pytest.mark.parametrize("option", OPTIONS)


@pytest.mark.parametrize("engine", ENGINES)
@every_function
def test_functions(engine, function):
    network, tasks = Layer(FUNCTIONS[function]), batch()
    wanted = expected(network, tasks)
    same(engine, lambda: meta(qs.MAML(network, lr=0.1, steps=2, engine=engine), tasks), wanted)


@every_option
@pytest.mark.parametrize("engine", ["loop", "auto", "batched"])
@every_function
def test_functions_with_options(engine, function, option):
    """The open engine falls back to what is exact; nothing of these options is worth a refusal there."""
    network, tasks = Layer(FUNCTIONS[function]), batch()
    wanted = expected(network, tasks)
    make = lambda: qs.MAML(network, lr=0.1, steps=2, engine=engine, **OPTIONS[option])  # noqa: E731
    if function in ("surrogate", "old straight through", "reversed"):  # no derivative: no symmetric second one, either
        same(engine, lambda: meta(make(), tasks), wanted, refusal="mixed_mode", warning="mixed_mode")
    else:
        same(engine, lambda: meta(make(), tasks), wanted, warning="mixed_mode")


SOLVED = {"lr": 0.05, "steps": 14, "proximal": 17.0}


@pytest.mark.parametrize("engine", ["loop", "auto"])
@pytest.mark.parametrize(
    "function", ["old cube", "old linear", "old pair", "numpy", "numpy both ways", "new", "new, no rule", "of a weight"]
)
def test_functions_with_implicit_gradients(engine, function):
    network, tasks = Layer(FUNCTIONS[function]), batch()
    wanted = solved(network, tasks, **SOLVED)
    learner = lambda: qs.MAML(network, implicit=qs.Implicit(iterations=12), engine=engine, **SOLVED)  # noqa: E731
    same(engine, lambda: meta(learner(), tasks), wanted, close=closely, warning="implicit")


def closely(found, wanted):
    """As far as an inner problem is solved."""
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("engine", ["batched", "lowrank"])
@pytest.mark.parametrize("function", ["old cube", "old linear", "numpy"])
def test_a_named_engine_says_which_one_can(engine, function):
    network, tasks = Layer(FUNCTIONS[function]), batch()
    wanted = expected(network, tasks)
    only_one_by_one(engine, lambda: meta(qs.MAML(network, lr=0.1, steps=2, engine=engine), tasks), wanted)


# no second derivative: none is taken for zero, and first order is exact


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "function",
    [
        lambda h, w: Once.apply(h @ w),
        lambda h, w: F.hardsigmoid(h @ w),
        lambda h, w: F.hardsigmoid(h) @ w,
        lambda h, w: -torch.cdist(h, w),
    ],
    ids=["once differentiable", "hardsigmoid", "hardsigmoid before a layer", "cdist"],
)
def test_functions_without_a_second_derivative(engine, function):
    network, tasks = Layer(function), batch()
    with pytest.raises(RuntimeError, match="once_differentiable|not implemented|engine="):
        heard(lambda: qs.MAML(network, lr=0.1, steps=2, engine=engine).meta_loss(tasks).backward())
    wanted = expected(network, tasks, graph=False)
    same(engine, lambda: meta(qs.FOMAML(network, lr=0.1, steps=2, engine=engine), tasks), wanted)


# operations without a forward derivative, or without one of their backward pass


def placed(h):
    """A spatial transformer's sampling."""
    grid = torch.stack([h.tanh(), (h * 0.7).sin()], -1)[None]
    return F.grid_sample(h[None, None], grid, align_corners=False)[0, 0]


OPERATIONS = {
    "grid_sample": placed,
    "index_reduce": lambda h: h + torch.zeros(2, 3).index_reduce(0, torch.arange(len(h)) % 2, h, "mean").sum(0),
    "ormqr": lambda h: torch.ormqr(torch.eye(3) + 0.1, torch.full((3,), 0.5), h.T).T,
    "glu": lambda h: F.glu(torch.cat([h, h.sin()], -1)),
    "polar": lambda h: torch.view_as_real(torch.polar(h.square() + 0.1, h)).sum(-1),
    "cumulative": lambda h: h.logcumsumexp(0) + h.cumprod(-1),
    "pinv": lambda h: torch.linalg.lstsq(h.T @ h + torch.eye(3), h.T).solution.T,
}


@every_option
@pytest.mark.parametrize("engine", ["auto", "batched"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_operations_with_options(engine, operation, option):
    network = Layer(lambda h, w: OPERATIONS[operation](h @ w))
    tasks = batch()
    wanted = expected(network, tasks)
    make = lambda: qs.MAML(network, lr=0.1, steps=2, engine=engine, **OPTIONS[option])  # noqa: E731
    same(engine, lambda: meta(make(), tasks), wanted, warning="mixed_mode")


@pytest.mark.parametrize("operation", ["grid_sample", "index_reduce", "glu", "polar"])
def test_operations_with_implicit_gradients(operation):
    network = Layer(lambda h, w: OPERATIONS[operation](h @ w))
    tasks = batch()
    wanted = solved(network, tasks, **SOLVED)
    learner = lambda: qs.MAML(network, implicit=qs.Implicit(iterations=12), **SOLVED)  # noqa: E731
    same("auto", lambda: meta(learner(), tasks), wanted, close=closely, warning="implicit")


# losses without one


def hinge(output, y):
    """Squared, by a function of one's own."""
    return OldCube.apply((1 - output * y.sign()).clamp_min(0)).mean(-1)


LOSSES = {
    "huber": lambda output, y: F.huber_loss(3 * output, 3 * y, reduction="none", delta=0.3).sum(-1),
    "soft margin, both ways": lambda output, y: sum(
        F.soft_margin_loss(s * output, s * y.sign(), reduction="none").sum(-1) for s in (1, 2)
    ),
    "multilabel soft margin": lambda output, y: F.multilabel_soft_margin_loss(output, (y > 0).to(y), reduction="none"),
    "cosine embedding": lambda output, y: 1 - F.cosine_similarity(output + 1, y + 2, dim=-1),
    "old function": hinge,
}
every_loss = pytest.mark.parametrize("loss", LOSSES)


@pytest.mark.parametrize("option", [None, *OPTIONS])
@pytest.mark.parametrize("engine", ENGINES)
@every_loss
def test_losses(engine, loss, option):
    network, tasks, judge = mlp(dy=2), batch(dy=2), LOSSES[loss]
    wanted = expected(network, tasks, objective=by_points(judge))
    options = {} if option is None else OPTIONS[option]
    make = lambda: qs.MAML(network, loss=judge, lr=0.1, steps=2, engine=engine, **options)  # noqa: E731
    same(engine, lambda: meta(make(), tasks), wanted, warning="mixed_mode")


@pytest.mark.parametrize("engine", ["auto", "loop"])
@every_loss
def test_losses_with_implicit_gradients(engine, loss):
    """Strongly convex by the proximal term alone."""
    network, tasks, judge = mlp(dy=2), batch(dy=2), LOSSES[loss]
    how = {"lr": 0.03, "steps": 14, "proximal": 28.0}
    wanted = solved(network, tasks, objective=by_points(judge), **how)
    make = lambda: qs.MAML(network, loss=judge, implicit=qs.Implicit(iterations=12), engine=engine, **how)  # noqa: E731
    same(engine, lambda: meta(make(), tasks), wanted, close=closely, warning="implicit")


@pytest.mark.parametrize("engine", ENGINES)
def test_a_function_in_the_objective_alone(engine):
    """Of the model's output and of its second derivative, both of old style."""

    def objective(model, examples, outer):
        return OldCube.apply(model(examples.x) - examples.y).square().mean() + InNumpy.apply(model(examples.x)).mean()

    network, tasks = mlp(), batch()
    wanted = expected(network, tasks, objective=objective)
    make = lambda: qs.inner_loop(network, objective=objective, lr=0.1, steps=2, engine=engine)  # noqa: E731
    same(engine, lambda: study(make(), tasks, objective), wanted)


def test_what_the_oracle_says_of_implicit_gradients():
    """The oracle by the Hessian is that of the unrolled loop, run to the end."""
    network, tasks = mlp(), batch()
    closely(solved(network, tasks, **SOLVED), expected(network, tasks, **SOLVED))
