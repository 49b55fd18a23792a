"""Networks that keep something of their own: activations, caches, counters, weights that hooks compute.

Adapting and training leave the network as it was; what was adapted, the learner and the network can be copied and
pickled; and no number is wrong for it.
"""

import copy
import functools
import io
import logging
import pickle
import threading
import types
import warnings
import weakref

import pytest
import torch
from inner.crashes.oracle import (
    ENGINES,
    Inside,
    adapt,
    adapted_modules,
    assert_close,
    batch,
    expected,
    heard,
    holding,
    meta,
    mlp,
    one,
    same,
)
from torch import nn
from torch.nn.utils import parametrizations, prune

import quickstudy as qs


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)


class Base(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.first, self.last = nn.Linear(2, 3), nn.Linear(3, 1)


class KeepsAnActivation(Base):
    def forward(self, x):
        self.hidden = torch.tanh(self.first(x))
        return self.last(self.hidden)


class KeepsItsInput(Base):
    def forward(self, x):
        self.seen, self.shape = x, tuple(x.shape)
        return self.last(torch.tanh(self.first(x)))


class KeepsMany(Base):
    """A list, a dictionary, and a tuple in a namespace, all filled in forward."""

    def __init__(self):
        super().__init__()
        self.features, self.named, self.place = [], {}, types.SimpleNamespace()

    def forward(self, x):
        h = torch.tanh(self.first(x))
        self.features.append(h)
        self.named["hidden"] = h
        self.place.pair = (x, h)
        return self.last(h)


class KeepsALoss(Base):
    """Adds an auxiliary loss of its own, kept for the training loop to read."""

    def forward(self, x):
        h = torch.tanh(self.first(x))
        self.auxiliary = h.square().mean()
        return self.last(h) + self.auxiliary


class Caches(Base):
    """A table for each length, made at first sight, as positional encodings are."""

    def __init__(self):
        super().__init__()
        self.tables = {}

    def forward(self, x):
        if len(x) not in self.tables:
            self.tables[len(x)] = torch.linspace(0, 1, len(x))[:, None]
        return self.last(torch.tanh(self.first(x + self.tables[len(x)])))


class CachesOne(Base):
    """The same, as one attribute that is None at first, and made again where it is too short."""

    table = None

    def forward(self, x):
        if self.table is None or len(self.table) < len(x):
            self.table = torch.arange(len(x))[:, None] / 10
        return self.last(torch.tanh(self.first(x + self.table[: len(x)])))


class CachesAWeight(Base):
    """Something computed from a weight, which must be each task's own: cached within a pass."""

    def forward(self, x):
        self.norm = self.first.weight.square().sum()
        h = torch.tanh(self.first(x) / (1 + self.norm))
        return self.last(h) * (1 + self.norm.sqrt())


class LateBuffer(Base):
    """Registers a buffer in forward."""

    def forward(self, x):
        if "scale" not in self._buffers:
            self.register_buffer("scale", torch.full((1,), 0.5))
        return self.last(torch.tanh(self.first(x) * self.scale))


class Counts(Base):
    def __init__(self):
        super().__init__()
        self.calls, self.log = 0, []

    def forward(self, x):
        self.calls += 1
        self.log.append(len(x))
        return self.last(torch.tanh(self.first(x)))


class CountsInATensor(Base):
    """A plain tensor that is no buffer, moved in place."""

    def __init__(self):
        super().__init__()
        self.calls = torch.zeros(())

    def forward(self, x):
        self.calls += 1
        return self.last(torch.tanh(self.first(x)))


class Hooked(Base):
    """Forward hooks keep what they see on the modules, as feature extractors do."""

    def __init__(self):
        super().__init__()
        for module in (self.first, self.last):
            module.register_forward_hook(keep)

    def forward(self, x):
        return self.last(torch.tanh(self.first(x))) + self.first.kept.mean()


def keep(module, inputs, output):
    module.kept = output


class Attends(nn.Module):
    """Attention weights kept for a figure."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.mix, self.last = nn.MultiheadAttention(2, 1, batch_first=True), nn.Linear(2, 1)

    def forward(self, x):
        h = torch.stack([x, x.sin(), x.cos()], 1)
        h, self.weights = self.mix(h, h, h)
        return self.last(h.mean(1))


class NotAMember(Base):
    """A module in a plain list, which torch does not know: its weights are constants; it keeps an activation."""

    def __init__(self):
        super().__init__()
        self.others = [KeepsAnActivation()]

    def forward(self, x):
        return self.last(torch.tanh(self.first(x))) + self.others[0](x).detach()


def quietly(function):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's own deprecations
        return function()


class Normalised(Base):
    """The old weight_norm: a hook computes the weight, and keeps it as a plain attribute."""

    def __init__(self):
        super().__init__()
        quietly(lambda: torch.nn.utils.weight_norm(self.first))
        quietly(lambda: torch.nn.utils.weight_norm(self.last, dim=None))

    def forward(self, x):
        return self.last(torch.tanh(self.first(x)))


class Spectral(Base):
    """The old spectral_norm, in eval mode: its weight is an attribute, its vectors are buffers."""

    def __init__(self):
        super().__init__()
        torch.nn.utils.spectral_norm(self.first)
        for _ in range(20):
            self.first(torch.ones(1, 2))  # its power iteration comes to an end
        self.eval()

    def forward(self, x):
        return self.last(torch.tanh(self.first(x)))


class Pruned(Base):
    def __init__(self):
        super().__init__()
        prune.l1_unstructured(self.first, "weight", 2)
        prune.random_unstructured(self.last, "bias", 0)
        prune.ln_structured(self.last, "weight", 1, n=2, dim=1)

    def forward(self, x):
        return self.last(torch.tanh(self.first(x)))


class PrunedTwice(Base):
    """One mask upon another."""

    def __init__(self):
        super().__init__()
        for amount in (1, 2):
            prune.random_unstructured(self.first, "weight", amount)

    def forward(self, x):
        return self.last(torch.tanh(self.first(x)))


class NormalisedAndPruned(Base):
    def __init__(self):
        super().__init__()
        quietly(lambda: torch.nn.utils.weight_norm(self.first))
        prune.l1_unstructured(self.last, "weight", 1)

    def forward(self, x):
        self.hidden = torch.tanh(self.first(x))
        return self.last(self.hidden)


class Parametrised(Base):
    """The new way, by a parametrisation, with its cache switched on in forward."""

    def __init__(self):
        super().__init__()
        parametrizations.weight_norm(self.first)

    def forward(self, x):
        with torch.nn.utils.parametrize.cached():
            return self.last(torch.tanh(self.first(x)))


KEEPING = [
    KeepsAnActivation,
    KeepsItsInput,
    KeepsMany,
    KeepsALoss,
    Caches,
    CachesOne,
    CachesAWeight,
    LateBuffer,
    Counts,
    CountsInATensor,
    Hooked,
    Attends,
    NotAMember,
]
REBUILT = [Normalised, Spectral, Pruned, PrunedTwice, NormalisedAndPruned, Parametrised]
NO_DEEPCOPY = [Normalised, Spectral, Pruned, PrunedTwice, NormalisedAndPruned]  # by torch's own word, before any use
NO_PICKLE = [Parametrised]  # likewise
NETWORKS = [*KEEPING, *REBUILT]
every_network = pytest.mark.parametrize("kind", NETWORKS, ids=lambda kind: kind.__name__)
every_engine = pytest.mark.parametrize("engine", ENGINES)


def contents(module, seen=()):
    """Everything that a module and its parts hold, tensors by value, identity and graph; to be compared."""
    found, seen = {}, (*seen, *module.modules())
    for name, part in module.named_modules():
        for key, value in vars(part).items():
            if key in ("_parameters", "_buffers"):
                for inner, tensor in value.items():
                    found[name, key, inner] = described(tensor, seen)
            elif key not in ("_modules",):
                found[name, key] = described(value, seen)
    return found


def described(value, seen):
    if isinstance(value, torch.Tensor):
        return "tensor", id(value), value.grad_fn is None, value.requires_grad, value.detach().clone()
    if isinstance(value, dict):
        return "dict", {k: described(v, seen) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value).__name__, [described(v, seen) for v in value]
    if isinstance(value, types.SimpleNamespace):
        return "namespace", described(vars(value), seen)
    if isinstance(value, nn.Module):
        return "module", id(value) if any(value is m for m in seen) else contents(value, seen)
    return "other", value if isinstance(value, int | float | str | bool | None) else id(value)


def equal(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(v, b[k]) for k, v in a.items())
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b, strict=True))
    return a == b


def assert_unchanged(network, before):
    after = contents(network)
    changed = [k for k in {**before, **after} if not equal(before.get(k, "absent"), after.get(k, "absent"))]
    assert not changed, changed


@every_engine
@every_network
def test_meta_gradients(engine, kind):
    network, tasks = kind(), batch()
    wanted = expected(network, tasks)
    before = contents(network)
    same(engine, lambda: meta(qs.MAML(network, lr=0.1, steps=2, engine=engine), tasks), wanted)
    assert_unchanged(network, before)


@pytest.mark.parametrize("option", ["checkpoints", "mixed mode", "implicit"])
@every_network
def test_options(kind, option):
    network, tasks = kind(), batch()
    options = {
        "checkpoints": {"checkpoint": "every"},
        "mixed mode": {"mixed_mode": True},
        "implicit": {"implicit": qs.Implicit(iterations=12), "proximal": 40.0, "lr": 0.02, "steps": 18},
    }[option]
    how = {k: options[k] for k in ("proximal", "lr", "steps") if k in options}
    wanted = expected(network, tasks, **how)
    before = contents(network)
    close = lambda a, b: torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-8)  # noqa: E731
    make = lambda: qs.MAML(network, **{"lr": 0.1, "steps": 2, **options})  # noqa: E731
    refusal = "mixed_mode|implicit"
    same(
        "auto",
        lambda: meta(make(), tasks),
        wanted,
        refusal=refusal,
        warning=refusal,
        close=close if option == "implicit" else None,
    )
    assert_unchanged(network, before)


@pytest.mark.parametrize("engine", ["loop", "auto", "batched"])
@every_network
def test_one_task(engine, kind):
    """A plain module of its own, which predicts as it should, twice, and can be trained on, copied and pickled."""
    network, tasks = kind(), batch()
    modules = adapted_modules(network, tasks.support)
    before = contents(network)
    learner = qs.MAML(network, lr=0.1, steps=2, engine=engine)
    try:
        predict, _ = heard(lambda: learner.adapt(tasks.support))
    except (RuntimeError, ValueError) as error:
        assert engine in ("batched", "lowrank") and "'loop'" in str(error), error
        return
    for i in range(2):
        alone, wanted = predict.task(i), modules[i](tasks.query.x[i]).detach()
        for _ in range(2):
            torch.testing.assert_close(alone(tasks.query.x[i]).detach(), wanted, rtol=1e-9, atol=1e-10)
        names = [name for name, _ in network.named_parameters()]
        assert [name for name, _ in alone.named_parameters()] == names
        assert all(isinstance(p, nn.Parameter) and p.is_leaf for p in alone.parameters())
        assert_on_its_own(alone, network)
        alone(tasks.query.x[i]).sum().backward()
        torch.optim.SGD(alone.parameters(), lr=0.1).step()
        assert not torch.allclose(alone(tasks.query.x[i]).detach(), wanted)
    fresh = predict.task(0)
    if kind not in NO_PICKLE:
        again = pickle.loads(pickle.dumps(fresh))
        torch.testing.assert_close(again(tasks.query.x[0]).detach(), modules[0](tasks.query.x[0]).detach())
        torch.save(fresh, io.BytesIO())
    if kind not in NO_DEEPCOPY:
        again = copy.deepcopy(predict.task(0))
        torch.testing.assert_close(again(tasks.query.x[0]).detach(), modules[0](tasks.query.x[0]).detach())
    assert_unchanged(network, before)


def assert_on_its_own(alone, network):
    """No parameter or buffer of the user's is in it."""
    own = {t.data_ptr() for t in (*network.parameters(), *network.buffers()) if t.numel()}
    assert not own & {t.data_ptr() for t in (*alone.parameters(), *alone.buffers()) if t.numel()}


@pytest.mark.parametrize("engine", ["loop", "auto", "batched"])
@every_network
def test_copies_after_use(engine, kind):
    """What could be copied and pickled before can be afterwards, and is the same learner."""
    network, tasks = kind(), batch()
    wanted = expected(network, tasks)
    learner = qs.MAML(network, lr=0.1, steps=2, engine=engine)
    try:
        heard(lambda: learner.meta_loss(tasks).backward())
        predict, _ = heard(lambda: learner.adapt(tasks.support))
        heard(lambda: predict(tasks.query.x))
    except (RuntimeError, ValueError) as error:
        assert engine in ("batched", "lowrank") and "'loop'" in str(error), error
        return
    if kind not in NO_DEEPCOPY:
        again = copy.deepcopy(learner)
        assert_close(heard(lambda: meta(again, tasks))[0], wanted)
        copy.deepcopy(network)(tasks.query.x[0])
        copy.deepcopy(predict)
    if kind not in NO_PICKLE:
        again = pickle.loads(pickle.dumps(learner))
        assert_close(heard(lambda: meta(again, tasks))[0], wanted)
        pickle.loads(pickle.dumps(network))(tasks.query.x[0])
        means = heard(lambda: pickle.loads(pickle.dumps(predict))(tasks.query.x).mean)[0]
        torch.testing.assert_close(means, heard(lambda: predict(tasks.query.x).mean)[0])
    again = kind()
    again.load_state_dict(network.state_dict())


@every_network
def test_a_network_that_has_run_before(kind):
    """It comes with an activation, a cache, a weight of its last pass; they are its own, and stay."""
    network, tasks = kind(), batch()
    wanted = expected(kind(), tasks)
    network(torch.ones(5, 2))
    before = contents(network)
    learner = qs.MAML(network, lr=0.1, steps=2)
    found, _ = heard(lambda: meta(learner, tasks))
    assert_close(found, wanted)
    assert_unchanged(network, before)
    modules = adapted_modules(kind(), tasks.support)
    predict, _ = heard(lambda: learner.adapt(tasks.support))
    alone = predict.task(1)
    torch.testing.assert_close(alone(tasks.query.x[1]).detach(), modules[1](tasks.query.x[1]).detach())
    assert_unchanged(network, before)


@every_network
def test_an_optimizer_moves_what_the_network_computes(kind):
    """Three steps of training: hooks' weights follow the parameters, and none is stale."""
    network, tasks = kind(), batch()
    learner = qs.MAML(network, lr=0.1, steps=2)
    for _ in range(3):
        fresh = kind()
        fresh.load_state_dict(network.state_dict())
        wanted = expected(fresh, tasks)
        found, _ = heard(lambda: meta(learner, tasks))
        assert_close(found, wanted)
        with torch.no_grad():
            for p, g in zip([p for p in network.parameters() if p.requires_grad], found[1:], strict=True):
                p -= 0.1 * g


# networks that refer to themselves: whoever runs a copy must not run half of the original


class InAList(Base):
    """Its layers once more, in the order in which they run."""

    def __init__(self):
        super().__init__()
        self.order = [self.first, nn.Tanh(), self.last]

    def forward(self, x):
        for layer in self.order:
            x = layer(x)
        return x


class InADictionary(Base):
    def __init__(self):
        super().__init__()
        self.heads = {"one": self.last, "both": (self.first, self.last)}

    def forward(self, x):
        return self.heads["one"](torch.tanh(self.heads["both"][0](x)))


class BoundMethod(Base):
    """Picks its way at construction."""

    def __init__(self):
        super().__init__()
        self.run = self.plain

    def plain(self, x):
        return self.last(torch.tanh(self.first(x)))

    def forward(self, x):
        return self.run(x)


class PartialMethod(BoundMethod):
    def __init__(self):
        super().__init__()
        self.run = functools.partial(self.scaled, scale=0.5)

    def scaled(self, x, scale):
        return self.plain(x) * scale


class Lambda(Base):
    def __init__(self):
        super().__init__()
        self.run = lambda x: self.last(torch.tanh(self.first(x)))

    def forward(self, x):
        return self.run(x)


class Closure(Base):
    """A function made in the constructor, of a layer rather than of the network."""

    def __init__(self):
        super().__init__()
        layer = self.first

        def features(x):
            return torch.tanh(layer(x))

        self.features = features

    def forward(self, x):
        return self.last(self.features(x))


class BoundHook(Base):
    """A feature extractor: a hook that is a method of the network keeps what a layer gave."""

    def __init__(self):
        super().__init__()
        self.first.register_forward_hook(self.save)

    def save(self, module, inputs, output):
        self.features = output

    def forward(self, x):
        self.first(x)
        return self.last(torch.tanh(self.features))


class ClosureHook(Base):
    """The same by a closure, over a dictionary of the network's."""

    def __init__(self):
        super().__init__()
        found = self.found = {}
        self.first.register_forward_hook(lambda module, inputs, output: found.update(first=output))

    def forward(self, x):
        self.first(x)
        return self.last(torch.tanh(self.found["first"]))


class WeightHook(Base):
    """A hook before a layer computes with the weights of another."""

    def __init__(self):
        super().__init__()
        self.first.register_forward_pre_hook(lambda module, inputs: (inputs[0] * self.last.weight.mean(),))

    def forward(self, x):
        return self.last(torch.tanh(self.first(x)))


class Child(nn.Module):
    """Knows its parent, as parts of large models do."""

    def __init__(self, parent):
        super().__init__()
        self.parent = [parent]

    def forward(self, x):
        return torch.tanh(self.parent[0].first(x))


class Parent(Base):
    def __init__(self):
        super().__init__()
        self.child = Child(self)

    def forward(self, x):
        return self.last(self.child(x))


class WeakParent(Base):
    def __init__(self):
        super().__init__()
        self.child = nn.Module()
        self.child.parent = weakref.ref(self)

    def forward(self, x):
        return self.last(torch.tanh(self.child.parent().first(x)))


class PatchedForward(Base):
    """An instance's own forward, put there from outside."""

    def __init__(self):
        super().__init__()
        layer, before = self.first, self.first.forward
        layer.forward = lambda x: torch.tanh(before(x))

    def forward(self, x):
        return self.last(self.first(x))


class HeldWeight(Base):
    """A plain attribute, and plain containers, that hold the network's own parameters."""

    def __init__(self, hold):
        super().__init__()
        object.__setattr__(self, "held", hold(self.first.weight))

    def weight(self):
        held = self.held
        while not isinstance(held, torch.Tensor):
            held = next(iter(held.values())) if isinstance(held, dict) else held[0]
        return held

    def forward(self, x):
        return self.last(torch.tanh(x @ self.weight().t() + self.first.bias))


COPIED = {  # by copy.deepcopy, as they should be
    "list": InAList,
    "dictionary": InADictionary,
    "bound method": BoundMethod,
    "partial": PartialMethod,
    "bound hook": BoundHook,
    "parent": Parent,
    "a weight": lambda: HeldWeight(lambda w: w),
    "weights in a list": lambda: HeldWeight(lambda w: [w]),
    "weights in a dictionary": lambda: HeldWeight(lambda w: {"w": w}),
    "weights deep inside": lambda: HeldWeight(lambda w: ({"w": [w]},)),
}
NOT_COPIED = {  # a copy of these would go on with the original: they are held against the network itself
    "lambda": Lambda,
    "closure": Closure,
    "closure hook": ClosureHook,
    "hook of a weight": WeightHook,
    "weak parent": WeakParent,
    "patched forward": PatchedForward,
}


@every_engine
@pytest.mark.parametrize("kind", {**COPIED, **NOT_COPIED})
def test_networks_that_refer_to_themselves(engine, kind):
    make = {**COPIED, **NOT_COPIED}[kind]
    network, tasks = make(), batch()
    wanted = expected(make(), tasks, hold=Inside if kind in NOT_COPIED else holding)
    before = contents(network)
    same(engine, lambda: meta(qs.MAML(network, lr=0.1, steps=2, engine=engine), tasks), wanted)
    if kind != "closure hook":  # which writes where nobody can see that it is the network's own
        assert_unchanged(network, before)


@pytest.mark.parametrize("kind", {**COPIED, **NOT_COPIED})
def test_predictions_of_networks_that_refer_to_themselves(kind):
    """Of the adapted weights, and one task's module either works or cannot be had, in words."""
    network, tasks = {**COPIED, **NOT_COPIED}[kind](), batch()
    hold, wanted = (Inside if kind in NOT_COPIED else holding), []
    for i in range(2):
        weights, buffers = adapt(network, one(tasks.support, i), graph=False, hold=hold)
        wanted.append(hold(network, weights, buffers)(tasks.query.x[i]).detach())
    predict, _ = heard(lambda: qs.MAML(network, lr=0.1, steps=2).adapt(tasks.support))
    found, _ = heard(lambda: predict(tasks.query.x).mean)
    torch.testing.assert_close(found.detach(), torch.stack(wanted), rtol=1e-9, atol=1e-10)
    if kind in COPIED:
        alone = predict.task(1)
        torch.testing.assert_close(alone(tasks.query.x[1]).detach(), wanted[1], rtol=1e-9, atol=1e-10)


# networks that torch or Python will not copy, and networks in wrappers


class Locked(Base):
    """With a lock, a file, an iterator and a logger: no deepcopy, no pickle."""

    def __init__(self):
        super().__init__()
        self.lock, self.file, self.numbers = threading.Lock(), io.StringIO(), iter(range(1000))
        self.log = logging.getLogger("locked")

    def forward(self, x):
        with self.lock:
            next(self.numbers)
            return self.last(torch.tanh(self.first(x)))


class RefusesCopies(Base):
    def __deepcopy__(self, memo):
        raise TypeError("this network is not to be copied")

    def __copy__(self):
        raise TypeError("this network is not to be copied")

    def __reduce_ex__(self, protocol):
        raise TypeError("this network is not to be copied")

    def forward(self, x):
        return self.last(torch.tanh(self.first(x)))


class Asks(Base):
    """An attribute for every name: guesses by `hasattr` are all answered."""

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name.startswith("__"):
                raise
            return 1.0

    def forward(self, x):
        return self.last(torch.tanh(self.first(x))) * self.anything


class Strict(Base):
    """No attribute may be set after the constructor."""

    def __init__(self):
        super().__init__()
        self.closed = True

    def __setattr__(self, name, value):
        if getattr(self, "closed", False) and name != "training":
            raise AttributeError(f"no attribute {name} is to be set")
        super().__setattr__(name, value)

    def forward(self, x):
        return self.last(torch.tanh(self.first(x)))


class NeedsArguments(Base):
    """A constructor that does work, and that nobody should call again."""

    made = 0

    def __init__(self):
        super().__init__()
        type(self).made += 1

    def forward(self, x):
        return self.last(torch.tanh(self.first(x))) * self.made


class SubclassedWeight(Base):
    """A parameter of a class of its own, which a plain tensor would not be."""

    class Weight(nn.Parameter):
        pass

    def __init__(self):
        super().__init__()
        self.last.weight = self.Weight(self.last.weight.detach())

    def forward(self, x):
        return self.last(torch.tanh(self.first(x)))


class Shared(Base):
    """One module under three names, one of them in a list of modules, one weight in two layers."""

    def __init__(self):
        super().__init__()
        self.second = nn.Linear(3, 3)
        self.again, self.all = self.second, nn.ModuleList([self.second, nn.Tanh(), self.second])
        self.third = nn.Linear(3, 3)
        self.third.weight = self.second.weight

    def forward(self, x):
        h = self.first(x)
        for layer in self.all:
            h = layer(h)
        return self.last(torch.tanh(self.third(self.again(h))))


class Plain(Base):
    def forward(self, x):
        return self.last(torch.tanh(self.first(x)))


UNUSUAL = [Locked, RefusesCopies, Asks, Strict, NeedsArguments, SubclassedWeight, Shared]


@every_engine
@pytest.mark.parametrize("kind", UNUSUAL, ids=lambda kind: kind.__name__)
def test_networks_that_are_not_to_be_copied(engine, kind):
    network, tasks = kind(), batch()
    wanted = expected(network, tasks, hold=Inside)
    same(engine, lambda: meta(qs.MAML(network, lr=0.1, steps=2, engine=engine), tasks), wanted)
    learner = qs.MAML(network, lr=0.1, steps=2, engine=engine)
    means = []
    for i in range(2):
        weights, buffers = adapt(network, one(tasks.support, i), graph=False, hold=Inside)
        means.append(Inside(network, weights, buffers)(tasks.query.x[i]).detach())
    same(engine, lambda: [learner.adapt(tasks.support)(tasks.query.x).mean.detach()], [torch.stack(means)])


WRAPPERS = {
    "traced": lambda network: torch.jit.trace(network, torch.ones(4, 2)),
    "scripted": torch.jit.script,
    "data parallel": nn.DataParallel,
    "compiled": lambda network: torch.compile(network, backend="eager"),
    "averaged": torch.optim.swa_utils.AveragedModel,
    "in a list": lambda network: nn.Sequential(network),
    "part of it": lambda network: nn.Sequential(torch.jit.script(network), nn.Linear(1, 1)),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("engine", ["loop", "auto", "batched"])
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_wrapped_networks(engine, wrapper):
    """Their weights are the inner network's, and so is the answer."""
    network, tasks = quietly(lambda: WRAPPERS[wrapper](Plain())), batch()
    plain = nn.Sequential(Plain(), copy.deepcopy(network[1])) if wrapper == "part of it" else Plain()
    wanted = expected(plain, tasks)
    same(engine, lambda: meta(qs.MAML(network, lr=0.1, steps=2, engine=engine), tasks), wanted)
    learner = qs.MAML(network, lr=0.1, steps=2, engine=engine)
    modules = adapted_modules(plain, tasks.support)
    means = torch.stack([m(x) for m, x in zip(modules, tasks.query.x, strict=True)]).detach()
    same(engine, lambda: [learner.adapt(tasks.support)(tasks.query.x).mean.detach()], [means])


# errors of the network's own


class Failing(Base):
    def __init__(self, error, when):
        super().__init__()
        self.error, self.when = error, when

    def forward(self, x):
        if len(x) == self.when:
            raise self.error
        return self.last(torch.tanh(self.first(x)))


ERRORS = [
    KeyError("mine"),
    ValueError("mine"),
    RuntimeError("mine"),
    AttributeError("mine"),
    NotImplementedError("mine"),
]


@every_engine
@pytest.mark.parametrize("when", ["support", "query"])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_of_the_networks_own_is_raised_as_it_is(engine, error, when):
    """Its type and its words; nothing is said of engines, and nothing of the network has changed."""
    network, tasks = Failing(error, 4 if when == "support" else 3), batch()
    before = contents(network)
    learner = qs.MAML(network, lr=0.1, steps=2, engine=engine)
    with pytest.raises(type(error), match="mine"):
        learner.meta_loss(tasks)
    assert_unchanged(network, before)
    network.when = None
    assert_close(meta(learner, tasks), expected(network, tasks))  # and it works once the fault is mended


def test_the_oracle_leaves_networks_alone():
    for kind in NETWORKS:
        network = kind()
        before = contents(network)
        holding(network, dict(network.named_parameters()))(torch.ones(4, 2))
        expected(network, batch())
        assert_unchanged(network, before)


def test_the_oracle_is_what_training_a_copy_gives():
    """One task, one step, by an optimizer on the network itself."""
    for kind in NETWORKS:
        tasks = batch(num_tasks=1)
        [module], trained = adapted_modules(kind(), tasks.support, steps=1), kind()
        loss = (trained(tasks.support.x[0]) - tasks.support.y[0]).square().sum(-1).mean()
        loss.backward()
        torch.optim.SGD(trained.parameters(), lr=0.1).step()
        torch.testing.assert_close(module(tasks.query.x[0]), trained(tasks.query.x[0]))


def test_layers_that_mlp_makes_keep_nothing():
    """The plain case, for comparison: nothing is warned of, whatever the engine."""
    network, tasks = mlp(), batch()
    for engine in ENGINES:
        learner = qs.MAML(network, lr=0.1, steps=2, engine=engine)
        assert not heard(lambda: meta(learner, tasks))[1]
