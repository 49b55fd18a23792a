"""A compiled meta-gradient keeps nothing that the next batch, or a switch of the user's, makes untrue.

One graph belongs to one layout; what a network does by its data, by an attribute, or in a gradient, belongs to a call.
"""

from types import SimpleNamespace

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
    """By a hook that is not linear, and does not see that a mean over tasks makes gradients smaller."""
    if h.requires_grad:
        h.register_hook(lambda g: torch.where(g > 0, g, 0.3 * g))
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


SCALE = 1.0
TABLE = {"on": [False]}
CONFIG = SimpleNamespace(scale=1.0)


def by_a_global(network, h):
    return SCALE * h


def by_a_table(network, h):
    return 2 * h if TABLE["on"][0] else h


def by_a_namespace(network, h):
    return CONFIG.scale * h


def by_a_closure():
    held = [1.0]

    def during(network, h):
        return held[0] * h

    return during, lambda network: held.__setitem__(0, 3 - held[0])


def set_global(network):
    globals()["SCALE"] = 3 - SCALE


def set_table(network):
    TABLE["on"][0] = not TABLE["on"][0]


def set_namespace(network):
    CONFIG.scale = 3 - CONFIG.scale


HELD = {
    "global": (by_a_global, set_global),
    "table": (by_a_table, set_table),
    "namespace": (by_a_namespace, set_namespace),
    "closure": by_a_closure(),
}


@pytest.mark.parametrize("place", HELD)
def test_a_switch_that_is_held_elsewhere(place):
    during, act = HELD[place]
    torch.manual_seed(0)
    judged(Net(during), [act])


def test_a_count_that_is_held_elsewhere_cannot_be_in_a_graph():
    passes = [0]

    def during(network, h):
        passes[0] += 1
        return h

    with pytest.warns(RuntimeWarning, match="changes a count or a switch"):
        learner = qs.MAML(Net(during).double(), lr=0.1, compile=True)
        data = qs.Examples(*points())
        learner.meta_loss(qs.Tasks(data, data)).backward()


def test_padding():
    def sentences(seed):
        chance = torch.Generator().manual_seed(seed)
        return torch.randint(0, 6, (3, 4, 4), generator=chance), points(seed=seed)[1]

    torch.manual_seed(0)
    judged(Words(), [nothing], sentences)
