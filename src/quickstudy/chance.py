"""Random numbers: seeds that depend only on the place in a run, and draws that belong to tasks.

A batch, the noise of a step and the validation tasks are pure functions of `(seed, place)`; see `mix`. So a resumed run
needs no generator state, and any number of processes can draw the same batch.

A learner that draws random numbers for each task in `meta_loss`, such as the latents of a Neural Process, calls
`normal`. When a batch is split among processes, or into slices that run one after another, the numbers are drawn for
the whole batch and every slice takes its own. Other randomness (such as dropout) has a separate seed for each slice.
"""

from collections.abc import Iterator, Sequence
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
    at = _SLICE.get()
    if at is None or shape[axis] != len(range(at.tasks)[at.places]):  # or the learner took a part of the slice
        return torch.randn(shape, dtype=like.dtype, device=like.device)
    whole = [*shape]
    whole[axis] = at.tasks
    numbers = torch.randn(whole, dtype=like.dtype, device=like.device, generator=at.generator)
    return numbers[(slice(None),) * (axis % len(whole)) + (at.places,)]


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
