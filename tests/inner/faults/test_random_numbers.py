"""Random numbers in a network that is run again: torch's own fall the same way; any others are found out.

Whether a step that is run again draws what it drew is seen by comparing what comes out. With one task there is one
order of the draws, so that the result is that of plain PyTorch, or is refused on the way back, by name.
"""

import itertools
import os
import random
import re
import time

import numpy as np
import pytest
import torch
from inner.faults.oracle import (
    WAYS,
    allowed_to_refuse,
    assert_same,
    every_way,
    found,
    gradient,
    judge,
    made,
    no_other_warnings,
    of,
    plain,
    points,
)
from torch import nn

import quickstudy as qs

ONE_BY_ONE = [way for way in WAYS if way not in ("batched", "lowrank")]  # those draw for all tasks at once
RUN_AGAIN = ["loop, checkpoints", "loop, mixed mode", "auto, mixed mode, checkpoints"]
RANDOM = re.compile("random|engine=")


class Noisy(nn.Module):
    """Noise between two layers."""

    def __init__(self, noise):
        super().__init__()
        self.first, self.last, self.noise = nn.Linear(3, 4), nn.Linear(4, 2), noise

    def forward(self, x):
        return self.last(torch.tanh(self.first(x) * (1 + self.noise())))


def generator_of_torch():
    own = torch.Generator().manual_seed(1)
    return lambda: torch.randn(4, generator=own)


def numpy_global():
    np.random.seed(1)
    return lambda: torch.from_numpy(np.random.standard_normal(4))


def numpy_own():
    own = np.random.default_rng(1)
    return lambda: torch.from_numpy(own.standard_normal(4))


def python_global():
    random.seed(1)
    return lambda: random.gauss(0.0, 1.0)


def python_own():
    own = random.Random(1)
    return lambda: own.random()


def a_count():
    count = itertools.count()
    return lambda: 0.1 * next(count)


def a_table():
    """Noise drawn beforehand, taken in turn."""
    table, place = torch.randn(50, 4, generator=torch.Generator().manual_seed(1)), itertools.count()
    return lambda: table[next(place) % 50]


def a_stream():
    numbers = iter(torch.randn(1000, generator=torch.Generator().manual_seed(1)).tolist())
    return lambda: next(numbers)


def a_state():
    """A logistic map, chaotic."""
    state = [0.3]

    def noise():
        state[0] = 3.9 * state[0] * (1 - state[0])
        return state[0]

    return noise


def permuted():
    own = np.random.default_rng(1)
    return lambda: torch.from_numpy(own.permutation(4) / 4.0)


def seldom():
    """Most passes draw nothing that counts."""
    own = random.Random(4)
    return lambda: 0.5 if own.random() < 0.3 else 0.0


OTHERS = (
    generator_of_torch,
    numpy_global,
    numpy_own,
    python_global,
    python_own,
    a_count,
    a_table,
    a_stream,
    a_state,
    permuted,
    seldom,
)


def one_task(noise, **more):
    return of(Noisy(noise), points(1), points(1, seed=1), tasks=1, steps=4, **more)


class Renewable:
    """A source that can be started afresh, and that counts how often it is asked."""

    def __init__(self, source):
        self.source, self.calls = source, 0
        self.renew()

    def renew(self):
        self.noise = self.source()

    def __call__(self):
        self.calls += 1
        return self.noise()


@pytest.mark.parametrize("source", OTHERS)
def test_the_loop_asks_as_often_as_plain_pytorch(source):
    """It tries nothing beforehand: one pass for each step, one for the query points, in that order."""
    torch.manual_seed(0)
    noise = Renewable(source)
    problem = one_task(lambda: noise())
    expected, calls = plain(problem), noise.calls
    noise.renew()
    assert_same(found(problem, made(problem, "loop")), expected)
    assert calls == 5 and noise.calls == 10


@every_way
@pytest.mark.parametrize("source", OTHERS)
def test_one_task(source, way):
    """Once all is tried: what plain PyTorch gets from the same numbers in the same order; or refused, by name."""
    torch.manual_seed(0)
    noise = Renewable(source)
    problem = one_task(lambda: noise())
    expected = plain(problem)
    with allowed_to_refuse(way, RANDOM) as refused:
        loop = made(problem, way)
        found(problem, loop)
        noise.renew()
        answer = found(problem, loop)
    if not refused:
        assert_same(answer, expected)


@every_way
@pytest.mark.parametrize("source", OTHERS)
def test_several_tasks(source, way):
    """Whatever the order of the draws: the gradient is the slope under the same numbers, or refused by name."""
    torch.manual_seed(0)
    noise = Renewable(source)
    slope_or_refusal(of(Noisy(lambda: noise())), way, noise.renew)


@every_way
@pytest.mark.parametrize("source", [numpy_own, generator_of_torch, a_count])
def test_noise_that_begins_in_a_later_step(source, way):
    now, noise = {"step": 0}, Renewable(source)

    def data(step):
        now["step"] = step
        return points(seed=step)

    torch.manual_seed(0)
    slope_or_refusal(of(Noisy(lambda: noise() if now["step"] >= 2 else 0.0), data, steps=4), way, noise.renew)


@every_way
@pytest.mark.parametrize("place", ["the loss", "which layer", "the inputs", "the step's data"])
def test_wherever_they_enter(place, way):
    own = {"chance": np.random.default_rng(2)}

    def renew():
        own["chance"] = np.random.default_rng(2)

    def data(step):
        x, y = points()
        return x + (own["chance"].standard_normal() if place == "the step's data" else 0.0), y

    def objective(model, data, outer):
        x, y = data
        if place == "which layer":
            x = x if own["chance"].random() < 0.5 else x.flip(1)
        out = model(x + (own["chance"].standard_normal() if place == "the inputs" else 0.0))
        weight = torch.from_numpy(own["chance"].random(4)) if place == "the loss" else 1.0
        return (weight * (out - y).square().sum(-1)).mean()

    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    slope_or_refusal(of(network, data, objective=objective, steps=5), way, renew)


def slope_or_refusal(problem, way, renew):
    """The first call, which may try things, is left out."""
    h, loop = 1e-5, None
    params = list(problem.network.parameters())
    along = [torch.randn_like(p) for p in params]

    def losses(step):
        with torch.no_grad():
            for p, d in zip(params, along, strict=True):
                p.add_(step * d)
        renew()
        with no_other_warnings():
            adapted = loop(batch=lambda step, adapted: problem.data(step), num_tasks=problem.tasks)
            return adapted.evaluate(problem.objective, problem.query)

    with allowed_to_refuse(way, RANDOM) as refused:
        loop = made(problem, way)
        losses(0.0)
        slope = sum((g * d).sum() for g, d in zip(gradient(problem, losses(0.0)).values(), along, strict=True))
    if refused:
        return
    weights = torch.arange(1.0, problem.tasks + 1)
    up, down = (losses(h) * weights).sum(), (losses(-2 * h) * weights).sum()
    torch.testing.assert_close((up - down) / (2 * h), slope, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("way", RUN_AGAIN)
@pytest.mark.parametrize("source", [lambda: os.urandom(1)[0] / 255, lambda: time.perf_counter() * 1e5 % 1])
def test_what_has_no_seed_is_refused_where_anything_is_run_again(source, way):
    noise = Renewable(lambda: source)
    problem = of(Noisy(lambda: noise()))
    try:
        with no_other_warnings():
            adapted = made(problem, way)(batch=lambda step, adapted: problem.data(step), num_tasks=3)
            losses = adapted.evaluate(problem.objective, problem.query)
            calls = noise.calls
            losses.sum().backward()
    except RuntimeError as error:
        assert "random" in str(error)
    else:
        assert noise.calls == calls


@every_way
@pytest.mark.parametrize("source", [numpy_own, a_count])
def test_in_the_judgement_alone_they_do_no_harm(source, way):
    """It is not run again."""
    noise = Renewable(source)

    def judged(model, data, outer):
        x, y = data
        return (model(x) - y).square().sum(-1).mean() + torch.as_tensor(noise()).sum() * model(x).mean()

    network = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    problem = of(network, points(1), points(1, seed=1), tasks=1, judge=judged)
    expected = plain(problem)
    with allowed_to_refuse(way, RANDOM) as refused:
        loop = made(problem, way)
        found(problem, loop)
        noise.renew()
        answer = found(problem, loop)
    if not refused:
        assert_same(answer, expected)


# what is the same again


def seeded_each_time():
    return lambda: torch.from_numpy(np.random.RandomState(3).standard_normal(4))


def torch_seeded_each_time():
    return lambda: torch.randn(4, generator=torch.Generator().manual_seed(3))


def drawn_once():
    table = torch.randn(4, generator=torch.Generator().manual_seed(3))
    return lambda: table


def forked():
    def noise():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            return torch.rand(4)

    return noise


@every_way
@pytest.mark.parametrize("source", [seeded_each_time, torch_seeded_each_time, drawn_once, forked])
def test_numbers_that_are_the_same_each_time_are_no_harm(source, way):
    judge(of(Noisy(source())), way)


DRAWS = {
    "rand": lambda: torch.rand(4),
    "randn of one": lambda: torch.randn(()),
    "bernoulli": lambda: torch.bernoulli(torch.full((4,), 0.5)),
    "randperm": lambda: torch.randperm(4) / 4.0,
    "normal in place": lambda: torch.empty(4).normal_(),
    "a distribution": lambda: torch.distributions.Gamma(2.0, 1.0).sample((4,)),
    "an integer that picks": lambda: float(torch.randint(3, ())),
    "dropout": lambda: nn.functional.dropout(torch.ones(4), 0.5),
}


@pytest.mark.parametrize("way", ONE_BY_ONE)
@pytest.mark.parametrize("draw", DRAWS)
def test_numbers_of_torch_fall_the_same_way_again(draw, way):
    torch.manual_seed(0)
    problem = of(Noisy(DRAWS[draw]), points(1), points(1, seed=1), tasks=1, steps=4)
    torch.manual_seed(7)
    expected = plain(problem)
    torch.manual_seed(7)
    answer = found(problem, made(problem, way))
    assert_same(answer, expected)


@pytest.mark.parametrize("way", ["loop", "auto", *RUN_AGAIN])
@pytest.mark.parametrize("draw", ["rand", "bernoulli", "dropout"])
def test_the_gradient_is_the_slope_under_the_same_numbers(draw, way):
    """With several tasks, whatever the order of the draws; and nothing is refused."""
    torch.manual_seed(0)
    slope_or_refusal(of(Noisy(DRAWS[draw])), way, lambda: torch.manual_seed(7))


@pytest.mark.parametrize("options", [{"checkpoint": 2}, {"mixed_mode": True}, {"chunk": 1, "checkpoint": 2}])
@pytest.mark.parametrize("source", [numpy_own, python_own])
def test_learners_refuse_them_too(source, options):
    """Where a gradient is made when the loss is, it is refused then."""
    tasks = qs.Tasks(qs.Examples(*points()), qs.Examples(*points(seed=1)))
    with pytest.raises(RuntimeError, match="random"), no_other_warnings():
        qs.MAML(Noisy(source()), lr=0.1, steps=4, engine="loop", **options).meta_loss(tasks).backward()
