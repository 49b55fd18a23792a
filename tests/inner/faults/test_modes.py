"""Whether a network mixes points goes by the modes of all its modules, as they are at each call."""

import re

import pytest
import torch
from inner.faults.oracle import (
    allowed_to_refuse,
    every_way,
    no_other_warnings,
)
from inner.faults.unequal import alone, judge_unequal, loop_of, some_unequal
from torch import nn


class Net(nn.Module):
    """Two layers with `middle` between them."""

    def __init__(self, *middle):
        super().__init__()
        self.first, self.middle, self.last = nn.Linear(3, 4), nn.Sequential(*middle), nn.Linear(4, 2)

    def forward(self, x):
        return self.last(torch.tanh(self.middle(self.first(x))))


class Centred(nn.Module):
    """Subtracts the mean of the points, in training mode or where it is told to."""

    def __init__(self, told=None):
        super().__init__()
        self.told = told

    def forward(self, h):
        return h - h.mean(0) if (self.training if self.told is None else self.told) else h


class OfTwo(nn.Module):
    """Batch statistics, or none."""

    def __init__(self):
        super().__init__()
        self.norms, self.which = nn.ModuleList([nn.Identity(), nn.BatchNorm1d(4)]), 0

    def forward(self, h):
        return self.norms[self.which](h)


def freeze(network):
    network.middle.eval()


def thaw(network):
    network.middle.train()


def freeze_one(network):
    network.middle[0].eval()


def thaw_one(network):
    network.middle[0].train()


def tell(value):
    def act(network):
        network.middle[0].told = value

    return act


def choose(value):
    def act(network):
        network.middle[0].which = value

    return act


def replace(layer):
    def act(network):
        network.middle[0] = layer()

    return act


def without_statistics(network):
    """Batch statistics in eval mode, too."""
    network.middle[0].running_mean, network.middle[0].running_var = None, None
    network.middle[0].track_running_stats = False


def hook(network):
    network.middle.register_forward_hook(lambda module, given, out: out - out.mean(0))


def unhook(network):
    network.middle._forward_hooks.clear()


norm = nn.BatchNorm1d
STORIES = {
    "frozen by its layer, then thawed": (lambda: Net(norm(4)), [freeze, thaw, freeze]),
    "one of two thawed": (lambda: Net(norm(4), nn.Tanh(), norm(4)), [freeze, thaw_one, freeze_one]),
    "a mode of the user's own": (lambda: Net(Centred()), [freeze, thaw, freeze]),
    "a switch of the user's own": (lambda: Net(Centred(False)), [tell(False), tell(True), tell(False)]),
    "one of two norms": (lambda: Net(OfTwo()), [choose(0), choose(1), choose(0)]),
    "a layer replaced": (lambda: Net(nn.Identity()), [replace(nn.Identity), replace(lambda: norm(4))]),
    "instance norm that tracks": (
        lambda: Net(nn.Unflatten(1, (2, 2)), nn.InstanceNorm1d(2, track_running_stats=True), nn.Flatten()),
        [freeze, thaw],
    ),
    "statistics taken away in eval mode": (lambda: Net(norm(4)), [nn.Module.eval, without_statistics]),
    "a hook that mixes": (lambda: Net(nn.Identity()), [unhook, hook, unhook]),
    "the whole network's mode": (lambda: Net(norm(4)), [nn.Module.eval, nn.Module.train, nn.Module.eval]),
}


@every_way
@pytest.mark.parametrize("story", STORIES)
def test_one_loop_through_changing_modes(story, way):
    torch.manual_seed(0)
    make, acts = STORIES[story]
    network, tasks = make(), some_unequal()
    loop = loop_of(network, way)
    for act in acts:
        act(network)
        judge_unequal(network, tasks, way, loop)


@every_way
def test_a_loop_made_while_frozen(way):
    """And first asked when it is thawed."""
    network = Net(norm(4))
    network.middle.eval()
    loop = loop_of(network, way)
    network.middle.train()
    judge_unequal(network, some_unequal(), way, loop)


@every_way
def test_masked_points_of_a_step_go_by_the_modes_of_now(way):
    """Where the network mixes points they may be refused in `batch=`; never is padding mixed in."""
    network, tasks = Net(norm(4)), some_unequal()
    loop = loop_of(network, way)
    for act in (freeze, thaw, freeze):
        act(network)
        try:
            with allowed_to_refuse(way, re.compile("mixes points|engine=")), no_other_warnings():
                losses = loop(batch=lambda step, adapted: tasks.support, num_tasks=3).losses(tasks.query)
                torch.testing.assert_close(losses, alone(network, tasks, 2), rtol=1e-9, atol=1e-10)
        except ValueError as error:
            assert act is thaw and "mixes points" in str(error)
