"""Embeddings that bound the norms of their rows: plain PyTorch's answer, or refused by name; the user's rows stay.

`max_norm=` writes into the weight, without a gradient, whenever a row is looked up. In an inner loop those are the
weights of a task, and no one else's.
"""

import re
from contextlib import suppress

import pytest
import torch
from inner.faults import snapshot
from inner.faults.oracle import (
    CURE,
    WAYS,
    assert_same,
    every_way,
    found,
    made,
    no_other_warnings,
    of,
    plain,
    points,
)
from torch import nn
from torch.nn import functional as F

import quickstudy as qs


class Words(nn.Module):
    """The mean of the rows of four words, through a layer."""

    def __init__(self, look_up=None, scale=1.0, **options):
        super().__init__()
        self.table, self.leave = nn.Embedding(6, 3, **options), nn.Linear(3, 2)
        self.look_up = look_up or (lambda table, tokens: table(tokens))
        with torch.no_grad():
            self.table.weight.mul_(scale)

    def forward(self, tokens):
        return self.leave(torch.tanh(self.look_up(self.table, tokens)).mean(1))


class Tied(nn.Module):
    """The table is also the output layer."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(6, 3, max_norm=0.7)

    def forward(self, tokens):
        return F.linear(torch.tanh(self.table(tokens)).mean(1), self.table.weight)[:, :2]


class Frozen(nn.Module):
    """A bounded table that does not adapt, beside one that does."""

    def __init__(self):
        super().__init__()
        self.fixed, self.table, self.leave = nn.Embedding(6, 3, max_norm=0.5), nn.Embedding(6, 3), nn.Linear(3, 2)
        self.fixed.requires_grad_(False)

    def forward(self, tokens):
        return self.leave(torch.tanh(self.fixed(tokens) + self.table(tokens)).mean(1))


def sentences(tasks=3, seed=0, among=6):
    chance = torch.Generator().manual_seed(seed)
    return torch.randint(0, among, (tasks, 4, 4), generator=chance), 2 * points(tasks, seed=seed)[1]


def by_function(table, tokens):
    return F.embedding(tokens, table.weight, max_norm=0.6, norm_type=2.0)


def only_the_third():
    """Tokens with long rows come in the third task alone."""
    x, y = sentences(among=3)
    x[2] += 3
    return x, y


def long_rows():
    network = Words(max_norm=1.0, scale=0.2)
    with torch.no_grad():
        network.table.weight[3:] += 2.0
    return network


MEMBERS = {
    "all rows too long": lambda: of(Words(max_norm=0.5, scale=3.0), sentences(), sentences(seed=1)),
    "another norm": lambda: of(Words(max_norm=0.8, norm_type=1.0), sentences(), sentences(seed=1)),
    "the largest entry": lambda: of(Words(max_norm=0.5, norm_type=float("inf")), sentences(), sentences(seed=1)),
    "by function": lambda: of(Words(by_function), sentences(), sentences(seed=1)),
    "with padding": lambda: of(Words(max_norm=0.5, padding_idx=0), sentences(), sentences(seed=1)),
    "tied": lambda: of(Tied(), sentences(), sentences(seed=1)),
    "frozen": lambda: of(Frozen(), sentences(), sentences(seed=1)),
    "too long only after a step": lambda: of(
        Words(max_norm=1.0, scale=0.25), sentences(), sentences(seed=1), rate=1.5, steps=4
    ),
    "long rows in the third task alone": lambda: of(long_rows(), only_the_third(), sentences(seed=1, among=3)),
    "long rows in the query alone": lambda: of(long_rows(), sentences(among=3), only_the_third()),
    "long rows in the last step alone": lambda: of(
        long_rows(), lambda step: only_the_third() if step == 2 else sentences(among=3), sentences(seed=1, among=3)
    ),
    "scaled by frequency": lambda: of(Words(max_norm=0.5, scale_grad_by_freq=True), sentences(), sentences(seed=1)),
}


@every_way
@pytest.mark.parametrize("member", MEMBERS)
def test_as_plain_pytorch_or_refused_by_name(member, way):
    torch.manual_seed(0)
    problem = MEMBERS[member]()
    before = snapshot.of_module(problem.network)
    try:
        answer = found(problem, made(problem, way))
    except (RuntimeError, ValueError, NotImplementedError) as error:
        assert "max_norm" in str(error) or (way not in ("loop", "auto") and CURE.search(str(error))), error
    else:
        assert_same(answer, plain(problem))
    assert not snapshot.difference(before, snapshot.of_module(problem.network))


@every_way
def test_rows_that_grow_too_long_in_a_later_call(way):
    """Outer steps lengthen them, between calls of one loop that agreed with plain PyTorch before."""
    torch.manual_seed(0)
    problem = of(Words(max_norm=1.0, scale=0.1), sentences(), sentences(seed=1))
    try:
        loop = made(problem, way)
        for factor in (1.0, 1.5, 1.0, 12.0, 1.0):
            with torch.no_grad():
                problem.network.table.weight.mul_(factor)
            assert_same(found(problem, loop), plain(problem))
    except (RuntimeError, ValueError) as error:
        assert re.search("max_norm", str(error)) or (way not in ("loop", "auto") and CURE.search(str(error))), error


@every_way
@pytest.mark.parametrize("act", ["meta_loss", "adapt", "explain", "no steps", "no grad"])
def test_the_user_s_rows_stay(act, way):
    torch.manual_seed(0)
    network = Words(max_norm=0.5, scale=3.0)
    tasks = qs.Tasks(qs.Examples(*sentences()), qs.Examples(*sentences(seed=1)))
    before = snapshot.of_module(network)
    with suppress(RuntimeError, ValueError), no_other_warnings():
        learner = qs.MAML(network, lr=0.1, steps=2, **WAYS[way])
        if act == "meta_loss":
            learner.meta_loss(tasks)
        elif act == "explain":
            learner.explain(tasks)
        elif act == "no grad":
            with torch.no_grad():
                learner.meta_loss(tasks)
        else:
            learner.adapt(tasks.support, steps=0 if act == "no steps" else None)(tasks.query.x)
    assert not snapshot.difference(before, snapshot.of_module(network))


@every_way
def test_a_bound_that_no_row_reaches_is_no_harm(way):
    torch.manual_seed(0)
    problem = of(Words(max_norm=50.0), sentences(), sentences(seed=1))
    try:
        answer = found(problem, made(problem, way))
    except (RuntimeError, ValueError) as error:
        assert "max_norm" in str(error)
    else:
        assert_same(answer, plain(problem))
