"""Random numbers: seeds that depend only on the place in a run, and draws that belong to tasks.

A batch, the noise of a step and the validation tasks are pure functions of `(seed, place)`; see `mix`. So a resumed run
needs no generator state, and any number of processes can draw the same batch.

A learner that draws random numbers for each task in `meta_loss`, such as the latents of a Neural Process, calls
`normal`, or `keys` for random numbers that belong to places (`keyed`). When a batch is split among processes, or into
slices that run one after another, the numbers are drawn for the whole batch and every slice takes its own. Other
randomness (such as dropout) has a separate seed for each slice.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from enum import IntEnum
from typing import NamedTuple

import torch
from torch import Tensor

_MASK = (1 << 64) - 1


class _Slice(NamedTuple):
    places: slice  # of its tasks in the whole batch
    tasks: int  # number of tasks in the whole batch
    generator: torch.Generator


_SLICE: ContextVar[_Slice | None] = ContextVar("slice", default=None)


def normal(shape: Sequence[int], *, axis: int, like: Tensor) -> Tensor:
    """Standard normal draws from torch's own generator, with the dtype and device of `like`.

    Args:
        shape: of the result.
        axis: which axis of `shape` counts tasks.

    >>> with sliced(slice(1, None, 2), tasks=5, seed=0, device=torch.device("cpu")):
    ...     part = normal((3, 2), axis=1, like=torch.zeros(()))
    >>> whole = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    >>> torch.equal(part, whole[:, 1::2])
    True
    """

    def draw(whole: Sequence[int], generator: torch.Generator | None) -> Tensor:
        return torch.randn(whole, dtype=like.dtype, device=like.device, generator=generator)

    return _of_tasks(draw, shape, axis)


def keys(shape: Sequence[int], *, axis: int, device: torch.device) -> Tensor:
    """Random keys for `keyed` from torch's own generator: whole numbers of 62 bits.

    Args:
        shape: of the result.
        axis: which axis of `shape` counts tasks.
        device: where they are drawn.
    """

    def draw(whole: Sequence[int], generator: torch.Generator | None) -> Tensor:
        return new_keys(whole, device, generator)

    return _of_tasks(draw, shape, axis)


def new_keys(shape: Sequence[int], device: torch.device, generator: torch.Generator | None) -> Tensor:
    """Random keys for `keyed` from `generator`, or torch's own: whole numbers of 62 bits."""
    return torch.randint(1 << 62, tuple(shape), device=device, generator=generator)


def keyed(keys: Tensor, places: Tensor) -> Tensor:
    """64 random bits for a key and a place, which depend on no other key or place (splitmix64, Steele et al. 2014).

    So a place keeps its random number whatever the number of places, and results do not change with padding.

    Args:
        keys: integers of 64 bits; bits that this function returned are keys of their own.
        places: integers of 64 bits, negative ones included, that broadcast against `keys`.

    >>> key = torch.tensor(7)
    >>> torch.equal(keyed(key, torch.arange(9))[2:5], keyed(key, torch.arange(2, 5)))
    True
    """
    z = keys + (places + 1) * _signed(0x9E3779B97F4A7C15)
    z = (z ^ _shifted(z, 30)) * _signed(0xBF58476D1CE4E5B9)
    z = (z ^ _shifted(z, 27)) * _signed(0x94D049BB133111EB)
    return z ^ _shifted(z, 31)


def whole_numbers(bits: Tensor, below: Tensor) -> Tensor:
    """Uniform whole numbers from 0 to `below - 1` (0 where `below` is 0), from random bits that broadcast with it."""
    return _shifted(bits, 1) % below.clamp_min(1)


def normals(bits: Tensor, dtype: torch.dtype) -> Tensor:
    """Standard normal numbers from random bits (Box and Muller 1958), computed in float64 or float32."""
    kind = torch.promote_types(dtype, torch.float32)
    first, second = (_shifted(half, 41).to(kind) + 0.5 for half in (bits, bits << 32))  # 23 bits each: exact
    radius = (-2 * (first / (1 << 23)).log()).sqrt()
    return (radius * (second * (2 * math.pi / (1 << 23))).cos()).to(dtype)


def _shifted(bits: Tensor, places: int) -> Tensor:
    """The bits moved to the right, with zeros on the left."""
    return (bits >> places) & ((1 << (64 - places)) - 1)


def _signed(word: int) -> int:
    """The signed integer with the 64 bits of `word`."""
    return word - (1 << 64) if word >> 63 else word


def _of_tasks(
    draw: Callable[[Sequence[int], torch.Generator | None], Tensor], shape: Sequence[int], axis: int
) -> Tensor:
    """`draw(shape)`, or the part of the current slice in what is drawn for the whole batch."""
    at = _SLICE.get()
    if at is None or shape[axis] != len(range(at.tasks)[at.places]):  # or the learner took a part of the slice
        return draw(shape, None)
    whole = [*shape]
    whole[axis] = at.tasks
    return draw(whole, at.generator)[(slice(None),) * (axis % len(whole)) + (at.places,)]


@contextmanager
def sliced(places: slice, *, tasks: int, seed: int, device: torch.device) -> Iterator[None]:
    """A context in which `normal` gives the numbers of the tasks at `places` in a batch of `tasks`.

    Args:
        places: of the tasks in the whole batch.
        tasks: number of tasks in the whole batch.
        seed: for the whole batch.
        device: where the numbers are drawn.
    """
    token = _SLICE.set(_Slice(places, tasks, torch.Generator(device=device).manual_seed(seed)))
    try:
        yield
    finally:
        _SLICE.reset(token)


class Stream(IntEnum):
    """The purpose of random numbers; streams with the same seed are independent."""

    BATCH = 1
    SIZES = 2
    NOISE = 3
    VALIDATION = 4
    VALIDATION_NOISE = 6
    EVALUATION = 7
    EVALUATION_NOISE = 8
    ACTING = 9
    SLICE = 10


def mix(seed: int, place: int, stream: Stream) -> int:
    """A 63-bit seed for one place in one stream (the splitmix64 finaliser, Steele et al. 2014, three times over).

    >>> mix(0, 0, Stream.BATCH) != mix(0, 1, Stream.BATCH) != mix(1, 0, Stream.BATCH)
    True
    """
    state = _splitmix(int(stream))
    state = _splitmix(state ^ (seed & _MASK))
    return _splitmix(state ^ (place & _MASK)) >> 1


def seed_noise(seed: int, device: torch.device) -> None:
    """Seed torch's own generators, of the processor and of `device` (`torch.manual_seed` takes 100 times as long)."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        torch.cuda.default_generators[index].manual_seed(seed)


def _splitmix(z: int) -> int:
    z = (z + 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)
