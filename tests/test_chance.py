"""A task's random numbers are the same in the whole batch and in any slice of it."""

import pytest
import torch

from quickstudy.chance import normal, sliced

CPU = torch.device("cpu")


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
@pytest.mark.parametrize("slices", [1, 2, 3, 7])
def test_slices_together_are_the_whole_batch(axis: int, slices: int) -> None:
    shape, like = [7, 7, 7], torch.zeros((), dtype=torch.float64)
    torch.manual_seed(5)
    whole = [normal(shape, axis=axis, like=like) for _ in range(2)]
    for first in range(slices):
        places = slice(first, None, slices)
        own = [*shape]
        own[axis] = len(range(7)[places])
        with sliced(places, tasks=7, seed=5, device=CPU):
            parts = [normal(own, axis=axis, like=like) for _ in range(2)]
        for part, all_ in zip(parts, whole, strict=True):
            assert torch.equal(part, all_.movedim(axis, 0)[places].movedim(0, axis))


def test_a_part_of_a_slice_is_drawn_from_torchs_generator() -> None:
    torch.manual_seed(0)
    expected = torch.randn(2, 3)
    torch.manual_seed(0)
    with sliced(slice(0, None, 2), tasks=8, seed=1, device=CPU):
        assert torch.equal(normal((2, 3), axis=0, like=torch.zeros(())), expected)
