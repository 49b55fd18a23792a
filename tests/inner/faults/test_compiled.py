"""A compiled meta-gradient keeps nothing that the next batch, or a switch of the user's, makes untrue.

One graph belongs to one layout; what a network does by its data, by an attribute, or in a gradient, belongs to a call.
"""

import pytest
import torch
from inner.faults.oracle import judge_learner, of, points
from torch import nn

import quickstudy as qs

pytestmark = pytest.mark.slow


class Net(nn.Module):
    """Two layers, and one that is switched on; `during(self, h)` stands in between."""

    def __init__(self, during=lambda network, h: h):
        super().__init__()
        self.first, self.other, self.last = nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 2)
        self.on, self.during = False, during

    def forward(self, x):
        h = torch.tanh(self.first(x))
        h = h + self.other(h) if self.on else h
        return self.last(self.during(self, h))


class Words(nn.Module):
    """Sentences with a padding token."""

    def __init__(self):
        super().__init__()
        self.table, self.last = nn.Embedding(6, 3, padding_idx=0), nn.Linear(3, 2)

    def forward(self, tokens):
        return self.last(torch.tanh(self.table(tokens)).mean(1))


def by_sign(network, h):
    return torch.tanh(network.other(h)) if h.sum() > 0 else h


def hooked(network, h):
    if h.requires_grad:
        h.register_hook(lambda g: g.clamp(-0.05, 0.05))
    return h


def scattered(network, h):
    return torch.select_scatter(h, h[:, 3] ** 2, 1, 2)


def without_gradient(network, h):
    with torch.no_grad():
        rest = h.sign() - h
    return h + rest


def switch(network):
    network.on = not network.on


def replace(network):
    network.during = lambda network, h: 2 * h


def hook(network):
    network.last.register_full_backward_hook(lambda module, to_input, to_output: (0.5 * to_input[0],))


def nothing(network):
    pass


def judged(network, acts, data=points):
    learner = qs.MAML(network, lr=0.1, steps=2, compile=True)
    for i, act in enumerate((nothing, *acts)):
        act(network)
        judge_learner(of(network, data(seed=2 * i), data(seed=2 * i + 1), steps=2), learner)


@pytest.mark.parametrize("during", [by_sign, hooked, scattered, without_gradient])
def test_networks(during):
    torch.manual_seed(0)
    judged(Net(during), [nothing])


@pytest.mark.parametrize("act", [switch, replace, hook])
def test_what_changes_between_calls(act):
    torch.manual_seed(0)
    judged(Net(), [act])


def test_padding():
    def sentences(seed):
        chance = torch.Generator().manual_seed(seed)
        return torch.randint(0, 6, (3, 4, 4), generator=chance), points(seed=seed)[1]

    torch.manual_seed(0)
    judged(Words(), [nothing], sentences)
