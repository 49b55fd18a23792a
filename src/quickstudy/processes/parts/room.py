"""Rows that grow without being copied: a buffer with room at its end, which states share."""

from threading import Lock
from typing import NamedTuple

import torch
from torch import Tensor

SPARE = 16  # smallest number of free rows in a new buffer
_CLAIMING = Lock()


class Room(NamedTuple):
    """A buffer of rows, of which the first are filled. It belongs to all states that were appended one to another.

    Rows that are filled never change, so a state may keep a view of the first rows while a later state fills others.

    Args:
        rows: `[T, layers, capacity, features]`.
        filled: the number of filled rows, `[T]`, the same for all tasks.
    """

    rows: Tensor
    filled: Tensor


def claim(keys: Tensor, rows: Tensor, filled: Tensor, more: int) -> tuple[Tensor, Room]:
    """A view of `keys` and `more` rows after them, to be written, and the buffer in which they lie.

    The rows lie in the same buffer if the next rows in it are free; then nothing is copied. Otherwise, because another
    state was appended to these keys before, or because the buffer is full, they lie in a new buffer of twice the size;
    so `n` rows that are appended one by one cost `O(n)` copies in all.

    Args:
        keys: the first `N` rows of the buffer, `[T, layers, N, features]`.
        rows: the buffer's rows, `[T, layers, capacity, features]`; the first `N` are equal to `keys`.
        filled: the buffer's number of filled rows, `[T]`.
        more: number of rows to append.

    >>> keys = torch.ones(1, 1, 2, 3)
    >>> grown, room = claim(keys, keys, torch.tensor([2]), 1)
    >>> grown.shape, room.rows.shape
    (torch.Size([1, 1, 3, 3]), torch.Size([1, 1, 18, 3]))
    >>> claim(grown, *room, 1)[1].rows is room.rows, claim(grown, *room, 1)[1].rows is room.rows
    (True, False)
    """
    count = keys.shape[2]
    total = count + more
    with _CLAIMING:
        writable = not rows.is_inference() or torch.is_inference_mode_enabled()
        if writable and total <= rows.shape[2] and bool((filled == count).all()):
            filled.fill_(total)
            # with .data, a graph that holds the first rows does not take the writing of later ones for a change
            return rows.data[:, :, :total], Room(rows, filled)
    new = keys.new_empty(*keys.shape[:2], max(2 * count, total + SPARE - 1), keys.shape[3])
    new[:, :, :count] = keys
    return new[:, :, :total], Room(new, torch.full_like(filled, total))
