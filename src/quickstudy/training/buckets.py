"""Batches of a few sizes, padded from many, so that a compiled meta-gradient needs a few graphs only."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from quickstudy.data import Examples, Tasks

BUCKETS = 2  # sizes for the support set, and as many for the query; each pair of them needs a graph


class Buckets(NamedTuple):
    """Sizes to which support sets and query sets are padded, in increasing order.

    A set becomes as large as the next size. One that is larger than all stays as it is, and one of the largest size has
    a mask as well, so that all batches of a pair of sizes have one layout.

    >>> buckets = Buckets.of((0, 30), 20)
    >>> buckets
    Buckets(support=(15, 30), query=(20,))
    >>> points = Examples(torch.randn(2, 16, 1), torch.randn(2, 16, 1))
    >>> buckets(Tasks(points, points)).support.sizes(), buckets(Tasks(points, points)).support.num_points
    (tensor([16, 16]), 30)
    """

    support: tuple[int, ...]
    query: tuple[int, ...]

    @classmethod
    def of(cls, support: int | tuple[int, int], query: int | tuple[int, int]) -> "Buckets":
        """The sizes for numbers of points, or ranges of them."""
        return cls(_sizes(support), _sizes(query))

    def __call__(self, tasks: Tasks) -> Tasks:
        """The same tasks with padding."""
        return Tasks(_padded(tasks.support, self.support), _padded(tasks.query, self.query), tasks.info)


def _sizes(given: int | tuple[int, int]) -> tuple[int, ...]:
    low, high = (given, given) if isinstance(given, int) else given
    if low == high:
        return (high,)
    return tuple(sorted({low + math.ceil((high - low) * k / BUCKETS) for k in range(1, BUCKETS + 1)}))


def _padded(points: Examples, sizes: tuple[int, ...]) -> Examples:
    more = next((size for size in sizes if size >= points.num_points), points.num_points) - points.num_points
    x, y, real = (_longer(part, more) for part in (points.x, points.y, points.real()))
    return Examples(x, y, real)


def _longer(values: Tensor, more: int) -> Tensor:
    return torch.cat([values, values.new_zeros(len(values), more, *values.shape[2:])], 1)
