"""What `batch=` and `objective` may give: each task gets its share of a batch, and a loss is one number.

A batch is a tree of tensors `[T, ...]` and plain values, in the containers that torch's pytree knows; whatever else
it holds would go whole to every task.
"""

import collections
import dataclasses
import enum
import re
import types
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from inner.faults.oracle import (
    WAYS,
    allowed_to_refuse,
    assert_same,
    every_way,
    found,
    judge,
    made,
    no_other_warnings,
    of,
    plain,
    points,
)
from torch import nn
from torch.utils import _pytree

import quickstudy as qs


@dataclasses.dataclass
class Pair:
    x: Any
    y: Any


@dataclasses.dataclass(frozen=True)
class FrozenPair:
    x: Any
    y: Any


class Slotted:
    __slots__ = ("x", "y")

    def __init__(self, x, y):
        self.x, self.y = x, y


class Encoding(collections.UserDict):
    """As tokenisers give it."""

    def __getattr__(self, name):
        return self.data[name]


class Indexed:
    """Hands out points by number, as a data set does."""

    def __init__(self, x, y):
        self.x, self.y = x, y

    def __getitem__(self, i):
        return self.x[i], self.y[i]

    def __len__(self):
        return len(self.x)


class Kind(enum.Enum):
    TRAIN = 1


def by_attribute(model, data, outer=None):
    return (model(data.x) - data.y).square().sum(-1).mean()


def by_first(model, data, outer=None):
    return by_attribute(model, data[0])


def mlp():
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


OTHERS = {
    "Pair": lambda x, y: Pair(x, y),
    "FrozenPair": lambda x, y: FrozenPair(x, y),
    "Slotted": lambda x, y: Slotted(x, y),
    "Encoding": lambda x, y: Encoding(x=x, y=y),
    "UserDict": lambda x, y: collections.UserDict(x=x, y=y),
    "UserList": lambda x, y: collections.UserList([x, y]),
    "SimpleNamespace": lambda x, y: types.SimpleNamespace(x=x, y=y),
    "ndarray": lambda x, y: (x, y.numpy()),
    "Indexed": lambda x, y: Indexed(x, y),
    "Normal": lambda x, y: (x, torch.distributions.Normal(y, torch.ones_like(y))),
    "Kind": lambda x, y: (x, y, Kind.TRAIN),
    "set": lambda x, y: (x, y, {1, 2}),
    "bytes": lambda x, y: (x, y, b"train"),
    "complex": lambda x, y: (x, y, 1j),
    "generator": lambda x, y: (x, y, (i for i in range(3))),
    "range": lambda x, y: (x, y, range(3)),
    "function": lambda x, y: (x, y, torch.tanh),
    "Generator": lambda x, y: (x, y, torch.Generator()),
    "Linear": lambda x, y: (x, y, nn.Linear(1, 1)),
}


@pytest.mark.parametrize(
    "way, wrapped", [*((way, False) for way in WAYS), ("loop", True), ("auto", True), ("batched", True)]
)
@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_no_tree_is_refused_by_name(kind, way, wrapped):
    """By the name of its type, with the function that makes a tree of it."""
    batch = OTHERS[kind](*points())
    batch = {"first": [batch], "x": points()[0]} if wrapped else batch
    loop = qs.inner_loop(mlp(), objective=by_attribute, lr=0.1, steps=2, **WAYS[way])
    with pytest.raises(TypeError, match=re.escape(kind)) as error:
        loop(batch=lambda step, adapted: batch, num_tasks=3)
    assert "register" in str(error.value)


@every_way
def test_also_when_it_first_comes_in_a_later_step(way):
    loop = qs.inner_loop(mlp(), objective=by_attribute, lr=0.1, steps=3, **WAYS[way])
    batches = [
        qs.Examples(*points()),
        qs.Examples(*points()),
        types.SimpleNamespace(**dict(zip("xy", points(), strict=True))),
    ]
    with pytest.raises(TypeError, match="SimpleNamespace"):
        loop(batch=lambda step, adapted: batches[step], num_tasks=3)


@every_way
def test_also_when_adapted_networks_are_judged_on_it(way):
    with no_other_warnings():
        adapted = qs.inner_loop(mlp(), lr=0.1, steps=2, **WAYS[way])(qs.Examples(*points()))
        with pytest.raises(TypeError, match="Pair"):
            adapted.evaluate(by_attribute, Pair(*points()))


# what is a tree


class Named(NamedTuple):
    x: Any
    y: Any


@dataclasses.dataclass
class Registered:
    x: Any
    y: Any


@dataclasses.dataclass
class RegisteredByHand:
    x: Any
    y: Any


class RegisteredMapping(collections.UserDict):
    pass


_pytree.register_dataclass(Registered)
_pytree.register_pytree_node(
    RegisteredByHand, lambda pair: ([pair.x, pair.y], None), lambda leaves, _: RegisteredByHand(*leaves)
)
_pytree.register_pytree_node(
    RegisteredMapping,
    lambda d: (list(d.data.values()), list(d.data)),
    lambda leaves, keys: RegisteredMapping(zip(keys, leaves, strict=True)),
)


def by_key(model, data, outer=None):
    return (model(data["x"]) - data["y"]).square().sum(-1).mean()


def with_plain_values(model, data, outer=None):
    x, y, nothing, flag, count, factor, name = data
    assert nothing is None and flag is True and count == 3 and name == "squared"
    return factor * (model(x) - y).square().sum(-1).mean()


TREES = {
    "a named tuple": (by_attribute, lambda x, y: Named(x, y)),
    "a registered dataclass": (by_attribute, lambda x, y: Registered(x, y)),
    "a type registered by hand": (by_attribute, lambda x, y: RegisteredByHand(x, y)),
    "a registered mapping": (by_key, lambda x, y: RegisteredMapping(x=x, y=y)),
    "a dictionary": (by_key, lambda x, y: {"x": x, "y": y}),
    "an ordered dictionary": (by_key, lambda x, y: collections.OrderedDict(y=y, x=x)),
    "a defaultdict": (by_key, lambda x, y: collections.defaultdict(list, x=x, y=y)),
    "a deque": (by_first, lambda x, y: collections.deque([Named(x, y)])),
    "plain values": (with_plain_values, lambda x, y: (x, y, None, True, 3, 0.7, "squared")),
    "examples": (by_attribute, lambda x, y: qs.Examples(x, y)),
    "a tree with nothing in a place": (
        lambda model, data, outer=None: by_first(model, data),
        lambda x, y: (Named(x, y), None),
    ),
}


@every_way
@pytest.mark.parametrize("kind", TREES)
def test_trees_are_dealt_out(kind, way):
    objective, pack = TREES[kind]
    judge(of(mlp(), pack(*points()), pack(*points(seed=1)), objective=objective), way)


@every_way
@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_tensor_for_another_number_of_tasks_is_refused(count, way):
    """Or the first tasks would be adapted and the others forgotten, or everybody's data be shared."""
    x, _ = points(3)
    loop = qs.inner_loop(mlp(), objective=by_attribute, lr=0.1, steps=2, **WAYS[way])
    with pytest.raises(ValueError, match="task"):
        loop(batch=lambda step, adapted: Named(x, points(count)[1]), num_tasks=3)


@every_way
def test_also_in_a_later_step(way):
    loop = qs.inner_loop(mlp(), objective=by_attribute, lr=0.1, steps=3, **WAYS[way])
    with pytest.raises(ValueError, match="task"):
        loop(batch=lambda step, adapted: Named(*points(3 if step < 2 else 4)), num_tasks=3)


# a loss is one number


def losses(x, y, model):
    return (model(x) - y).square().sum(-1)


NOT_NUMBERS = {
    "one for each point": lambda model, data, outer: losses(*data, model),
    "one for each point, as a column": lambda model, data, outer: losses(*data, model)[:, None],
    "one for each entry": lambda model, data, outer: (model(data[0]) - data[1]).square(),
    "one for each output": lambda model, data, outer: (model(data[0]) - data[1]).square().mean(0),
    "reduction='none'": lambda model, data, outer: nn.functional.mse_loss(model(data[0]), data[1], reduction="none"),
    "several, with more besides": lambda model, data, outer: (losses(*data, model), {"x": 1}),
    "a list": lambda model, data, outer: [losses(*data, model).mean()] * 3,
    "a dictionary": lambda model, data, outer: {"loss": losses(*data, model).mean()},
    "nothing": lambda model, data, outer: None,
    "a word": lambda model, data, outer: "loss",
    "an array": lambda model, data, outer: np.zeros(3),
}


@every_way
@pytest.mark.parametrize("kind", NOT_NUMBERS)
def test_what_is_not_one_number_is_refused(kind, way):
    loop = qs.inner_loop(mlp(), objective=NOT_NUMBERS[kind], lr=0.1, steps=2, **WAYS[way])
    with pytest.raises((ValueError, TypeError), match="number"), no_other_warnings():
        loop(batch=lambda step, adapted: points(), num_tasks=3)


@every_way
def test_the_refusal_says_what_came(way):
    loop = qs.inner_loop(mlp(), objective=NOT_NUMBERS["one for each point"], lr=0.1, steps=2, **WAYS[way])
    with pytest.raises(ValueError, match=re.escape("[4]")), no_other_warnings():
        loop(batch=lambda step, adapted: points(), num_tasks=3)


@every_way
def test_also_in_a_later_step_only(way):
    now = {"step": 0}

    def data(step, adapted):
        now["step"] = step
        return points(seed=step)

    def objective(model, data, outer):
        found = losses(*data, model)
        return found if now["step"] == 2 else found.mean()

    loop = qs.inner_loop(mlp(), objective=objective, lr=0.1, steps=3, **WAYS[way])
    with pytest.raises(ValueError, match="number"), no_other_warnings():
        loop(batch=data, num_tasks=3)


@every_way
def test_also_for_a_single_point(way):
    """[1] is one number, or is refused: never something else."""
    objective = lambda model, data, outer: losses(*data, model)  # noqa: E731
    problem = of(mlp(), points(number=1), points(number=1, seed=1), objective=objective)
    expected = plain(problem._replace(objective=lambda *given: objective(*given).sum()))
    try:
        answer = found(problem, made(problem, way))
    except ValueError as error:
        assert "number" in str(error)
    else:
        assert_same(answer._replace(losses=answer.losses.reshape(3)), expected)


AUXILIARY = {
    "a dictionary": lambda out: {"out": out.detach(), "name": "last"},
    "outputs with a graph": lambda out: out,
    "nothing": lambda out: None,
    "a word": lambda out: "aux",
    "a number": lambda out: 3.5,
    "a list": lambda out: [1, "two", out.detach().mean()],
    "a tuple": lambda out: (out, out),
}


@every_way
@pytest.mark.parametrize("kind", AUXILIARY)
def test_a_number_with_anything_besides(kind, way):
    def objective(model, data, outer):
        x, y = data
        out = model(x)
        return (out - y).square().sum(-1).mean(), AUXILIARY[kind](out)

    alone = lambda *given: objective(*given)[0]  # noqa: E731
    judge(of(mlp(), objective=objective, judge=alone), way)


@every_way
def test_a_loss_without_a_graph_moves_nothing(way):
    """A number that no weight had a part in: the networks stay as they are, as in plain PyTorch."""
    objective = lambda model, data, outer: (model(data[0]).detach() - data[1]).square().mean()  # noqa: E731
    problem = of(mlp(), objective=objective, judge=lambda model, data, outer: losses(*data, model).mean())
    with allowed_to_refuse(way) as refused:
        answer = found(problem, made(problem, way))
    if not refused:
        assert_same(answer, plain(problem))
