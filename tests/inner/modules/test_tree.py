"""What a tree holds, in torch's own order; and what torch does not look at."""

from collections import deque
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from quickstudy.inner.modules.tree import hidden_modules, loose_tensors, modules_of, owned_tensors, tensors_of


class Twice(nn.Module):
    """One module in two places, one tensor under two names, and empty places."""

    def __init__(self):
        super().__init__()
        self.first, self.none = nn.Linear(2, 2), None
        self.again, self.other = self.first, nn.Linear(2, 2, bias=False)
        self.other.weight = self.first.weight
        self.register_parameter("nothing", None)
        self.register_buffer("count", torch.zeros(1))
        self.register_buffer("same", self.count, persistent=False)
        self.register_module("gone", None)


class Loops(nn.Module):
    """A tree that leads back to where it began."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.layer.parent = self


class OwnNames(nn.Linear):
    """Names of its own, which torch's users may give."""

    def named_parameters(self, *arguments, **options):
        return [(f"mine.{k}", p) for k, p in super().named_parameters(*arguments, **options)]


class OwnModules(nn.Sequential):
    """Modules of its own choice."""

    def named_modules(self, *arguments, **options):
        yield "", self
        yield "0", self[0]


NETWORKS = {
    "none": nn.Identity,
    "twice": Twice,
    "loops": Loops,
    "own names": lambda: OwnNames(2, 2),
    "own modules": lambda: OwnModules(nn.Linear(2, 2), nn.Linear(2, 2)),
    "statistics": lambda: nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2, track_running_stats=False)),
    "transformer": lambda: nn.TransformerEncoderLayer(4, 2),
    "recurrent": lambda: nn.LSTM(2, 3, 2),
    "lists and dictionaries": lambda: nn.ModuleDict({"a": nn.ModuleList([nn.PReLU()]), "b": nn.ParameterList([])}),
    "weight norm": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)),
    "scripted": lambda: torch.jit.trace(nn.Sequential(nn.Linear(2, 2), nn.Tanh()), torch.ones(1, 2)),
    "lazy": lambda: nn.LazyLinear(2),
}


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
@pytest.mark.parametrize("name", NETWORKS)
def test_as_torch_has_them(name):
    network = NETWORKS[name]()
    params, buffers = tensors_of(network)
    for ours, theirs in ((params, network.named_parameters()), (buffers, network.named_buffers())):
        theirs = list(theirs)
        assert list(ours) == [k for k, _ in theirs]
        if not isinstance(network, torch.jit.ScriptModule):  # which makes them anew at every look
            assert all(a is b for a, (_, b) in zip(ours.values(), theirs, strict=True))
    found = modules_of(network)
    assert [prefix for prefix, _ in found] == [n and f"{n}." for n, _ in network.named_modules()]
    assert all(a is b for (_, a), b in zip(found, network.modules(), strict=True)) or name == "scripted"


@dataclass
class Record:
    """Holds what it is given."""

    value: object
    more: list = field(default_factory=list)


KEPT = {
    "attribute": lambda value: value,
    "list": lambda value: [0, value],
    "tuple in a dictionary": lambda value: {"a": (value,)},
    "deque": lambda value: deque([value]),
    "set": lambda value: {value},
    "dataclass": lambda value: Record(None, [value]),
    "namespace": lambda value: SimpleNamespace(inside=Record(value)),
}


@pytest.mark.parametrize("place", KEPT)
def test_what_torch_does_not_look_at(place):
    network, tensor, hidden = nn.Linear(2, 2), torch.ones(2), nn.Sequential(nn.BatchNorm1d(2))
    network.__dict__["kept"], network.__dict__["module"] = KEPT[place](tensor), KEPT[place](hidden)
    assert [t is tensor or any(t is b for b in hidden.buffers()) for t in loose_tensors(network)] == [True] * 4
    assert {id(t) for t in network.parameters()} < {id(t) for t in owned_tensors(network)}
    assert hidden_modules(network) == [hidden, hidden[0]]


def test_a_part_is_not_hidden():
    network = Loops()
    network.also = [network.layer]
    assert hidden_modules(network) == [] and loose_tensors(network) == []
