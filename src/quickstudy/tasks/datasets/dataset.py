"""Tasks from given arrays, a `Dataset` or a `DataLoader`."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from quickstudy.checks import check_switch
from quickstudy.data import IGNORED, Examples, Tasks, pad, zero_padding
from quickstudy.tasks.datasets.point_sets import Order, PointSets
from quickstudy.tasks.datasets.sizes import standard, warn_of_units
from quickstudy.tasks.datasets.splits import split_tasks

Pair = tuple[Tensor, Tensor]
_TASKS_OF_POINTS = "give a list with a pair (x [n, dx], y [n, dy]) for each task, or two arrays [T, N, ...]"


def from_dataset(
    data: Any,
    *,
    fractions: tuple[float, float, float] = (0.7, 0.15, 0.15),
    seed: int = 0,
    splits: Mapping[str, Sequence[int]] | None = None,
    order: Order = "random",
    missing: bool = False,
    scale: bool = False,
) -> PointSets:
    """A family whose tasks are given sets of points.

    Args:
        data: one of
            - a list with a pair `(x [n, *dx], y [n, *dy])` for each task; n may differ between tasks;
            - a tuple of two arrays `(x [T, N, *dx], y [T, N, *dy])`;
            - a map-style `torch.utils.data.Dataset` with such a pair for each task;
            - a `DataLoader` of them (with `batch_size=None` it yields tasks, otherwise batches of tasks of equal size);
            - `Examples`, or `Tasks`, of which support and query together are the points of a task.

            Integer `y [n]` are class labels, and integer `y [n, *positions]` are labels of the positions of a point.
            Flat `x [n]` and real `y [n]` count as one feature.
        fractions: shares of the tasks for train, validation and test, chosen at random.
        seed: seed of this choice.
        splits: the indices of the tasks of "train", "validation" and "test", in place of `fractions`.
        order: "random": support and query are random points of a task. "first": its first points are the support.
        missing: whether NaN in a real `y` marks an output that was not observed, for processes with the head
            `qs.heads.WithMissing`. Points of which no output was observed are left out.
        scale: whether every feature of x, and every real output, is converted to mean 0 and standard deviation 1 over
            the training tasks. `family.scaling` converts in both directions, as `family.scaling.in_units(belief)`.
            Without it, a warning says if values are far from unit size, as years and Unix times are.

    Returns:
        The family. It keeps the data on their device, and samples in the default dtype on the generator's device.

    Raises:
        TypeError: for data of another kind.
        ValueError: for NaN or infinite values, tasks with different features, fewer than two points in a task, and too
            few tasks.

    >>> curves = [(torch.linspace(0, 1, n), torch.rand(n)) for n in (5, 8, 6, 9)]
    >>> family = from_dataset(curves)
    >>> family.sample(2, support=3, query=2).support.x.shape
    torch.Size([2, 3, 1])
    """
    points = (
        data
        if isinstance(data, Examples)
        else data.support.append(data.query)
        if isinstance(data, Tasks)
        else _pad(_pairs(data))
    )
    if missing and points.y.is_floating_point():
        points = points._replace(mask=points.real() & ~points.y.isnan().flatten(2).all(2))
    if points.mask is not None:
        points = _real_first(points)
    chosen = split_tasks(range(points.num_tasks), fractions=fractions, seed=seed, splits=splits)
    scaling = None
    if check_switch("scale", scale):
        points, scaling = standard(points, chosen["train"])
    if not points.x.is_floating_point():
        points = points._replace(x=points.x.to(torch.get_default_dtype()))
    family = PointSets(points=points, splits=chosen, order=order, missing=missing, scaling=scaling)
    if not scale:
        warn_of_units(points, chosen["train"])
    return family


def _pairs(data: Any) -> Iterator[Pair]:
    """The pair `(x, y)` of each task."""
    if isinstance(data, IterableDataset):
        raise TypeError("an IterableDataset has no fixed set of tasks to split; collect it first: list(dataset)")
    if isinstance(data, tuple) and len(data) == 2 and all(hasattr(part, "shape") for part in data):
        x, y = (torch.as_tensor(part) for part in data)
        if x.dim() < 2 or y.dim() < 2 or x.shape[:2] != y.shape[:2]:
            raise ValueError(
                f"two arrays must be x [T, N, *dx] and y [T, N, *dy]; got {list(x.shape)} and {list(y.shape)}: "
                "for tasks of unequal size give a list of (x, y) pairs"
            )
        data = list(zip(x, y, strict=True))
    _check_no_points(data)
    items: Iterable[Any] = data
    if isinstance(data, DataLoader) and data.batch_size is not None:
        items = _unbatched(data)
    elif isinstance(data, Dataset):
        items = (data[i] for i in range(len(data)))  # type: ignore[arg-type]
    elif not isinstance(data, list | tuple | DataLoader):
        raise TypeError(
            f"cannot read tasks from {type(data).__name__}; give a list of (x, y) pairs, two arrays [T, N, ...], "
            "a map-style Dataset, a DataLoader, Examples or Tasks"
        )
    for i, item in enumerate(items):
        yield _pair(item, i)


def _check_no_points(data: Any) -> None:
    """Raise ValueError for a `TensorDataset` of points, of which each item would be taken for a task."""
    while hasattr(data, "dataset"):  # DataLoader, Subset
        data = data.dataset
    if isinstance(data, TensorDataset) and max(part.dim() for part in data.tensors) < 3:
        shapes = " and ".join(str(list(part.shape)) for part in data.tensors)
        raise ValueError(
            f"a TensorDataset of {shapes} holds points, one in each row, and a task is a set of points; "
            f"{_TASKS_OF_POINTS}, or rows with the name of their group to qs.tasks.Table"
        )


def _unbatched(loader: Iterable[Any]) -> Iterator[Any]:
    for batch in loader:
        if not isinstance(batch, list | tuple) or len(batch) != 2:
            raise TypeError(f"the DataLoader gave {_kind(batch)}; expected batches (x [B, N, *dx], y [B, N, *dy])")
        yield from zip(*batch, strict=True)


def _pair(item: Any, i: int) -> Pair:
    if not isinstance(item, list | tuple) or len(item) != 2:
        raise TypeError(f"task {i} is {_kind(item)}; expected a pair (x [n, *dx], y [n, *dy])")
    x, y = (torch.as_tensor(part) for part in item)
    if not y.dim():
        raise ValueError(
            f"item {i} has x of shape {list(x.shape)} and the single outcome {y.item():g}: it is one point, and a task "
            f"is a set of points; {_TASKS_OF_POINTS}, or for labelled images qs.tasks.Classification"
        )
    x = x.unsqueeze(1) if x.dim() == 1 else x
    column = not y.is_floating_point() and y.dim() > 1 and y.shape[-1] == 1
    if y.dtype == torch.bool or column:
        raise ValueError(
            f"task {i} has y of {y.dtype} and shape {list(y.shape)}; class labels are integers [n] or [n, *positions], "
            f"real outputs floats [n, *dy]: convert with y.float() or {'y.squeeze(-1)' if column else 'y.long()'}"
        )
    if y.is_floating_point():
        y = y.unsqueeze(1) if y.dim() == 1 else y
    else:
        y = y.long()
        wrong = y[(y < 0) & (y != IGNORED)]
        if len(wrong):
            raise ValueError(
                f"task {i} has the class label {int(wrong.min())}; labels count from 0, and {IGNORED} is a position "
                "that does not count"
            )
    if x.dim() < 2 or len(x) != len(y):
        raise ValueError(f"task {i} has x of shape {list(x.shape)} and y {list(y.shape)}; give one y for every x")
    return x, y


def _pad(pairs: Iterable[Pair]) -> Examples:
    sets = list(pairs)
    if not sets:
        raise ValueError("the data hold no task; give at least three")
    for i, (x, y) in enumerate(sets):
        for name, part, first in (("x", x, sets[0][0]), ("y", y, sets[0][1])):
            if part.shape[1:] != first.shape[1:] or part.is_floating_point() != first.is_floating_point():
                raise ValueError(
                    f"task {i} has {name} {part.dtype} {list(part.shape)} and task 0 {first.dtype} "
                    f"{list(first.shape)}; all tasks need the same features"
                )
    wide = [torch.float64] if sets[0][0].dtype in (torch.int32, torch.int64) else []  # as Unix times
    real = (part.dtype for pair in sets for part in pair if part.is_floating_point())
    dtype = reduce(torch.promote_types, (*real, *wide), torch.get_default_dtype())
    return pad([(x.to(dtype), y.to(dtype) if y.is_floating_point() else y) for x, y in sets])


def _real_first(points: Examples) -> Examples:
    """The same points with real points before padding, in their order."""
    real = points.real()
    order = real.int().argsort(dim=1, descending=True, stable=True)
    task = torch.arange(points.num_tasks, device=real.device)[:, None]
    mask = real[task, order]
    x, y = zero_padding(points.x[task, order], mask), zero_padding(points.y[task, order], mask)
    return Examples(x, y, None if bool(mask.all()) else mask)


def _kind(item: Any) -> str:
    size = f" of {len(item)}" if isinstance(item, list | tuple | dict) else ""
    return f"a {type(item).__name__}{size}"
