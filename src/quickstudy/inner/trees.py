"""Trees of tensors `[T, ...]`, such as batches, states and gradients."""

from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from quickstudy.data import Examples


def detached(tree: Any) -> Any:
    """The same tensors without a graph."""
    return tree_map(lambda t: t.detach() if isinstance(t, Tensor) else t, tree)


def num_tasks(tree: Any) -> int:
    """`T`, from the first tensor that has axes."""
    return next(len(t) for t in tree_leaves(tree) if isinstance(t, Tensor) and t.dim())


def two_places(data: Any) -> Tensor:
    """The indices of two tasks: the first and the last, or with a mask those with the fewest and the most points."""
    count = num_tasks(data)
    places = torch.tensor([0, count - 1] if count > 1 else [0])
    points = data[-1] if isinstance(data, tuple) and data and not isinstance(data, Examples) else data
    masked = isinstance(points, Examples) and points.mask is not None
    return points.sizes().argsort().cpu()[places] if masked else places


def taken(data: Any, places: Tensor) -> Any:
    """The tasks at `places`."""
    return tree_map(lambda t: t[places.to(t.device)] if isinstance(t, Tensor) else t, data)


def layout_of(data: Any) -> tuple[Any, ...]:
    """The types, shapes and devices of one task's data, and the values that are no tensors."""
    return tuple(_entry(t, t.shape[1:]) if isinstance(t, Tensor) else _entry(t) for t in tree_leaves(data))


def whole_layout_of(tree: Any) -> tuple[Any, ...]:
    """The types, whole shapes and devices of tensors, and the values that are no tensors."""
    return tuple(_entry(t, t.shape) if isinstance(t, Tensor) else _entry(t) for t in tree_leaves(tree))


def _entry(leaf: Any, shape: Any = None) -> Any:
    if isinstance(leaf, Tensor):
        return leaf.dtype, shape, leaf.device, leaf.requires_grad
    return leaf if leaf is None or isinstance(leaf, bool | str) else type(leaf)  # numbers are data
