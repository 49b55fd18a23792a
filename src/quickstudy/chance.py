"""Random numbers that belong to tasks: a task's are the same whether its batch is computed whole or in slices.

A learner that draws for each task in `meta_loss` (a Neural Process its latents) draws by `normal`. Where the batch is
dealt out, to processes or to slices one after another, the numbers are drawn for the whole batch, and a slice takes
its own. Anything else that is random there (dropout, say) has a seed of its own for each slice.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

import torch
from torch import Tensor


class _Slice(NamedTuple):
    places: slice  # of the whole batch
    tasks: int  # in the whole batch
    generator: torch.Generator


_SLICE: ContextVar[_Slice | None] = ContextVar("slice", default=None)


def normal(shape: Sequence[int], *, axis: int, like: Tensor) -> Tensor:
    """Standard normal numbers of that shape, in the type and on the device of `like`, from torch's own generator.

    Args:
        shape: of the result.
        axis: the one that is tasks.

    >>> with sliced(slice(1, None, 2), tasks=5, seed=0, device=torch.device("cpu")):
    ...     part = normal((3, 2), axis=1, like=torch.zeros(()))
    >>> whole = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    >>> torch.equal(part, whole[:, 1::2])
    True
    """
    at = _SLICE.get()
    if at is None or shape[axis] != len(range(at.tasks)[at.places]):  # a learner's own part of a slice
        return torch.randn(shape, dtype=like.dtype, device=like.device)
    whole = [*shape]
    whole[axis] = at.tasks
    numbers = torch.randn(whole, dtype=like.dtype, device=like.device, generator=at.generator)
    return numbers[(slice(None),) * (axis % len(whole)) + (at.places,)]


@contextmanager
def sliced(places: slice, *, tasks: int, seed: int, device: torch.device) -> Iterator[None]:
    """While entered, `normal` gives the numbers of the tasks at `places` in a batch of `tasks`.

    Args:
        seed: of the whole batch.
        device: where the numbers are drawn.
    """
    token = _SLICE.set(_Slice(places, tasks, torch.Generator(device=device).manual_seed(seed)))
    try:
        yield
    finally:
        _SLICE.reset(token)
