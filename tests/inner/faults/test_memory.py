"""Nothing of an inner loop outlives its result: neither what Python counts, nor what torch's graphs keep unseen.

A closure inside an autograd Function that reaches the Function's own outputs is a cycle that no collector finds: its
tensors are in no list of Python's. So the data themselves are watched, and the memory of the process.
"""

import ctypes
import gc
import weakref
from contextlib import suppress

import pytest
import torch
from inner.faults.oracle import no_other_warnings, points
from torch import nn

import quickstudy as qs

OPTIONS = {
    "loop": {"engine": "loop"},
    "auto": {},
    "lowrank": {"engine": "lowrank"},
    "checkpoint every": {"checkpoint": "every"},
    "checkpoint sqrt": {"checkpoint": "sqrt"},
    "checkpoint 2, loop": {"checkpoint": 2, "engine": "loop"},
    "mixed mode": {"mixed_mode": True},
    "mixed mode, loop": {"mixed_mode": True, "engine": "loop"},
    "mixed mode, checkpoints": {"mixed_mode": True, "checkpoint": "sqrt"},
    "implicit": {"implicit": qs.Implicit(), "proximal": 1.0},
    "implicit, loop": {"implicit": qs.Implicit(), "proximal": 1.0, "engine": "loop"},
    "truncate": {"truncate": 1},
    "first order": {"first_order": True},
    "momentum, checkpoints": {"rule": qs.optimizers.SGD(0.1, momentum=0.9), "checkpoint": 2},
    "Adam, mixed mode": {"rule": qs.optimizers.Adam(0.1), "mixed_mode": True},
}
every_option = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)


def mlp(width=4):
    return nn.Sequential(nn.Linear(3, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 2))


def made(network, options):
    return qs.inner_loop(network, steps=4, **({"lr": 0.1} | options if "rule" not in options else options))


def squared(model, data, outer):
    x, y = data
    return outer * (model(x) - y).square().sum(-1).mean()


class Asked:
    """A `batch=` that can be watched."""

    def __init__(self, data):
        self.data = data

    def __call__(self, step, adapted):
        return self.data


class Fails(nn.Module):
    """A network that fails once it is told to."""

    def __init__(self):
        super().__init__()
        self.network, self.told = mlp(), {"fail": False}

    def forward(self, x):
        if self.told["fail"]:
            raise ZeroDivisionError("mine")
        return self.network(x)


def meta_step(loop, tasks, backward):
    loss = loop(tasks.support).losses(tasks.query).mean()
    if backward:
        loss.backward()


def some_tasks(size=4):
    return qs.Tasks(qs.Examples(*points(2, size)), qs.Examples(*points(2, size, seed=1)))


@pytest.fixture(scope="module", autouse=True)
def only_what_is_new():
    """What was there before these tests is not looked through again and again."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


with_or_without = pytest.mark.parametrize("backward", [True, False], ids=["backward", "no backward"])


@every_option
@with_or_without
def test_data_are_let_go(options, backward):
    """Of the first call, which is tried, and of later ones."""
    loop = made(mlp(), options)
    watched = []
    for _ in range(3):
        tasks = some_tasks()
        watched += [weakref.ref(t) for t in (tasks.support.x, tasks.support.y, tasks.query.x)]
        with no_other_warnings():
            meta_step(loop, tasks, backward)
        del tasks
    gc.collect()
    assert [ref() for ref in watched] == [None] * len(watched)


@every_option
def test_data_are_let_go_after_an_error_on_the_way_back(options):
    """Where steps are run again, and the network fails then. (Torch itself holds on to the last error.)"""
    network = Fails()
    loop, watched = made(network, options), []
    for _ in range(3):
        tasks, network.told["fail"] = some_tasks(), False
        watched += [weakref.ref(t) for t in (tasks.support.x, tasks.support.y, tasks.query.x)]
        with no_other_warnings():
            loss = loop(tasks.support).losses(tasks.query).mean()
            network.told["fail"] = True
            with suppress(ZeroDivisionError):
                loss.backward()
        del tasks, loss
    gc.collect()
    assert [ref() for ref in watched[:6]] == [None] * 6


@every_option
@with_or_without
def test_functions_and_outer_tensors_are_let_go(options, backward):
    options = {k: v for k, v in options.items() if k != "proximal" or "implicit" in options}
    loop = qs.inner_loop(
        mlp(), objective=squared, steps=4, **({"lr": 0.1} | options if "rule" not in options else options)
    )
    watched = []
    for _ in range(2):
        asked, outer = Asked(points(2)), torch.ones((), requires_grad=True)
        watched += [weakref.ref(asked), weakref.ref(outer)]
        with no_other_warnings():
            loss = loop(batch=asked, num_tasks=2, outer=outer).evaluate(squared, points(2)).sum()
        if backward:
            loss.backward()
        del asked, outer, loss
    gc.collect()
    assert [ref() for ref in watched] == [None] * len(watched)


@every_option
def test_networks_are_let_go(options):
    """A loop, its network and a copy of it: nothing keeps a list of what it has seen."""
    network, loss = mlp(), nn.MSELoss(reduction="none")
    loop = made(network, options | {"loss": lambda output, y: loss(output, y).sum(-1)})
    with no_other_warnings():
        meta_step(loop, some_tasks(), True)
    watched = [weakref.ref(thing) for thing in (network, loop, loss, *network.parameters())]
    del network, loop, loss
    gc.collect()
    assert [ref() for ref in watched] == [None] * len(watched)


@every_option
def test_many_layouts_are_let_go(options):
    """What is remembered of each size of a support set holds none of its data."""
    loop, watched = made(mlp(), options), []
    for size in range(2, 12):
        tasks = some_tasks(size)
        watched += [weakref.ref(tasks.support.x), weakref.ref(tasks.query.y)]
        with no_other_warnings():
            meta_step(loop, tasks, True)
        del tasks
    gc.collect()
    assert [ref() for ref in watched] == [None] * len(watched)


@pytest.mark.parametrize(
    "options", [{}, {"chunk": 1}, {"chunk": 1, "checkpoint": "sqrt"}, {"engine": "loop", "chunk": 1}]
)
@pytest.mark.parametrize("act", ["meta_loss", "backward", "adapt", "append", "explain"])
def test_learners_let_go(options, act):
    learner, watched = qs.MAML(mlp(), lr=0.1, steps=4, **options), []
    for _ in range(2):
        tasks = some_tasks()
        watched += [weakref.ref(tasks.support.x), weakref.ref(tasks.query.x)]
        with no_other_warnings():
            if act in ("meta_loss", "backward"):
                loss = learner.meta_loss(tasks)
                loss = loss.backward() if act == "backward" else None
            elif act == "explain":
                learner.explain(tasks)
            else:
                predictor = learner.adapt(tasks.support)
                predictor = predictor.append(tasks.query) if act == "append" else predictor
                predictor(tasks.query.x)
                del predictor
        del tasks
    gc.collect()
    assert [ref() for ref in watched] == [None] * len(watched)


@every_option
@with_or_without
def test_python_counts_no_more_tensors(options, backward):
    loop = made(mlp(), options)

    def counted(steps):
        with no_other_warnings():
            for _ in range(steps):
                meta_step(loop, some_tasks(), backward)
        gc.collect()
        return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())

    counted(2)
    assert counted(2) == counted(6)


def resident():
    """MiB of this process, after what is free was given back."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 2**20


def growth(options, backward, *, warm, steps, width):
    loop = made(mlp(width), options)

    def run(count):
        with no_other_warnings():
            for _ in range(count):
                meta_step(loop, some_tasks(), backward)

    run(warm)
    before = resident()
    run(steps)
    return resident() - before


@pytest.mark.parametrize(
    "name, backward",
    [*((name, False) for name in OPTIONS), *((name, True) for name in ("auto", "mixed mode", "implicit"))],
)
def test_the_process_does_not_grow(name, backward):
    """A meta-step has about half a MiB of weights and gradients; 20 of them leave less than 3."""
    assert growth(OPTIONS[name], backward, warm=6, steps=20, width=96) < 3


@pytest.mark.slow
@every_option
@with_or_without
def test_the_process_does_not_grow_in_many_steps(options, backward):
    assert growth(options, backward, warm=50, steps=300, width=256) < 16
