"""A task's random numbers are the same in the whole batch and in any slice of it."""

import math

import pytest
import torch

from quickstudy.chance import _splitmix, keyed, keys, new_keys, normal, normals, sliced, whole_numbers

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


def test_keys_of_slices_are_those_of_the_whole_batch() -> None:
    torch.manual_seed(5)
    whole = keys((4, 7), axis=1, device=CPU)
    with sliced(slice(1, None, 3), tasks=7, seed=5, device=CPU):
        assert torch.equal(keys((4, 2), axis=1, device=CPU), whole[:, 1::3])


@pytest.mark.parametrize("place", [0, 5, -3])
def test_keyed_numbers_are_splitmix(place: int) -> None:
    for key in (0, 7, (1 << 62) - 1):
        wanted = _splitmix((key + place * 0x9E3779B97F4A7C15) % (1 << 64))
        assert int(keyed(torch.tensor(key), torch.tensor(place))) % (1 << 64) == wanted


def test_keyed_numbers_have_their_distributions() -> None:
    bits = keyed(new_keys((300, 1), CPU, torch.Generator().manual_seed(0)), torch.arange(-500, 500))
    numbers = whole_numbers(bits, torch.tensor(7))
    counts = torch.bincount(numbers.flatten(), minlength=7)
    assert len(counts) == 7 and ((counts - 300_000 / 7).square().sum() * 7 / 300_000) < 22.5  # chi-square, p = 0.001
    for dtype in (torch.float32, torch.float64):
        values = normals(bits, dtype)
        assert values.dtype == dtype and values.isfinite().all()
        order, cdf = values.flatten().double().sort().values, torch.arange(1, 300_001) / 300_000
        assert (torch.special.ndtr(order) - cdf).abs().max() < 1.95 / math.sqrt(
            300_000
        )  # Kolmogorov-Smirnov, p = 0.001
        for lagged in (values[1:] * values[:-1], values[:, 1:] * values[:, :-1]):  # of neighbouring keys and places
            assert abs(lagged.mean()) < 4 / math.sqrt(300_000)
    assert whole_numbers(bits, torch.tensor(0)).eq(0).all()
