"""Which parameters the loss reaches is what each task's own graph says, at each step of each call."""

import itertools
import random

import numpy as np
import pytest
import torch
from inner.faults.oracle import (
    assert_same,
    every_way,
    found,
    judge,
    judge_learner,
    made,
    no_other_warnings,
    of,
    plain,
    points,
    with_weights,
)
from torch import nn

import quickstudy as qs


class Branches(nn.Module):
    """Two layers, of which `choose(self, x)` picks one."""

    def __init__(self, choose):
        super().__init__()
        self.a, self.b, self.leave = nn.Linear(3, 4), nn.Linear(3, 4), nn.Linear(4, 2)
        self.gate, self.choose = nn.Parameter(torch.tensor(0.02)), choose

    def forward(self, x):
        layer = self.a if self.choose(self, x) else self.b
        return self.leave(torch.tanh(layer(x))) + self.gate


class Experts(nn.Module):
    """Every point goes to the expert that its scores prefer; an expert without points is not run."""

    def __init__(self):
        super().__init__()
        self.scores, self.experts = nn.Linear(3, 4), nn.ModuleList(nn.Linear(3, 2) for _ in range(4))

    def forward(self, x):
        weight, chosen = self.scores(x).softmax(-1).max(-1)
        out = x.new_zeros(len(x), 2)
        for i, expert in enumerate(self.experts):
            if (chosen == i).any():
                out = out.index_add(0, (chosen == i).nonzero()[:, 0], expert(x[chosen == i]))
        return out * weight[:, None]


class AsDeepAsNeeded(nn.Module):
    """Layers are run until the features are small."""

    def __init__(self):
        super().__init__()
        self.layers, self.leave = nn.ModuleList(nn.Linear(3, 3) for _ in range(5)), nn.Linear(3, 2)

    def forward(self, x):
        for layer in self.layers:
            x = torch.tanh(layer(x))
            if x.norm() < 1.8:
                break
        return self.leave(x)


class EarlyExit(nn.Module):
    """A head after every layer; the first that is sure enough answers."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(3, 3) for _ in range(3))
        self.heads = nn.ModuleList(nn.Linear(3, 2) for _ in range(3))

    def forward(self, x):
        for layer, head in zip(self.layers, self.heads, strict=True):
            x = torch.tanh(layer(x))
            if head(x).detach().abs().max().item() > 0.9:
                break
        return head(x)


class Cut(nn.Module):
    """For some tasks no gradient goes below the last layer."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x):
        h = torch.tanh(self.body(x))
        return self.head(h if x.mean() > 0 else h.detach())


class Heads(nn.Module):
    """A head for every kind of task."""

    def __init__(self):
        super().__init__()
        self.body, self.heads = nn.Linear(3, 4), nn.ModuleDict({k: nn.Linear(4, 2) for k in "abc"})

    def forward(self, x, kind):
        return self.heads["abc"[int(kind)]](torch.tanh(self.body(x)))


class Two(nn.Module):
    """An output and an auxiliary one."""

    def __init__(self):
        super().__init__()
        self.body, self.main, self.aux = nn.Linear(3, 4), nn.Linear(4, 2), nn.Linear(4, 1)

    def forward(self, x):
        h = torch.tanh(self.body(x))
        return self.main(h), self.aux(h)


def by_sign(network, x):
    return x.sum() > 0


def by_gate(network, x):
    return network.gate > 0


def by_spread(network, x):
    return bool(x.std() > 0.8)


def signed(*signs, seed=0):
    """Points of tasks whose inputs have these signs."""
    x, y = points(len(signs), seed=seed)
    return x.abs() * torch.tensor(signs, dtype=x.dtype)[:, None, None], y


def later(step):
    """Tasks that are alike at first, and differ from the second step on."""
    return signed(1, 1, 1, seed=step) if step == 0 else signed(1, -1, -1, seed=step)


def with_kind(model, data, outer):
    x, y, kind = data
    return (model(x, kind) - y).square().sum(-1).mean()


def pairwise_or_not(model, data, outer):
    """An auxiliary loss for tasks that have an outcome above 1.5 alone."""
    x, y = data
    main, aux = model(x)
    loss = (main - y).square().mean()
    return loss + aux.square().mean() if y.max() > 1.5 else loss


def scaled(*sizes):
    x, y = points(len(sizes))
    return x * torch.tensor(sizes, dtype=x.dtype)[:, None, None], y


def kinds(*kinds, seed=0):
    return (*points(len(kinds), seed=seed), torch.tensor(kinds))


MEMBERS = {
    "layer by the sign of the data": lambda: of(Branches(by_sign), signed(1, -1, 1)),
    "layer by the sign, the first task alone": lambda: of(Branches(by_sign), signed(-1, 1, 1)),
    "layer by the spread of the data": lambda: of(Branches(by_spread), scaled(0.2, 2.0, 1.0)),
    "layer by a weight that crosses zero": lambda: of(
        Branches(by_gate), (points()[0], torch.tensor([9.0, -9.0, 2.0])[:, None, None].expand(3, 4, 2))
    ),
    "layer by the sign, alike at first": lambda: of(Branches(by_sign), later),
    "layer by the sign, in the query alone": lambda: of(Branches(by_sign), signed(1, 1, 1), signed(1, -1, -1)),
    "sparse experts": lambda: of(Experts()),
    "as deep as needed": lambda: of(AsDeepAsNeeded(), scaled(0.1, 5.0, 1.0)),
    "early exit": lambda: of(EarlyExit(), scaled(0.1, 3.0, 1.0)),
    "gradient cut for some": lambda: of(Cut(), signed(1, -1, 1)),
    "gradient cut for the first": lambda: of(Cut(), signed(-1, 1, -1)),
    "a head for each kind": lambda: of(Heads(), kinds(0, 1, 2), kinds(0, 1, 2, seed=1), objective=with_kind),
    "a head for each kind and step": lambda: of(
        Heads(),
        lambda step: kinds(0, step % 3, (2 * step) % 3, seed=step),
        kinds(0, 1, 2, seed=9),
        objective=with_kind,
    ),
    "an auxiliary loss for some": lambda: of(
        Two(), (points()[0], torch.tensor([1.0, 2.0, 1.0])[:, None, None].expand(3, 4, 2)), objective=pairwise_or_not
    ),
}


@every_way
@pytest.mark.parametrize("member", MEMBERS)
def test_what_each_task_reaches(member, way):
    judge(MEMBERS[member](), way)


# a parameter without a gradient takes no step, as in torch.optim: no decay, and no momentum either


def fading(step):
    return signed(1, -1, 1, seed=step) if step != 1 else signed(-1, 1, -1, seed=step)


@every_way
@pytest.mark.parametrize("rule", [{"momentum": 0.9}, {"decay": 0.5}, {"momentum": 0.5, "decay": 0.1}])
def test_what_is_not_reached_does_not_decay_or_coast(way, rule):
    judge(of(Branches(by_sign), fading, **rule), way)


# what changes within a call, by a hand outside


class Switched(nn.Module):
    """A network with parts that are switched on and off from outside."""

    def __init__(self, is_on=lambda: False):
        super().__init__()
        self.body, self.adapter, self.head = nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 2)
        self.other = nn.Linear(4, 2)
        self.is_on, self.which = is_on, "head"

    def forward(self, x):
        h = torch.tanh(self.body(x))
        h = h + self.adapter(h) if self.is_on() else h
        return getattr(self, self.which)(h)


@every_way
def test_a_part_that_is_switched_on_during_the_steps(way):
    switch = {"on": False}

    def data(step):
        switch["on"] = step >= 2
        return points(seed=step)

    judge(of(Switched(lambda: switch["on"]), data), way)


@every_way
def test_an_auxiliary_loss_after_a_warm_up(way):
    progress = {"step": 0}

    def data(step):
        progress["step"] = step
        return points(seed=step)

    def objective(model, data, outer):
        x, y = data
        main, aux = model(x)
        return (main - y).square().mean() + (aux.square().mean() if progress["step"] >= 1 else 0.0)

    judge(of(Two(), data, objective=objective), way)


# what changes between calls of one loop


def switch_on(network):
    network.is_on = lambda: True


def other_head(network):
    network.which = "other"


def thaw(network):
    network.head.requires_grad_(True)


def freeze(network):
    network.body.requires_grad_(False)


def new_layer(network):
    network.head = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2))


def fewer_layers(network):
    network.body = nn.Linear(3, 4, bias=False)


CHANGES = {
    "an adapter switched on": [switch_on],
    "another head": [other_head],
    "both, one after the other": [switch_on, other_head],
    "frozen": [freeze],
    "thawed": [lambda n: n.head.requires_grad_(False), thaw],
    "a layer replaced by two": [new_layer],
    "a layer replaced by a smaller one": [fewer_layers],
}


@every_way
@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_between_calls(change, way):
    problem = of(Switched())
    loop = made(problem, way)
    judge(problem, way, loop)
    for act in CHANGES[change]:
        act(problem.network)
        judge(problem, way, loop)


@every_way
def test_a_count_kept_outside_switches_at_the_fifth_call(way):
    """Of the objective, whoever calls it; before and after that every call is the same."""
    calls = {"past": False}

    def objective(model, data, outer):
        x, y = data
        main, aux = model(x)
        return (main - y).square().mean() + (aux.square().mean() if calls["past"] else 0.0)

    problem = of(Two(), objective=objective)
    loop = made(problem, way)
    for call in range(6):
        calls["past"] = call >= 4
        judge(problem, way, loop)


@every_way
def test_data_of_the_same_shape_that_take_another_branch_in_a_later_call(way):
    network = Branches(by_sign)
    loop = made(of(network), way)
    for signs in ((1, 1, 1), (-1, -1, -1), (1, -1, 1)):
        judge(of(network, signed(*signs)), way, loop)


# layers dropped at random: each task's result is that of some pattern of layers


class DropsLayers(nn.Module):
    def __init__(self, chance):
        super().__init__()
        self.body, self.extra, self.head = nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 2)
        self.chance = chance

    def forward(self, x):
        h = torch.tanh(self.body(x))
        return self.head(h + self.extra(h) if self.chance() < 0.5 else h)


CHANCES = {
    "torch": lambda: torch.rand([]),
    "a draw from torch": lambda: torch.bernoulli(torch.tensor(0.5)).item(),
    "random": random.random,
    "numpy": np.random.rand,
}


@pytest.mark.parametrize("way", ["loop", "auto", "batched", "lowrank"])
@pytest.mark.parametrize("chance", CHANCES)
def test_layers_dropped_at_random(chance, way):
    torch.manual_seed(1), random.seed(1), np.random.seed(1)
    problem = of(DropsLayers(CHANCES[chance]), tasks=2, steps=2, data=points(2), query=points(2, seed=1))
    patterns = list(itertools.product((True, False), repeat=3))
    expected = {}
    for task, pattern in itertools.product(range(2), patterns):
        draws = iter(pattern)
        alone = of(
            with_weights(problem.network, {}, {}),
            tuple(d[task : task + 1] for d in points(2)),
            tuple(d[task : task + 1] for d in points(2, seed=1)),
            tasks=1,
            steps=2,
        )
        alone.network.chance = lambda draws=draws: 0.0 if next(draws) else 1.0
        expected[task, pattern] = plain(alone)
    for _ in range(3):
        try:
            answer = found(problem, made(problem, way))
        except (RuntimeError, ValueError):
            assert way in ("batched", "lowrank")
            return
        for task in range(2):
            fits = [p for p in patterns if torch.allclose(answer.losses[task], expected[task, p].losses[0], rtol=1e-9)]
            assert fits, "no pattern of layers gives this loss"
            weight = expected[task, fits[0]].params["extra.weight"][0]
            torch.testing.assert_close(answer.params["extra.weight"][task], weight, rtol=1e-9, atol=1e-10)


def test_layers_dropped_at_random_for_one_task_are_those_of_plain_pytorch():
    """With one task there is one order of the draws: the meta-gradient is that of the same layers."""
    problem = of(DropsLayers(lambda: torch.rand([])), points(1), points(1, seed=1), tasks=1, steps=4)
    for seed in range(6):
        torch.manual_seed(seed)
        expected = plain(problem)
        for way in ("loop", "auto"):
            torch.manual_seed(seed)
            assert_same(found(problem, made(problem, way)), expected)


# learners


@pytest.mark.parametrize(
    "options", [{"engine": "loop"}, {}, {"chunk": 1}, {"chunk": 2}, {"engine": "loop", "chunk": 2}]
)
def test_learners_see_each_task_too(options):
    problem = of(Branches(by_sign), signed(1, -1, 1), signed(1, -1, 1, seed=1), steps=2)
    learner = qs.MAML(problem.network, lr=problem.rate, steps=2, **options)
    judge_learner(problem, learner)
    with no_other_warnings():
        predictor = learner.adapt(qs.Examples(*problem.data(0)))
    for name, value in plain(problem).params.items():
        torch.testing.assert_close(predictor.adapted.params[name].detach(), value, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("engine", ["loop", "auto"])
def test_explaining_one_batch_decides_nothing_for_the_next(engine):
    """As a notebook does it: explain, then train on tasks that take the other branch."""
    network = Branches(by_sign)
    learner = qs.MAML(network, lr=0.1, steps=2, engine=engine)
    with no_other_warnings():
        learner.explain(qs.Tasks(qs.Examples(*signed(1, 1, 1)), qs.Examples(*signed(1, 1, 1, seed=1))))
    judge_learner(of(network, signed(1, -1, -1), signed(1, -1, -1, seed=1), steps=2), learner)
