"""The short way to Adam's kernel is torch's own step, to the bit; other optimisers go their own way."""

import copy

import torch
from torch import nn

from quickstudy.training.updates import Updates


def gradients(module, step):
    generator = torch.Generator().manual_seed(step)
    return [torch.randn(p.shape, generator=generator) for p in module.parameters()]


def drive(module, first, last, state=None, **options):
    updates = Updates(module, lr=1e-2, schedule=lambda step: 1 / (1 + step), **options)
    if state is not None:
        updates.load_state_dict(state)
    for step in range(first, last):
        found = gradients(module, step)
        updates.apply(step, found, updates.norm(found))
    return updates


def test_the_short_way_is_torch_to_the_bit():
    ours, theirs = nn.Linear(7, 5), nn.Linear(7, 5)
    theirs.load_state_dict(ours.state_dict())
    updates = drive(ours, 0, 9)
    assert updates._one_kernel
    adam = torch.optim.Adam(theirs.parameters(), lr=1e-2, fused=True)
    for step in range(9):
        adam.param_groups[0]["lr"] = 1e-2 / (1 + step)
        for p, g in zip(theirs.parameters(), gradients(theirs, step), strict=True):
            p.grad = g
        adam.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(a, b)
    mine, other = updates.state_dict()["state"], adam.state_dict()["state"]
    assert all(torch.equal(mine[i][k], other[i][k]) for i in other for k in other[i])


def test_it_goes_on_from_a_loaded_state():
    whole, parts = nn.Linear(3, 2), nn.Linear(3, 2)
    parts.load_state_dict(whole.state_dict())
    drive(whole, 0, 6)
    state = copy.deepcopy(drive(parts, 0, 4).state_dict())
    drive(parts, 4, 6, state)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), parts.parameters(), strict=True))


def test_mixed_types_and_other_optimisers_take_the_long_way():
    mixed = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2, dtype=torch.float64)])
    assert not drive(mixed, 0, 0)._one_kernel
    assert not drive(nn.Linear(2, 2), 0, 3, optimizer=lambda p: torch.optim.SGD(p, lr=0.1))._one_kernel
