"""Tasks that are finite sets of points, split by task and drawn without repeating a point."""

import hashlib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor

from quickstudy.checks import check_examples, check_switch
from quickstudy.data import Examples, Tasks
from quickstudy.learner import SPLITS, Split, check_split
from quickstudy.tasks.datasets.scaling import Scaling
from quickstudy.tasks.sampling import split_generator, uniform

Order = Literal["random", "first"]
ORDERS: tuple[Order, ...] = ("random", "first")


@final
@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class PointSets:
    """A family whose tasks are given sets of points; `from_dataset` builds it.

    Args:
        points: all tasks, padded to equal length; each has at least two real points, before its padding.
        splits: the indices of the tasks of each split; see `quickstudy.tasks.datasets.splits.split_tasks`.
        order: "random" draws distinct points as support and query; "first" takes the first points as support and draws
            the query from the rest.
        missing: whether NaN in `y` is allowed, for an output that was not observed.
        scaling: the change of units, if the points are in standard units.

    Raises:
        ValueError: for points that break the contract, a task of fewer than two points, or an unknown order.
    """

    points: Examples
    splits: Mapping[str, tuple[int, ...]]
    order: Order = "random"
    missing: bool = False
    scaling: Scaling | None = None

    def __post_init__(self) -> None:
        check_examples(self.points, "points", missing=check_switch("missing", self.missing))
        check_order(self.order)
        sizes = self.points.sizes()
        if bool((sizes < 2).any()):
            task = int(sizes.argmin())
            raise ValueError(
                f"task {task} has {int(sizes[task])} point; every task needs 2: one for support and one for query"
            )

    @property
    def dx(self) -> int:
        """The number of features of an input."""
        return self.points.x.shape[2:].numel()

    @property
    def dy(self) -> int:
        """The number of outputs; for class labels, the number of classes."""
        y = self.points.clean().y
        return y.shape[2] if y.is_floating_point() else int(y.max()) + 1

    def sample(
        self,
        num_tasks: int,
        *,
        support: int,
        query: int,
        split: Split = "train",
        generator: torch.Generator | None = None,
    ) -> Tasks:
        """Draw tasks of the split with replacement, and distinct points of each.

        If a task has fewer than `support + query` points, one point is kept for the query, the support gets as many of
        the others as it needs, and the query gets the rest; masks mark the real points.

        Args:
            num_tasks: T, the number of tasks.
            support: N, the number of support points of a task.
            query: M, the number of query points of a task.
            split: the split from which tasks are drawn.
            generator: source of random numbers, on whose device the tasks are; None is torch's own.

        Returns:
            Tasks with `info` task `[T]`, the index of each task in `points`.
        """
        choice = self._places(split)
        generator = split_generator(num_tasks, support, query, split, generator)
        draws = uniform(num_tasks, 1 + self.points.num_points, generator=generator)
        device, home = draws.device, self.points.x.device
        draws = draws.to(home)
        index = choice[(draws[:, 0] * len(choice)).long().clamp_max(len(choice) - 1)]
        enough = int(self.points.sizes()[choice].min()) >= support + query
        return self._drawn(index, draws[:, 1:], support, query, masked=not enough).to(device)

    def held_out(
        self, split: Split = "test", *, support: int, after: int | None = None, dtype: torch.dtype | None = None
    ) -> Tasks:
        """Every task of the split once, with its first `support` points as support and later ones as query.

        Args:
            split: the split.
            support: number of support points; a task with as few points has one less, and its last point as query.
            after: number of points before the query, at least `support`; by default `support`. With the same `after`,
                support sets of different sizes are judged on the same points.
            dtype: dtype of the points; by default torch's default dtype.
        """
        after = support if after is None else after
        if not 0 <= support <= after:
            raise ValueError(f"support={support}, after={after}; expected whole numbers, 0 <= support <= after")
        index = self._places(split)
        sizes = self.points.sizes()[index]
        rest = sizes - (sizes - 1).clamp_max(after)
        order = torch.arange(self.points.num_points, device=index.device).expand(len(index), -1)
        masked = bool((rest != rest[0]).any() or sizes.min() <= after)
        return self._cut(index, order, (support, after), int(rest.max()), masked=masked, dtype=dtype)

    def once(
        self, split: Split = "test", *, support: int, query: int, generator: torch.Generator | None = None
    ) -> Tasks:
        """Every task of the split once, with `support` support points and at most `query` query points.

        Both are random points, or with `order="first"` the first points and then random ones. Tasks with at most
        `support` points are left out, with a warning.

        Returns:
            Tasks as of `sample`, in the order of the split.

        Raises:
            ValueError: if no task of the split has more than `support` points.
        """
        index, sizes = self._places(split), self.points.sizes()
        long = sizes[index] > support
        most = int(sizes[index].max())
        if not bool(long.any()):
            raise ValueError(
                f"support={support}: the largest task of the {split} split has {most} points, so none would be left to "
                f"predict; give at most {most - 1}"
            )
        if not bool(long.all()):
            warnings.warn(
                f"support={support}: {int((~long).sum())} of the {len(index)} tasks of the {split} split have no more "
                "than that number of points, and are left out",
                RuntimeWarning,
                stacklevel=2,
            )
        generator = split_generator(len(index), support, query, split, generator)
        keys = uniform(len(index), self.points.num_points, generator=generator)
        tasks = self._drawn(index[long], keys.to(index.device)[long], support, min(query, most - support))
        return tasks.to(keys.device)

    def digest(self) -> str:
        """A short hash of the points and their order, equal for equal data."""
        clean = self.points.clean()
        parts = [clean.x, clean.y, clean.real()]
        data = b"".join(part.cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes() for part in parts)
        return hashlib.sha256(data).hexdigest()[:12]

    def __repr__(self) -> str:
        counts = "/".join(str(len(self.splits[name])) for name in SPLITS)
        parts = "|".join(",".join(map(str, self.splits[name])) for name in SPLITS)
        split = hashlib.sha256(parts.encode()).hexdigest()[:8]
        return (
            f"PointSets(tasks={self.points.num_tasks}, dx={self.dx}, dy={self.dy}, split={counts}#{split}, "
            f"order={self.order!r}, data={self.digest()!r})"
        )

    def _places(self, split: Split) -> Tensor:
        """The indices of the split's tasks."""
        check_split(split)
        if not self.splits[split]:
            raise ValueError(f"the {split} split holds no task; change fractions= or splits=")
        return torch.tensor(self.splits[split], device=self.points.x.device)

    def _drawn(self, index: Tensor, keys: Tensor, support: int, query: int, *, masked: bool | None = None) -> Tasks:
        """The tasks at `index` with points in the order of random keys `[T, P]`, or the first points before others."""
        sizes, place = self.points.sizes()[index], torch.arange(keys.shape[1], device=index.device)
        if self.order == "first":  # negative keys bring the first points to the front, in their order
            taken = torch.minimum(sizes - 1, torch.tensor(support, device=index.device))
            keys = torch.where(place < taken[:, None], place.to(keys) - keys.shape[1], keys)
        keys = torch.where(place < sizes[:, None], keys, 2.0)
        masked = int(sizes.min()) < support + query if masked is None else masked
        return self._cut(index, keys.argsort(1), (support, support), query, masked=masked)

    def _cut(
        self,
        index: Tensor,
        order: Tensor,
        support: tuple[int, int],
        query: int,
        *,
        masked: bool,
        dtype: torch.dtype | None = None,
    ) -> Tasks:
        """The tasks at `index`, with their points in the order `order [T, P]`: first the support, then the query.

        `support` is the number of its points, and the number of points before the query. Both leave at least one point
        of each task for the query.
        """
        sizes = self.points.sizes()[index][:, None]
        given, before = ((sizes - 1).clamp_max(count) for count in support)

        def take(start: Tensor, stop: Tensor, count: int) -> Examples:
            place = start + torch.arange(count, device=index.device)
            rows = order.gather(1, place.clamp_max(order.shape[1] - 1))
            mask = place < stop if masked else None
            x, y = self.points.x[index[:, None], rows], self.points.y[index[:, None], rows]
            return Examples(x, y, mask).clean().to(dtype=dtype or torch.get_default_dtype())

        seen = take(torch.zeros_like(given), given, support[0])
        return Tasks(seen, take(before, sizes, query), {"task": index})


def check_order(order: str) -> None:
    """Raise ValueError for an unknown order."""
    if order not in ORDERS:
        raise ValueError(f"unknown order {order!r}; choose one of {', '.join(ORDERS)}")
