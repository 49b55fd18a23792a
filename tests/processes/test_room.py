"""Appending to a causal transformer writes into one buffer, and no state sees what was written after it."""

import copy

import pytest
import torch

import quickstudy as qs
from quickstudy.processes.conditional import mapped, one_task
from quickstudy.processes.parts.room import SPARE


@pytest.fixture
def process() -> qs.IncTNP:
    return qs.IncTNP(width=16, depth=3, heads=2, hidden=16)


def points(count: int, tasks: int = 2) -> qs.Examples:
    return qs.Examples(torch.randn(tasks, count, 1), torch.randn(tasks, count, 1))


def same(process, state, support, x) -> None:
    found, expected = process.predict(state, x), process.predict(process.encode(support), x)
    torch.testing.assert_close(found.mean, expected.mean, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_points_that_arrive_one_by_one_share_a_buffer(process):
    support, x = points(5), torch.randn(2, 4, 1)
    state, buffers = process.encode(support), set()
    for _ in range(3 * SPARE):
        new = points(1)
        state, support = process.append(state, new), support.append(new)
        buffers.add(state.rows.data_ptr())
        assert state.keys.data_ptr() == state.rows.data_ptr()
    assert len(buffers) == 3
    same(process, state, support, x)


@torch.no_grad()
def test_two_futures_of_a_state_do_not_disturb_each_other(process):
    support, x = points(5), torch.randn(2, 4, 1)
    start = process.append(process.encode(support), first := points(1))
    left, right, more = points(2), points(1), points(1)
    one = process.append(start, left)
    other = process.append(start, right)
    longer = process.append(process.append(one, more), more)
    again = process.append(one, right)
    same(process, start, support.append(first), x)
    same(process, one, support.append(first).append(left), x)
    same(process, other, support.append(first).append(right), x)
    same(process, longer, support.append(first).append(left).append(more).append(more), x)
    same(process, again, support.append(first).append(left).append(right), x)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda state: mapped(state, torch.clone)], ids=["deep", "clone"])
@torch.no_grad()
def test_copies_of_a_state_grow_by_themselves(process, copied):
    support, x = points(5), torch.randn(2, 4, 1)
    state = process.append(process.encode(support), first := points(1))
    twin = copied(state)
    new, other = points(1), points(1)
    same(process, process.append(state, new), support.append(first).append(new), x)
    same(process, process.append(twin, other), support.append(first).append(other), x)


@torch.no_grad()
def test_one_task_of_a_state_grows_by_itself(process):
    support, x = points(5), torch.randn(2, 4, 1)
    state, new, other = process.encode(support), points(1), points(1, tasks=1)
    alone = one_task(process.append(state, new), 1)
    whole = support.append(new).select(torch.tensor([1]))
    same(process, process.append(alone, other), whole.append(other), x[1:])


def test_a_gradient_may_be_taken_after_more_points_were_appended(process):
    x = torch.randn(2, 4, 1, requires_grad=True)
    with torch.no_grad():
        state = process.append(process.encode(points(5)), points(1))
    value = process.predict(state, x).mean.sum()
    with torch.no_grad():
        process.append(state, points(1))
    expected = process.predict(mapped(state, torch.clone), x).mean.sum()
    torch.testing.assert_close(torch.autograd.grad(value, x), torch.autograd.grad(expected, x))


def test_a_state_made_in_inference_mode_grows_outside_of_it(process):
    support, new, x = points(5), points(1), torch.randn(2, 4, 1)
    with torch.inference_mode():
        state = process.append(process.encode(support), new)
    with torch.no_grad():
        state = process.append(state, new)
    same(process, state, support.append(new).append(new), x)
