"""Networks that return more than one tensor, and objectives that say more than one number."""

from collections import OrderedDict, namedtuple
from dataclasses import dataclass, field
from typing import NamedTuple

import pytest
import torch
from inner.crashes.oracle import (
    ENGINES,
    adapted_modules,
    assert_close,
    batch,
    by_points,
    expected,
    heard,
    learned,
    masked,
    meta,
    mlp,
    one,
    same,
    squared,
    study,
    with_gradients,
)
from torch import nn
from torch.utils import _pytree as pytree

import quickstudy as qs


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)


Pair = namedtuple("Pair", "mean spread")


class Typed(NamedTuple):
    mean: torch.Tensor
    features: torch.Tensor
    name: str = "typed"


@dataclass
class Registered:
    mean: torch.Tensor
    features: torch.Tensor


pytree.register_dataclass(Registered)


@dataclass(frozen=True)
class Unregistered:
    mean: torch.Tensor
    features: torch.Tensor
    notes: list = field(default_factory=list)


class ModelOutput(OrderedDict):
    """As the large libraries have it: a dictionary with attributes, which no pytree knows."""

    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


class Body(nn.Module):
    """Returns what `wrap` makes of the mean `[N, 1]` and of the features `[N, 3]`."""

    def __init__(self, wrap, *middle):
        super().__init__()
        self.body, self.wrap = mlp(*middle), wrap

    def forward(self, x):
        features = torch.tanh(self.body[:-1](x))
        return self.wrap(self.body[-1](features), features)


def features_too(mean, features, y):
    """A loss per point that reads both."""
    return (mean - y).square().sum(-1) + 0.1 * features.square().sum(-1)


# name: (what the network returns, how the loss reads it)
KINDS = {
    "tuple": (lambda m, f: (m, f), lambda out, y: features_too(out[0], out[1], y)),
    "list": (lambda m, f: [f, m], lambda out, y: features_too(out[1], out[0], y)),
    "namedtuple": (lambda m, f: Pair(m, f), lambda out, y: features_too(out.mean, out.spread, y)),
    "typed": (lambda m, f: Typed(m, f), lambda out, y: features_too(out.mean, out.features, y)),
    "dict": (lambda m, f: {"logits": m, "hidden": f}, lambda out, y: features_too(out["logits"], out["hidden"], y)),
    "ordered": (
        lambda m, f: OrderedDict(a=m, b=f),
        lambda out, y: features_too(out["a"], out["b"], y),
    ),
    "nested": (
        lambda m, f: {"heads": [(m, {"deep": f})], "nothing": None, "scale": 2.0, "name": "nested", "flag": True},
        lambda out, y: features_too(out["heads"][0][0], out["heads"][0][1]["deep"], y),
    ),
    "one in a tuple": (lambda m, f: (m,), lambda out, y: (out[0] - y).square().sum(-1)),
    "points last": (lambda m, f: (m.T, f.T), lambda out, y: features_too(out[0].T, out[1].T, y)),
    "a summary beside": (lambda m, f: (m, f.mean()), lambda out, y: (out[0] - y).square().sum(-1) + out[1].square()),
    "integers beside": (
        lambda m, f: {"mean": m, "winner": f.argmax(-1), "positive": f > 0},
        lambda out, y: (out["mean"] - y).square().sum(-1) * (1 + out["winner"]),
    ),
    "registered": (lambda m, f: Registered(m, f), lambda out, y: features_too(out.mean, out.features, y)),
}
FOREIGN = {
    "unregistered": (lambda m, f: Unregistered(m, f), lambda out, y: features_too(out.mean, out.features, y)),
    "model output": (
        lambda m, f: ModelOutput(logits=m, hidden=f),
        lambda out, y: features_too(out.logits, out["hidden"], y),
    ),
    "distribution": (
        lambda m, f: torch.distributions.Normal(m, f[:, :1].exp()),
        lambda out, y: -out.log_prob(y).sum(-1),
    ),
}
EVERY = {**KINDS, **FOREIGN}
every_kind = pytest.mark.parametrize("kind", KINDS)
any_kind = pytest.mark.parametrize("kind", EVERY)


@pytest.mark.parametrize("engine", ENGINES)
@any_kind
def test_meta_gradients(engine, kind):
    wrap, loss = EVERY[kind]
    network, tasks = Body(wrap), batch()
    wanted = expected(network, tasks, objective=by_points(loss))
    same(engine, lambda: meta(qs.MAML(network, loss=loss, lr=0.1, steps=2, engine=engine), tasks), wanted)


@pytest.mark.parametrize(
    ("middle", "sizes"),
    [("points alone", [4, 2, 3]), ("points alone", [0, 4, 1]), ("batch statistics", [4, 2, 3])],
    ids=["points alone", "no points", "batch statistics"],
)
@pytest.mark.parametrize("engine", ["loop", "auto", "batched"])
@any_kind
def test_unequal_tasks(engine, kind, middle, sizes):
    """Whether points are mixed is seen in all that comes out; padding is NaN."""
    wrap, loss = EVERY[kind]
    layers = [] if middle == "points alone" else [nn.BatchNorm1d(3, track_running_stats=False)]
    network, tasks = Body(wrap, *layers), batch(num_tasks=3)
    tasks = qs.Tasks(masked(tasks.support, sizes), masked(tasks.query, [2, 3, 2]))
    wanted = [torch.zeros(()), *(torch.zeros_like(p) for p in learned(network))]
    for i in range(3):  # of no points no step is taken
        alone = qs.Tasks(lone(tasks.support, i), lone(tasks.query, i))
        found = expected(network, alone, objective=by_points(loss), steps=2 if sizes[i] else 0)
        wanted = [w + f / 3 for w, f in zip(wanted, found, strict=True)]
    same(engine, lambda: meta(qs.MAML(network, loss=loss, lr=0.1, steps=2, engine=engine), tasks), wanted)


def lone(examples, i):
    x, y, _ = one(examples, i)
    return qs.Examples(x[None], y[None])


def flat(tree):
    return [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def stacked(outputs):
    """Leaf by leaf `[T, ...]`, in the order of the leaves."""
    return [torch.stack(leaves).detach() for leaves in zip(*(flat(out) for out in outputs), strict=True)]


@pytest.mark.parametrize("steps", [0, 2])
@pytest.mark.parametrize("engine", ENGINES)
@every_kind
def test_outputs_are_stacked(engine, kind, steps):
    """`adapted(x)` is of the network's own kind, with the tasks in front."""
    wrap, loss = KINDS[kind]
    network, tasks = Body(wrap), batch()
    modules = adapted_modules(network, tasks.support, objective=by_points(loss), steps=steps)
    outputs = [m(x) for m, x in zip(modules, tasks.query.x, strict=True)]
    loop = qs.inner_loop(network, loss=loss, lr=0.1, steps=2, engine=engine)

    def ask():
        out = loop(tasks.support, steps=steps, create_graph=False)(tasks.query.x)
        assert type(out) is type(outputs[0])
        if isinstance(out, dict):
            assert list(out) == list(outputs[0])
            assert all(out[k] == v for k, v in outputs[0].items() if isinstance(v, str | float | bool | None))
        if isinstance(out, Typed):
            assert out.name == "typed"
        return [leaf.detach() for leaf in flat(out)]

    same(engine, ask, stacked(outputs))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", FOREIGN)
def test_outputs_that_no_pytree_knows(engine, kind):
    """They are stacked, or refused by name: never one task's output for all."""
    wrap, loss = FOREIGN[kind]
    network, tasks = Body(wrap), batch()
    modules = adapted_modules(network, tasks.support, objective=by_points(loss), steps=1)
    outputs = [m(x) for m, x in zip(modules, tasks.query.x, strict=True)]
    adapted, _ = heard(lambda: qs.inner_loop(network, loss=loss, lr=0.1, engine=engine)(tasks.support))
    if kind == "distribution":
        with pytest.raises((TypeError, RuntimeError), match=f"{type(outputs[0]).__name__}.*(?s:.)*regist"):
            adapted(tasks.query.x)
        return
    found = heard(lambda: adapted(tasks.query.x))[0]
    assert type(found) is type(outputs[0])
    parts = (lambda out: [out.mean, out.features]) if kind == "unregistered" else lambda out: list(out.values())
    for part, wanted in zip(parts(found), zip(*map(parts, outputs), strict=True), strict=True):
        torch.testing.assert_close(part, torch.stack(wanted), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", ["dict", "namedtuple", "nested"])
def test_outputs_carry_the_gradient(engine, kind):
    wrap, loss = KINDS[kind]
    network, tasks = Body(wrap), batch()
    total = lambda out: sum(leaf.square().sum() for leaf in flat(out) if leaf.is_floating_point())  # noqa: E731
    judged = lambda model, examples, outer=None: total(model(examples.x))  # noqa: E731
    wanted = expected(network, tasks, objective=by_points(loss), query_objective=judged)

    def ask():
        loop = qs.inner_loop(network, loss=loss, lr=0.1, steps=2, engine=engine)
        return with_gradients(total(loop(tasks.support)(tasks.query.x)) / 2, learned(network))

    same(engine, ask, wanted)


@pytest.mark.parametrize("engine", ["loop", "auto", "batched"])
@any_kind
def test_losses_and_one_task(engine, kind):
    wrap, loss = EVERY[kind]
    network, tasks = Body(wrap), batch()
    modules = adapted_modules(network, tasks.support, objective=by_points(loss))
    losses = [by_points(loss)(m, one(tasks.query, i)).detach() for i, m in enumerate(modules)]
    learner = qs.MAML(network, loss=loss, lr=0.1, steps=2, engine=engine)

    def ask():
        predict = learner.adapt(tasks.support)
        alone = by_points(loss)(predict.task(1), one(tasks.query, 1))
        return [predict.adapted.losses(tasks.query).detach(), alone.detach()]

    same(engine, ask, [torch.stack(losses), losses[1]])


# an objective's second word


class Report:
    """Nothing that torch knows."""

    def __init__(self, value):
        self.value = value


def keeps(value, aux):
    return lambda model, examples, outer: aux(value(model, examples, outer), model(examples.x))


AUX = {
    "a tensor": lambda loss, out: (loss, out),
    "a tree": lambda loss, out: (loss, {"out": out, "size": [out.square().mean(), out.max()]}),
    "a number": lambda loss, out: (loss, 3.0),
    "text": lambda loss, out: (loss, {"kind": "squared", "nothing": None}),
    "an object": lambda loss, out: (loss, Report(out)),
    "a distribution": lambda loss, out: (loss, torch.distributions.Normal(out, 1.0)),
    "three": lambda loss, out: (loss, (out, loss.detach())),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("aux", AUX)
def test_objectives_with_an_auxiliary_output(engine, aux):
    """It counts for nothing in the inner steps."""
    network, tasks = mlp(), batch()
    objective = keeps(squared, AUX[aux])
    wanted = expected(network, tasks)
    make = lambda: qs.inner_loop(network, objective=objective, lr=0.1, steps=2, engine=engine)  # noqa: E731
    same(engine, lambda: study(make(), tasks), wanted)


@pytest.mark.parametrize("option", ["checkpoints", "mixed mode", "implicit", "first order"])
@pytest.mark.parametrize("aux", ["a tree", "text", "an object"])
def test_auxiliary_outputs_with_options(aux, option):
    network, tasks = mlp(), batch()
    options = {
        "checkpoints": {"checkpoint": "every"},
        "mixed mode": {"mixed_mode": True},
        "implicit": {"implicit": qs.Implicit(iterations=12), "proximal": 17.0, "lr": 0.05, "steps": 14},
        "first order": {"first_order": True},
    }[option]
    how = {k: options[k] for k in ("proximal", "lr", "steps") if k in options}
    wanted = expected(network, tasks, graph=option != "first order", **how)
    loop = lambda: qs.inner_loop(network, objective=keeps(squared, AUX[aux]), **{"lr": 0.1, "steps": 2, **options})  # noqa: E731
    close = lambda a, b: torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-8)  # noqa: E731
    same("auto", lambda: study(loop(), tasks), wanted, close=close if option == "implicit" else None)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("aux", ["a tensor", "a tree", "three"])
def test_what_evaluate_says_besides(engine, aux):
    """`evaluate` gives the values `[T]` and the rest, its tensors with the tasks in front."""
    network, tasks = mlp(), batch()
    objective = keeps(squared, AUX[aux])
    said = [objective(m, one(tasks.query, i), None) for i, m in enumerate(adapted_modules(network, tasks.support))]

    def ask():
        adapted = qs.inner_loop(network, lr=0.1, steps=2, engine=engine)(tasks.support)
        values, rest = adapted.evaluate(objective, tasks.query)
        assert values.shape == (2,)
        return [values.detach(), *(leaf.detach() for leaf in flat(rest))]

    same(engine, ask, stacked(said))


NO_NUMBER = {
    "two": lambda v: torch.stack([v, v]),
    "two and more": lambda v: (torch.stack([v, v]), v),
    "a list": lambda v: [v],
    "a dict": lambda v: {"loss": v},
    "None": lambda v: None,
    "None and more": lambda v: (None, v),
    "text": lambda v: "loss",
    "nothing in a tuple": lambda v: (),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("returned", NO_NUMBER)
def test_objectives_that_return_something_else_are_refused(engine, returned):
    """With what came and what is expected, and nothing has moved."""
    network, tasks = mlp(), batch()
    before = [p.clone() for p in network.parameters()]
    loop = qs.inner_loop(network, objective=lambda *a: NO_NUMBER[returned](squared(*a)), lr=0.1, engine=engine)
    with pytest.raises((TypeError, ValueError), match="objective(?s:.)*(number|scalar)"):
        loop(tasks.support)
    assert_close(list(network.parameters()), before)
