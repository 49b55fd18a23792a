"""What was found once is kept for what is alike, and for nothing else: settings, layouts, functions.

Each story changes something after the first call, so that a plan or a verdict that is remembered would be stale.
"""

import functools
import random
from collections import deque
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from inner.faults import unequal
from inner.faults.oracle import WAYS as EVERY_WAY
from inner.faults.oracle import every_way, judge, judge_learner, made, no_other_warnings, of, points, squared
from torch import nn
from torch.nn import functional as F

import quickstudy as qs
from quickstudy.inner.fast.engine import Fast
from quickstudy.inner.modules.settings import Settings, settings_of
from quickstudy.inner.trust import EVERY, SHAKES, UNDECIDED, Trust, difference, shaken

WAYS = ("loop", "auto", "batched", "lowrank")


def seen_in_turn(story, problem, way):
    """The first call, and one after everything that happens in the story."""
    loop = made(problem, way)
    judge(problem, way, loop)
    for happens in story:
        happens(problem.network)
        judge(problem, way, loop)


# layers that are set in another way, with shapes that do not tell


class Image(nn.Module):
    """Signals `[N, 8]` through a convolution of `kind`."""

    def __init__(self, kind=nn.Conv1d, **options):
        super().__init__()
        size = {nn.Conv1d: (8,), nn.Conv2d: (4, 2), nn.Conv3d: (2, 2, 2)}[kind]
        self.shape_in = nn.Unflatten(1, (1, *size))
        self.layer = kind(1, 2, 3, padding=1, **options)
        self.last = nn.Linear(16, 2)

    def forward(self, x):
        return self.last(torch.tanh(self.layer(self.shape_in(x))).flatten(1))


def wider(network):
    """As DeepLab does: another dilation, and padding that keeps the size."""
    many = len(network.layer.kernel_size)
    network.layer.dilation, network.layer.padding = (2,) * many, (2,) * many


def circular(network):
    network.layer.padding_mode = "reflect"
    network.layer._reversed_padding_repeated_twice = [1, 1]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("kind", "act"), [(nn.Conv1d, wider), (nn.Conv2d, wider), (nn.Conv3d, wider), (nn.Conv1d, circular)]
)
def test_a_convolution_that_is_set_in_another_way(kind, act, way):
    data = points(inputs=8)
    seen_in_turn([act], of(Image(kind), data, points(inputs=8, seed=1)), way)


class Flags(nn.Module):
    """A bias that is added by a flag, which a container, a namespace or a closure holds."""

    def __init__(self, flags, on):
        super().__init__()
        self.first, self.last, self.flags, self.on = nn.Linear(3, 4), nn.Linear(4, 2), flags, on

    def forward(self, x):
        bias = self.first.bias if self.on(self.flags) else None
        return self.last(torch.tanh(F.linear(x, self.first.weight, bias)))


HELD = {
    "list": (lambda: [True], lambda f: f[0], lambda f: f.__setitem__(0, False)),
    "dictionary": (lambda: {"bias": {"on": True}}, lambda f: f["bias"]["on"], lambda f: f["bias"].update(on=False)),
    "namespace": (lambda: SimpleNamespace(on=True), lambda f: f.on, lambda f: setattr(f, "on", False)),
    "deque": (lambda: deque([True]), lambda f: f[0], lambda f: f.appendleft(False)),
    "set": (lambda: {"bias"}, lambda f: "bias" in f, lambda f: f.clear()),
    "tuple in a list": (lambda: [(1, True)], lambda f: f[0][1], lambda f: f.__setitem__(0, (1, False))),
    "partial": (
        lambda: [functools.partial(bool, True)],
        lambda f: f[0](),
        lambda f: f.__setitem__(0, functools.partial(bool, False)),
    ),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("place", HELD)
def test_a_bias_by_a_flag(place, way):
    make, on, switch = HELD[place]
    flags = make()
    network = Flags(flags, on)
    before = settings_of(network)
    seen_in_turn([lambda network: switch(flags)], of(network), way)
    assert settings_of(network) != before


# functions that are told apart

SAME = nn.Identity()


def settings_of_function(function):
    return settings_of(SAME, function)


def with_default(kind):
    def loss(model, data, outer=None, kind=kind):
        return kind * squared(model, data)

    return loss


class Scored:
    """A method's owner says how."""

    def __init__(self, mode):
        self.mode, self.calls = mode, 0

    def loss(self, model, data, outer=None):
        return squared(model, data)


def scale(factor, model, data, outer=None):
    return factor * squared(model, data)


TOLD_APART = {
    "partial": lambda v: functools.partial(scale, v),
    "default": with_default,
    "closure": lambda v: lambda model, data, outer=None: v * squared(model, data),
    "bound method": lambda v: Scored(str(v)).loss,
    "nested": lambda v: functools.partial(lambda f, *a: f(*a), with_default(v)),
    "builtin": lambda v: (torch.sum, torch.mean)[v == 1.5],
}


@pytest.mark.parametrize("kind", TOLD_APART)
def test_functions_that_do_other_things_have_other_settings(kind):
    make = TOLD_APART[kind]
    assert settings_of_function(make(1.5)) == settings_of_function(make(1.5))
    assert settings_of_function(make(1.5)) != settings_of_function(make(2.5))


def test_numbers_that_change_with_every_call_are_soon_no_settings():
    """Everything would be tried anew at each call."""
    held, settings = SimpleNamespace(calls=0, mode="mean"), Settings()

    def loss(model, data, outer=None):
        return held

    few = {settings(SAME, loss)}
    for held.calls in (1, 2, 3):
        few.add(settings(SAME, loss))
    assert len(few) == 4
    for held.calls in range(200):
        settings(SAME, loss)
    before = settings(SAME, loss)
    held.calls = 1000
    assert settings(SAME, loss) == before
    held.mode = "sum"
    assert settings(SAME, loss) != before


def test_counts_of_an_owner_are_no_settings():
    owner = Scored("mean")
    before = settings_of_function(owner.loss)
    owner.calls = 6
    assert settings_of_function(owner.loss) == before
    owner.mode = "sum"
    assert settings_of_function(owner.loss) != before


@pytest.mark.parametrize("masked", [True, False])
def test_a_schedule_does_not_have_everything_planned_anew(masked):
    network = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    x, y = points()
    mask = torch.tensor([[True] * 4, [True, True, False, False], [True] * 3 + [False]]) if masked else None
    loop, held = qs.inner_loop(network, lr=0.1, loss=lambda o, y: (o - y).square().sum(-1)), {"step": 0}
    network.held = held
    for i in range(120):
        held["step"], network.temperature = i, 0.99**i
        loop(qs.Examples(x, y, mask))
    assert len(loop.choice.plans) < 70 and len(loop.choice.mixing.found) < 70


def test_networks_that_lead_back_to_themselves_have_settings():
    network = Flags([True], lambda f: f[0])
    network.forward_of = network.forward
    network.hold = {"me": [network], "f": lambda: network}
    assert settings_of(network) == settings_of(network)


def test_a_hook_that_takes_another_one_s_place():
    """The memory of a function that is gone may be another's, and so may its id."""
    network, keys = nn.Linear(2, 2), set()
    for i in range(50):
        handle = network.register_full_backward_hook(eval(f"lambda m, a, b: {i}"))
        keys.add(settings_of(network))
        handle.remove()
    assert len(keys) == 50


@pytest.mark.parametrize("way", ["auto", "batched"])
def test_functions_of_the_adapted_networks_are_verified_each(way):
    """One is harmless, and one hooks its tensors; both are partials of one type."""

    def plain_one(model, data, outer):
        return squared(model, data)

    def hooking(model, data, outer):
        out = model(data[0])
        out.register_hook(lambda g: g.clamp(-0.01, 0.01))
        return (out - data[1]).square().sum(-1).mean()

    torch.manual_seed(0)
    problem = of(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)))
    answers = []
    for engine in ("loop", way):
        with no_other_warnings():
            adapted = made(problem, engine)(batch=lambda step, a: problem.data(step), num_tasks=3)
            adapted.evaluate(functools.partial(plain_one), problem.query)
            try:
                value = adapted.evaluate(functools.partial(hooking), problem.query).sum()
            except RuntimeError as error:
                assert way == "batched" and "engine=" in str(error)
                return
        answers.append(torch.autograd.grad(value, list(problem.network.parameters())))
    for a, b in zip(*answers, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("steps", [0, 2])
@pytest.mark.parametrize("factor", [1.0, 2.0], ids=["right", "wrong"])
def test_rounding_of_a_function_at_its_minimum_is_no_difference(steps, factor, monkeypatch):
    """The divergence from its own outputs, in float32: all that is left of values and gradients is rounding.

    Away from the minimum an engine that is wrong is refused.
    """
    right = Fast.evaluate

    def rounds_otherwise(self, problem, state, function, data, outer, step):
        shared = {k: p * (1 + 1e-7) for k, p in state.shared.items()}
        value, buffers = right(self, problem, state._replace(shared=shared), function, data, outer, step)
        return factor * value, buffers

    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2)).float()  # here the default is double
    x, y = (t.float() for t in points())
    adapted = qs.MAML(network, lr=0.1, steps=steps).inner(qs.Examples(x, y))
    before = adapted(x).detach()
    monkeypatch.setattr(Fast, "evaluate", rounds_otherwise)

    def divergence(model, data, outer):
        belief, now = data[1].log_softmax(-1), model(data[0]).log_softmax(-1)
        return (belief.exp() * (belief - now)).sum(-1).mean()

    adapted.evaluate(divergence, (x, before))  # warnings are errors
    if factor == 1.0:
        adapted.evaluate(divergence, (x, before + torch.randn_like(before)))
    else:
        with pytest.warns(RuntimeWarning, match="tasks run one by one"):
            adapted.evaluate(divergence, (x, before + torch.randn_like(before)))


# what else a call depends on


@pytest.mark.parametrize("way", WAYS)
def test_the_objective_s_own_switch(way):
    def objective(model, data, outer):
        x, y = data
        out = model(x)
        if outer["penalise"]:
            out = F.normalize(model[0].weight).sum() + out
        return (out - y).square().sum(-1).mean()

    torch.manual_seed(0)
    network, switch = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)), {"penalise": False}
    problem = of(network, objective=objective)
    for on in (False, True, False):
        switch = {"penalise": on}
        fixed = problem._replace(objective=lambda m, d, o, on=on: objective(m, d, {"penalise": on}))
        expected = of_plain(fixed)
        loop = made(problem, way) if not on and switch else loop
        with no_other_warnings():
            adapted = loop(batch=lambda step, a: problem.data(step), num_tasks=3, outer=switch)
            losses = adapted.evaluate(objective, problem.query, switch)
        torch.testing.assert_close(losses, expected, rtol=1e-9, atol=1e-12)


def of_plain(problem):
    from inner.faults.oracle import plain

    return plain(problem).losses


class Norms(nn.Module):
    """A rule that may divide by the norm of what it is given; torch's norm is over all tasks."""

    linear = False

    def __init__(self):
        super().__init__()
        self.lr, self.normalised = 0.1, False

    def update(self, name, step, value, gradient, memory):
        if self.normalised:
            gradient = gradient / gradient.norm()
        return value - self.lr * gradient, None


def test_a_rule_that_is_switched():
    torch.manual_seed(0)
    network, rule = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)), Norms()
    x, y = points()
    support = qs.Examples(x, y)
    loop, by_one = (qs.inner_loop(network, rule=rule, steps=2, engine=e) for e in ("auto", "loop"))
    for rule.normalised in (False, True, False):
        with no_other_warnings():
            torch.testing.assert_close(loop(support).losses(support), by_one(support).losses(support))


class Counts(Norms):
    """A rule that counts its updates."""

    def __init__(self):
        super().__init__()
        self.updates = 0

    def update(self, name, step, value, gradient, memory):
        self.updates += 1
        return super().update(name, step, value, gradient, memory)


def test_verifying_leaves_no_trace_in_a_rule():
    network, rule = nn.Linear(3, 2), Counts()
    support = qs.Examples(*points())
    loop = qs.inner_loop(network.double(), rule=rule, steps=2)
    loop(support)
    assert rule.updates == 4  # two parameters, two steps
    loop(support)
    assert rule.updates == 8


# losses that mix points, which padding must not enter


def balanced(output, y):
    """Every point counts as if all values were equally frequent."""
    return (output - y).square().sum(-1) / (y[:, None, 0].round() == y[None, :, 0].round()).sum(1)


def by_spread(output, y):
    return (output - y).square().sum(-1) / (1 + y.var())


def of_the_worst(output, y):
    return (output - y).square().sum(-1) * (output - y).abs().max().detach()


@pytest.mark.parametrize("loss", [balanced, by_spread, of_the_worst])
@pytest.mark.parametrize("support_too", [True, False])
def test_a_loss_that_mixes_points_and_padding(loss, support_too):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    x, y = points()
    mask = torch.tensor([[True, True, True, True], [True, True, False, False], [True, True, True, False]])
    padded, whole = qs.Examples(x, y, mask), qs.Examples(x, y)
    support = padded if support_too else whole
    found = []
    for engine in ("loop", "auto"):
        with no_other_warnings():
            losses = qs.inner_loop(network, loss=loss, lr=0.1, engine=engine)(support).losses(padded)
            found.append((losses, *torch.autograd.grad(losses.sum(), list(network.parameters()))))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_of_many_settings_that_were_refused_the_next_is_refused():
    """A number of the network's changes at every call, and what it does is never what one pass would."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    x, y = points()
    mask = torch.tensor([[True, True, True, True], [True, True, False, False], [True, True, True, False]])
    loop, by_one = (qs.inner_loop(network, loss=balanced, lr=0.1, engine=e) for e in ("auto", "loop"))
    support = qs.Examples(x, y, mask)
    for i in range(EVERY + 10):
        network.temperature = 0.99**i
        with no_other_warnings():
            found = loop(support).params["0.weight"]
        torch.testing.assert_close(found, by_one(support).params["0.weight"], rtol=1e-9, atol=1e-12)


# what is carried from pass to pass


class Remembers(nn.Module):
    """A moving mean of its features, kept as a plain attribute, is added to them."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(3, 4), nn.Linear(4, 2)
        self.mean = torch.zeros(4, dtype=torch.float64)

    def forward(self, x):
        h = torch.tanh(self.first(x))
        self.mean = 0.9 * self.mean + 0.1 * h.detach().mean(0)
        return self.last(h + self.mean)


@pytest.mark.parametrize("graph", [True, False])
@pytest.mark.parametrize("steps", [1, 2])
def test_predictions_of_a_network_that_remembers_its_last_pass(steps, graph):
    torch.manual_seed(0)
    network, support = Remembers().double(), qs.Examples(*points())
    found = []
    for engine in ("loop", "auto"):
        with no_other_warnings():
            loop = qs.inner_loop(network, lr=0.1, steps=steps, engine=engine)
            found.append(loop(support, create_graph=graph)(support.x).detach())
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-12)


def test_a_loss_that_judges_alone_is_verified_without_a_graph():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    x, y = points()
    mask = torch.tensor([[True, True, True, True], [True, True, False, False], [True, True, True, False]])
    support, found = qs.Examples(x, y, mask), []
    for engine in ("loop", "auto"):
        with no_other_warnings():
            options = {"inner_loss": lambda o, y: (o - y).abs().sum(-1), "loss": of_the_worst, "engine": engine}
            found.append(qs.inner_loop(network, lr=0.1, **options)(support, create_graph=False).losses(support))
    torch.testing.assert_close(*(f.detach() for f in found), rtol=1e-9, atol=1e-12)


# how much is excused


def of_one(value):
    return {"the adapted w": torch.tensor([value], dtype=torch.float32)}


def test_rounding_excuses_little():
    right, other = of_one(1.0), of_one(1.02)  # as where an inner loop diverges
    assert difference(of_one(1.0 + 1e-5), right) is None
    assert "differs" in difference(of_one(1.005), right)
    assert difference(of_one(1.005), right, other) is None
    assert difference(of_one(1.5), right, other) is UNDECIDED
    assert "differs" in difference(of_one(1.5), right, of_one(1.00001))


@pytest.mark.parametrize("flips", [0, 5, None])
def test_a_unit_at_its_kink_is_no_difference_if_some_last_digits_turn_it_on(flips):
    """Adam's first step is as long for a gradient of 1e-9 as for one of 1, and there is none if the unit is off."""
    seen = []

    def rounded(seed):
        seen.append(seed)
        return of_one(0.2 if seed == flips else 1.0)

    ways = {"fast": lambda: of_one(0.2), "plain": lambda: of_one(1.0), "rounded": rounded}
    said = Trust("auto", True).objection(("steps", True), 0, **ways)
    assert ("differs by 8.0e-01" in said) if flips is None else said is None
    assert seen == list(range(SHAKES if flips is None else flips + 1))


def test_other_last_digits_differ_from_each_other():
    weights = torch.ones(100)
    found = [shaken(weights, seed=seed) for seed in range(3)]
    assert all((one - weights).abs().max() < 1e-5 for one in found)
    assert not torch.equal(found[0], found[1]) and not torch.equal(found[1], found[2])


def test_a_large_gradient_of_a_rate_hides_no_other():
    right = {"the rule's meta-gradient of lr": torch.tensor([1e6]), "the meta-gradient of w": torch.tensor([1.0])}
    found = right | {"the meta-gradient of w": torch.tensor([2.0])}
    assert "of w" in difference(found, right)


def test_a_mask_of_infinities_is_no_reason_to_verify_again():
    network = nn.Sequential(nn.Linear(3, 2)).double()
    network.register_buffer("mask", torch.full((2, 2), -torch.inf).triu(1))
    loop = qs.inner_loop(network, lr=0.1)
    for _ in range(3):
        loop(qs.Examples(*points()))
    assert len(loop.choice.trust.verdicts) == 1


# the rest


@every_way
def test_support_points_that_are_learned(way):
    """A gradient by the data is a gradient like another."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    x, y = points()
    found = []
    for engine in ("loop", way):
        learned = x.clone().requires_grad_()
        options = {"engine": engine} if engine == "loop" else EVERY_WAY[way]
        losses = qs.inner_loop(network, lr=0.1, steps=2, **options)(qs.Examples(learned, y)).losses(qs.Examples(x, y))
        found.append(torch.autograd.grad(losses.sum(), [learned, *network.parameters()]))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("layer", [qs.nets.TaskNorm, qs.nets.MetaBatchNorm])
def test_layers_that_need_a_support_set_are_not_served_by_batches(layer):
    network = nn.Sequential(nn.Linear(3, 4), layer(4), nn.Linear(4, 2)).double()
    loop = qs.inner_loop(network, objective=squared, lr=0.1)
    with pytest.raises(ValueError, match="support points"):
        loop(batch=lambda step, adapted: points(), num_tasks=3)


class Clips(torch.autograd.Function):
    """The identity, whose gradient is clipped; by its own derivative nothing is."""

    generate_vmap_rule = True

    @staticmethod
    def forward(h):
        return h.clone()

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, g):
        return g.clamp(-0.05, 0.05)


def test_implicit_gradients_refuse_a_function_without_a_hessian():
    class Clipped(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(3, 4), nn.Linear(4, 2)

        def forward(self, x):
            return self.last(Clips.apply(self.first(x)))

    torch.manual_seed(0)
    loop = qs.inner_loop(Clipped().double(), lr=0.1, steps=5, implicit=qs.Implicit(), proximal=1.0, engine="loop")
    with pytest.raises(RuntimeError, match="Function"):
        loop(qs.Examples(*points()))


@pytest.mark.parametrize("engine", ["loop", "auto"])
@pytest.mark.parametrize("given", [1, 2, 5])
def test_points_of_another_number_of_tasks_are_refused(engine, given):
    network = nn.Sequential(nn.Linear(3, 2)).double()
    adapted = qs.inner_loop(network, lr=0.1, engine=engine)(qs.Examples(*points()))
    with pytest.raises(ValueError, match="3 tasks"):
        adapted(torch.zeros(given, 4, 3, dtype=torch.float64))


@pytest.mark.parametrize("engine", ["loop", "auto", "batched"])
@pytest.mark.parametrize("steps", [0, 1])
def test_the_same_random_numbers_for_all_tasks(engine, steps):
    network = nn.Sequential(nn.Linear(3, 64), nn.Dropout(0.5), nn.Linear(64, 2)).double()
    x, y = (t[:1].expand(3, -1, -1) for t in points())
    adapted = qs.inner_loop(network, lr=0.1, steps=steps, engine=engine, randomness="same")(qs.Examples(x, y))
    out = adapted(x)
    torch.testing.assert_close(out[0], out[1], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(out[0], out[2], rtol=1e-9, atol=1e-12)


def test_statistics_beside_a_sparse_buffer():
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).double()
    network.register_buffer("graph", torch.eye(2).to_sparse())
    learner = qs.MAML(network, lr=0.1)
    data = qs.Examples(*points())
    with no_other_warnings():
        learner.meta_loss(qs.Tasks(data, data)).backward()
    assert network[1].num_batches_tracked == 2  # support and query


class History(list):
    """A container of the user's own kind."""


def test_what_a_container_of_the_user_s_own_kind_holds_is_not_written_into():
    class Writes(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.kept = nn.Linear(3, 2), History([torch.zeros(2, dtype=torch.float64)])

        def forward(self, x):
            out = self.layer(x)
            self.kept[0].add_(out.detach().mean(0))
            return out

    network = Writes().double()
    learner = qs.MAML(network, lr=0.1)
    data = qs.Examples(*points())
    for _ in range(2):
        with no_other_warnings():
            learner.adapt(data)
    assert torch.equal(network.kept[0], torch.zeros(2, dtype=torch.float64)) and type(network.kept) is History


@pytest.mark.slow
def test_a_compiled_gradient_is_compared_with_the_eager_one(monkeypatch):
    """Outside of `fit`, too: one that is wrong is not used."""
    import quickstudy.compiling.compiled as compiled

    right = compiled._graphs

    def wrong(learner, tasks, backend):
        gradient = right(learner, tasks, "aot_eager")

        def halved(tasks):
            loss, grads = gradient(tasks)
            return loss, [0.5 * g for g in grads]

        return halved

    monkeypatch.setattr(compiled, "_graphs", wrong)
    network = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    learner = qs.MAML(network, lr=0.1, steps=2, compile=True)
    for _ in range(2):
        judge_learner(of(network, steps=2), learner)


# layers that are exchanged, and switches wherever they are held


class Centres(nn.Module):
    """Mixes points."""

    def forward(self, x):
        return x - x.mean(0)


class Stops(nn.Module):
    """Changes gradients by a hook."""

    def forward(self, x):
        if x.requires_grad:
            x.register_hook(lambda g: g * (0.05 / g.norm().clamp_min(1e-9)))
        return x


class Settled:
    """Classes that hold a switch, with slots and without."""

    centre = False


@dataclass(slots=True)
class Slots:
    centre: bool = False


class Many:
    """A configuration of many entries."""

    def __init__(self):
        self.__dict__ |= {f"entry{i}": i for i in range(40)} | {"centre": False}


MANY, SLOTS, DEEP, EPOCH = Many(), Slots(), SimpleNamespace(a=SimpleNamespace(b=SimpleNamespace(c=Slots()))), 0
NUMBER = SimpleNamespace(epoch=0)


class Switched(nn.Module):
    """`on()` says whether points are centred."""

    by_class = False

    def __init__(self, on):
        super().__init__()
        self.first, self.last, self.on = nn.Linear(3, 4), nn.Linear(4, 2), on

    def forward(self, x):
        h = torch.tanh(self.first(x))
        return self.last(h - h.mean(0) if self.now() else h)

    def now(self):
        return self.on(self)


def set_epoch(value):
    globals()["EPOCH"] = value


SWITCHES = {
    "a class": (lambda n: Settled.centre, lambda n: setattr(Settled, "centre", True)),
    "the network's class": (lambda n: n.by_class, lambda n: setattr(type(n), "by_class", True)),
    "slots": (lambda n: SLOTS.centre, lambda n: setattr(SLOTS, "centre", True)),
    "one of many": (lambda n: MANY.centre, lambda n: setattr(MANY, "centre", True)),
    "deep inside": (lambda n: DEEP.a.b.c.centre, lambda n: setattr(DEEP.a.b.c, "centre", True)),
    "a number": (lambda n: NUMBER.epoch > 3, lambda n: setattr(NUMBER, "epoch", 5)),
    "a global number": (lambda n: EPOCH > 3, lambda n: set_epoch(5)),
    "another function": (lambda n: False, lambda n: setattr(n, "on", lambda n: True)),
    "a module of python's": (lambda n: unequal.CENTRE, lambda n: setattr(unequal, "CENTRE", True)),
}


def masked_points():
    mask = torch.tensor([[True] * 4, [True, True, False, False], [True] * 3 + [False]])
    return qs.Examples(*points(), mask)


@pytest.mark.parametrize("place", SWITCHES)
def test_a_switch_that_makes_a_network_mix_points(place, monkeypatch):
    monkeypatch.setattr(unequal, "CENTRE", False, raising=False)
    on, act = SWITCHES[place]
    torch.manual_seed(0)
    network = Switched(on).double()
    auto, by_one = (qs.inner_loop(network, lr=0.1, steps=2, engine=e) for e in ("auto", "loop"))
    for happens in (lambda n: None, act):
        happens(network)
        with no_other_warnings():
            found, right = (loop(masked_points()).losses(masked_points()) for loop in (auto, by_one))
        torch.testing.assert_close(found, right, rtol=1e-9, atol=1e-12)


def exchange(network):
    network[2] = Centres()


def hook_instead(network):
    network[1] = Stops()


def other_class(network):
    network[2].__class__ = Centres


@pytest.mark.parametrize("act", [exchange, hook_instead, other_class])
def test_a_layer_that_is_exchanged(act):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Identity(), nn.Linear(4, 2)).double()
    auto, by_one = (qs.inner_loop(network, lr=0.1, steps=2, engine=e) for e in ("auto", "loop"))
    for happens in (lambda n: None, act):
        happens(network)
        with no_other_warnings():
            found, right = (loop(masked_points()) for loop in (auto, by_one))
        for name, value in right.params.items():
            torch.testing.assert_close(found.params[name], value, rtol=1e-9, atol=1e-12)


def test_a_tensor_that_begins_to_need_a_gradient():
    weight = torch.tensor(1.3, dtype=torch.float64)
    loop = qs.inner_loop(
        nn.Linear(3, 2).double(),
        loss=lambda o, y: (weight * (o - y).square()).sum(-1),
        lr=0.1,
        steps=4,
        engine="loop",
        checkpoint="sqrt",
    )
    support = qs.Examples(*points())
    loop(support)
    weight.requires_grad_()
    with pytest.raises(ValueError, match="outer="):
        loop(support)


# labels that tell little


def over_present_classes(out, y):
    seen = torch.full((3,), -1e9, dtype=out.dtype).scatter(0, y, 0.0)
    return F.cross_entropy(out + seen, y, reduction="none")


def by_frequency(out, y):
    count = torch.zeros(3, dtype=out.dtype).scatter_add(0, y, torch.ones_like(y, dtype=out.dtype))
    return F.cross_entropy(out, y, reduction="none") / count.clamp_min(1)[y]


def by_prototype(out, y):
    sums = torch.zeros(3, out.shape[1], dtype=out.dtype).index_add(0, y, out)
    return (out - sums[y]).square().sum(-1)


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize("loss", [over_present_classes, by_frequency, by_prototype])
def test_losses_that_count_labels(loss, verify):
    """Labels are sorted, and begin with many of the last class."""
    torch.manual_seed(0)
    x = torch.randn(3, 12, 3, dtype=torch.float64)
    y = torch.zeros(3, 12, dtype=torch.long)
    y[:, :7], y[1, 7:] = 2, 1
    support = qs.Examples(x, y, torch.arange(12)[None] < torch.tensor([12, 9, 8])[:, None])
    network = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    found = []
    for engine in ("loop", "auto"):
        with no_other_warnings():
            loop = qs.inner_loop(network, loss=loss, lr=0.1, engine=engine, verify=verify)
            found.append(loop(support).losses(support))
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("loss", [F.cross_entropy, F.nll_loss, F.mse_loss, F.huber_loss, F.l1_loss])
def test_losses_of_single_points_share_a_pass(loss):
    classes = loss in (F.cross_entropy, F.nll_loss)
    x, y = points(outputs=1)
    y = torch.randint(0, 3, (3, 4)) if classes else y
    mask = torch.tensor([[True] * 4, [True, True, False, False], [True] * 3 + [False]])

    def each(out, y):
        found = loss(out, y, reduction="none")
        return found if classes else found.sum(-1)

    loop = qs.inner_loop(nn.Linear(3, 3 if classes else 1).double(), loss=each, lr=0.1)
    assert not loop.choice.mixing(loop.problem, qs.Examples(x, y, mask))


@pytest.mark.parametrize("draw", [random.random, np.random.rand])
def test_layers_dropped_by_others_random_numbers_run_in_turn(draw):
    class Drops(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(3, 3), nn.Linear(3, 2)

        def forward(self, x):
            return self.last(self.first(x) if draw() > 0.5 else x)

    torch.manual_seed(0)
    network, support, found = Drops().double(), qs.Examples(*points()), []
    for engine in ("loop", "auto"):
        with no_other_warnings():
            loop = qs.inner_loop(network, lr=0.1, engine=engine)
            loop(support)
            random.seed(5), np.random.seed(5)
            found.append(loop(support).params["first.weight"].detach())
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-12)


def test_trying_leaves_no_trace_in_containers_and_closures():
    count, calls, held = 0, [], {"n": 0}

    def loss(out, y):
        nonlocal count
        count += 1
        calls.append(float(out.detach().sum()) if not torch._C._functorch.maybe_current_level() else 0.0)
        held["n"] += 1
        return (out - y).square().sum(-1)

    network, support = nn.Linear(3, 2).double(), qs.Examples(*points())
    loop = qs.inner_loop(network, loss=loss, lr=0.1)
    loop(support)
    assert count == 1 and held == {"n": 1} and len(calls) == 1  # one pass over all tasks


def test_a_node_that_torch_itself_is_asked_for():
    class Clipped(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(3, 4), nn.Linear(4, 2)

        def forward(self, x):
            h = self.first(x)
            if h.requires_grad:
                torch.autograd.graph.get_gradient_edge(h).node.register_prehook(lambda g: (g[0].clamp(-5, 5),))
            return self.last(torch.tanh(h))

    torch.manual_seed(0)
    network, (x, y), found = Clipped().double(), points(), []
    support = qs.Examples(x, y * torch.tensor([1.0, 100.0, 1.0]).view(3, 1, 1))
    for engine in ("loop", "auto"):
        with no_other_warnings():
            found.append(qs.inner_loop(network, lr=0.001, steps=2, engine=engine)(support).losses(support))
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-12)
