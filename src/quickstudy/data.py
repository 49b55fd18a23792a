"""The records that all parts of quickstudy exchange: `Examples` (one set of points per task) and `Tasks`.

Shape letters, used everywhere: `T` tasks (always the first axis), `N` support points, `M` query points,
`dx` features of an input, `dy` features of an output. Support and query are what the neural-process
literature calls context and target.

A point's output may be spread over positions: the pixels of an image, the places of a sequence.
"""

from collections.abc import Sequence
from numbers import Integral
from typing import Any, NamedTuple, Self

import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor

IGNORED = -100  # the label of a position that does not count, as torch's cross_entropy has it


class Examples(NamedTuple):
    """Labelled points of `T` tasks, padded to one length.

    Args:
        x: inputs `[T, N, *dx]`: vectors, images or sequences. `N` may be 0.
        y: outputs `[T, N, *dy]` (vectors, images), or class labels `[T, N]` as integers. A point with several positions
            has one label for each: `[T, N, H, W]` for pixels, `[T, N, L]` for the places of a sequence. A position
            labelled -100 does not count.
        mask: `[T, N]`, True for a real point; None when every point is real. Padding may hold anything,
            NaN included, and changes nothing. (Torch's pytrees count a mask of None as a leaf:
            `vmap(f, in_dims=(Examples(0, 0, None),))` passes over it.)

    >>> points = Examples(torch.zeros(2, 5, 1), torch.zeros(2, 5, 1))
    >>> points.num_tasks, points.num_points
    (2, 5)
    """

    x: Shaped[Tensor, "T N *dx"]
    y: Shaped[Tensor, "T N *dy"]
    mask: Bool[Tensor, "T N"] | None = None

    @property
    def num_tasks(self) -> int:
        """`T`."""
        return self.x.shape[0]

    @property
    def num_points(self) -> int:
        """`N`: the padded number of points per task."""
        return self.x.shape[1]

    def sizes(self) -> Int[Tensor, " T"]:
        """The number of real points of each task."""
        if self.mask is None:
            return torch.full((self.num_tasks,), self.num_points, device=self.x.device)
        return self.mask.sum(1)

    def first(self, n: int) -> "Examples":
        """The first `n` points of every task, padding included (all of them if `n` exceeds `N`)."""
        return Examples(self.x[:, :n], self.y[:, :n], None if self.mask is None else self.mask[:, :n])

    def select(self, index: Any) -> "Examples":
        """The tasks at `index` (a number, a slice or an index tensor), keeping the task axis."""
        index = _with_axis(index, self.num_tasks)
        return Examples(self.x[index], self.y[index], None if self.mask is None else self.mask[index])

    def append(self, other: "Examples") -> "Examples":
        """The union, task by task: these points, then those of `other`.

        Raises:
            TypeError, ValueError: if `other` does not hold the same number of tasks, or points of another shape.
        """
        if not isinstance(other, Examples):
            raise TypeError(f"cannot append a {type(other).__name__} to Examples; build it with Examples(x, y)")
        if self.x.shape[0] != other.x.shape[0] or self.x.shape[2:] != other.x.shape[2:]:
            raise ValueError(
                f"cannot append examples of shape {list(other.x.shape)} to {list(self.x.shape)}: "
                "the number of tasks and the shape of an input must agree"
            )
        if self.y.shape[2:] != other.y.shape[2:]:
            raise ValueError(
                f"cannot append outputs of shape {list(other.y.shape)} to {list(self.y.shape)}: "
                "the shape of an output must agree"
            )
        mask = None
        if self.mask is not None or other.mask is not None:
            mask = torch.cat([self.real(), other.real()], 1)
        return Examples(torch.cat([self.x, other.x], 1), torch.cat([self.y, other.y], 1), mask)

    def real(self) -> Bool[Tensor, "T N"]:
        """The mask; all True if there is none."""
        if self.mask is not None:
            return self.mask
        return torch.ones(self.x.shape[:2], dtype=torch.bool, device=self.x.device)

    def clean(self) -> "Examples":
        """The same points with zeros in the padding, so that a NaN there reaches no sum and no gradient."""
        if self.mask is None:
            return self
        return Examples(zero_padding(self.x, self.mask), zero_padding(self.y, self.mask), self.mask)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> "Examples":
        """Moved to `device`; floating tensors cast to `dtype` (labels and masks keep theirs)."""

        def move(tensor: Tensor) -> Tensor:
            return tensor.to(device=device, dtype=dtype if tensor.is_floating_point() else None)

        return Examples(move(self.x), move(self.y), None if self.mask is None else self.mask.to(device))


class _TasksFields(NamedTuple):
    support: Examples
    query: Examples
    info: dict[str, Any]


class Tasks(_TasksFields):
    """A batch of `T` tasks: learn from `support`, be judged on `query`.

    Args:
        support: the points a learner adapts to (context).
        query: the points its predictions are judged on (target).
        info: what the family knows about the tasks: amplitude, kernel, oracle log-likelihood ...
            The first axis of every tensor in it is `T`.
    """

    __slots__ = ()

    def __new__(cls, support: Examples, query: Examples, info: dict[str, Any] | None = None) -> Self:
        """`info` is a new, empty dictionary by default."""
        return super().__new__(cls, support, query, {} if info is None else info)

    @property
    def num_tasks(self) -> int:
        """`T`."""
        return self.support.num_tasks

    def select(self, index: Any) -> "Tasks":
        """The tasks at `index`, keeping the task axis."""
        index = _with_axis(index, self.num_tasks)
        info = {k: v[index] if isinstance(v, Tensor) and v.dim() else v for k, v in self.info.items()}
        return Tasks(self.support.select(index), self.query.select(index), info)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> "Tasks":
        """Moved to `device`; floating tensors cast to `dtype`."""
        info = {
            k: v.to(device=device, dtype=dtype if v.is_floating_point() else None) if isinstance(v, Tensor) else v
            for k, v in self.info.items()
        }
        return Tasks(self.support.to(device, dtype), self.query.to(device, dtype), info)


def zero_padding(values: Shaped[Tensor, "T N *rest"], mask: Bool[Tensor, "T N"]) -> Shaped[Tensor, "T N *rest"]:
    """`values` with zeros where `mask` is False."""
    return torch.where(aligned(mask, values), values, torch.zeros((), dtype=values.dtype, device=values.device))


def aligned(lead: Tensor, like: Tensor) -> Tensor:
    """`lead [*lead]` with axes of size 1 appended, so that it broadcasts against `like [*lead, *rest]`."""
    return lead.reshape(lead.shape + (1,) * (like.dim() - lead.dim()))


def mean_over_positions(values: Tensor, labels: Tensor, axes: int) -> Tensor:
    """Each point's mean of `values` over the positions that count; `values` themselves if a point has one label.

    Args:
        values: `[*points, *positions]`.
        labels: `[*points, *positions]`, `IGNORED` at positions that do not count.
        axes: the number of axes in `*points`.
    """
    if labels.dim() == axes:
        return values
    counted = (labels != IGNORED).flatten(axes)
    each = torch.where(counted, values.flatten(axes), 0)
    return (each.sum(-1, dtype=at_least_float32(each)) / counted.sum(-1).clamp_min(1)).to(values)


def at_least_float32(like: Tensor) -> torch.dtype:
    """The type for sums over `like`: half precision cannot count beyond 256 (bfloat16), or overflows (float16)."""
    return torch.promote_types(like.dtype, torch.float32)


def pad(sets: Sequence[tuple[Tensor, Tensor]]) -> Examples:
    """Point sets of unequal size as one `Examples`, padded with zeros and masked.

    Args:
        sets: one pair `(x [n_t, *dx], y [n_t, *dy])` for each task.

    >>> pad([(torch.ones(3, 1), torch.ones(3, 1)), (torch.ones(1, 1), torch.ones(1, 1))]).sizes()
    tensor([3, 1])
    """
    if not sets:
        raise ValueError("pad() was given no point set; give one (x, y) pair for every task")
    for i, pair in enumerate(sets):
        if len(pair) != 2 or not all(isinstance(part, Tensor) for part in pair):
            given = ", ".join(type(part).__name__ for part in pair)
            raise TypeError(f"point set {i} is ({given}); expected two tensors (x, y): use torch.as_tensor(...)")
        x, y = pair
        if len(x) != len(y):
            raise ValueError(f"point set {i} has {len(x)} inputs and {len(y)} outputs; give as many of each")
        for name, part, first in (("inputs", x, sets[0][0]), ("outputs", y, sets[0][1])):
            if part.shape[1:] != first.shape[1:]:
                raise ValueError(
                    f"point set {i} has {name} of shape {list(part.shape[1:])} and point set 0 of "
                    f"{list(first.shape[1:])}; only the number of points may differ: bring them to one size "
                    f"(labels of added positions: {IGNORED})"
                )
    sizes = [len(x) for x, _ in sets]
    longest = max(sizes)
    x = torch.stack([_pad_to(x, longest) for x, _ in sets])
    y = torch.stack([_pad_to(y, longest) for _, y in sets])
    if min(sizes) == longest:
        return Examples(x, y)
    places = torch.arange(longest, device=x.device)
    return Examples(x, y, places < torch.tensor(sizes, device=x.device)[:, None])


def collate(batch: Sequence[Tasks]) -> Tasks:
    """Several batches of tasks as one, padded to the longest. `info` keeps the keys that all of them have."""
    if not batch:
        raise ValueError("collate() was given no tasks")
    for given in batch:
        if not isinstance(given, Tasks):
            raise TypeError(f"collate() was given a {type(given).__name__}; expected a sequence of Tasks")
    support = pad([pair for tasks in batch for pair in _sets(tasks.support)])
    query = pad([pair for tasks in batch for pair in _sets(tasks.query)])
    shared = [k for k in batch[0].info if all(isinstance(tasks.info.get(k), Tensor) for tasks in batch)]
    return Tasks(support, query, {k: torch.cat([tasks.info[k] for tasks in batch]) for k in shared})


def by_size(*sets: Examples) -> list[tuple[Tensor, tuple[Examples, ...]]]:
    """Tasks of unequal size in groups of equal size, without padding.

    This is for networks that mix points (batch statistics, attention over points): there, padding would change the
    outputs at real points.

    Returns:
        `(index, sets)` for each group: the tasks' places in the batch, and their examples without padding.
    """
    sizes = torch.stack([examples.sizes() for examples in sets], 1)
    groups = []
    for size in torch.unique(sizes, dim=0):
        index = (sizes == size).all(1).nonzero().squeeze(1)
        groups.append((index, tuple(_compact(s.select(index), int(n)) for s, n in zip(sets, size, strict=True))))
    return groups


def _with_axis(index: Any, num_tasks: int) -> Any:
    """`index` in a form that keeps the first axis of a tensor `[T, ...]`; IndexError if it exceeds `T`."""
    if isinstance(index, Tensor) and index.dim() == 0:
        index = index.item()
    if not isinstance(index, Integral):
        return index
    if not -num_tasks <= int(index) < num_tasks:
        raise IndexError(f"select({int(index)}): there are tasks 0 to {num_tasks - 1}")
    place = int(index) % num_tasks
    return slice(place, place + 1)


def _pad_to(values: Tensor, length: int) -> Tensor:
    filled = values.new_zeros((length, *values.shape[1:]))
    filled[: len(values)] = values
    return filled


def _sets(examples: Examples) -> list[tuple[Tensor, Tensor]]:
    if examples.mask is None:
        return list(zip(examples.x, examples.y, strict=True))
    return [(x[m], y[m]) for x, y, m in zip(examples.x, examples.y, examples.mask, strict=True)]


def _compact(examples: Examples, size: int) -> Examples:
    """The `size` real points of every task, in their order, without padding."""
    if examples.mask is None or size == examples.num_points:
        return Examples(examples.x, examples.y)
    places = examples.mask.int().argsort(dim=1, descending=True, stable=True)[:, :size]
    tasks = torch.arange(examples.num_tasks, device=examples.x.device)[:, None]
    return Examples(examples.x[tasks, places], examples.y[tasks, places])
