"""N-way K-shot classification: few-shot tasks from one labelled data set, with classes held out."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor

from quickstudy.checks import check_whole
from quickstudy.data import Examples, Tasks
from quickstudy.learner import SPLITS, Split, check_split
from quickstudy.tasks.datasets.splits import split_tasks
from quickstudy.tasks.sampling import Batch


@final
class Classification:
    """Tasks that classify `ways` classes of a labelled data set, numbered anew for each task.

    Training, validation and test tasks have different classes, as in Vinyals et al. 2016 (Matching Networks). Points
    cycle through the classes of their task: `support=ways * K` gives K points of each class, and the first points of a
    support set are a smaller one. No point occurs twice in a task.

    Args:
        x: the points `[N, *dx]`, such as images `[N, channels, height, width]`.
        y: the class of each point: whole numbers `[N]`.
        ways: number of classes in a task.
        fractions: shares of the classes for train, validation and test, chosen at random.
        seed: seed of this choice.
        splits: the classes of "train", "validation" and "test", in place of `fractions`.

    Raises:
        ValueError: for x and y of different lengths, other labels, or a split with fewer than `ways` classes.

    >>> images, labels = torch.rand(60, 1, 8, 8), torch.arange(60) % 12
    >>> family = Classification(images, labels, ways=2, fractions=(0.5, 0.25, 0.25))
    >>> tasks = family.sample(3, support=2, query=4)
    >>> tasks.support.x.shape, tasks.query.y[0]
    (torch.Size([3, 2, 1, 8, 8]), tensor([0, 1, 0, 1]))
    """

    def __init__(
        self,
        x: Any,
        y: Any,
        *,
        ways: int = 5,
        fractions: tuple[float, float, float] = (0.6, 0.2, 0.2),
        seed: int = 0,
        splits: Mapping[str, Sequence[int]] | None = None,
    ):
        self.x, self.y, self.ways = torch.as_tensor(x), torch.as_tensor(y), check_whole("ways", ways, 1)
        _check(self.x, self.y)
        self.classes, of_class = self.y.unique(return_inverse=True)
        self.splits = split_tasks(self.classes.tolist(), fractions=fractions, seed=seed, splits=splits)
        for split, own in self.splits.items():
            if own and len(own) < ways:
                raise ValueError(
                    f"the {split} split has {len(own)} of {len(self.classes)} classes, and a task has ways={ways}; "
                    "give fewer ways, or more classes to this split by fractions= or splits="
                )
        self._counts = of_class.bincount()
        order = of_class.argsort(stable=True)  # the points, class by class
        self._members = torch.nn.utils.rnn.pad_sequence(order.split(self._counts.tolist()), batch_first=True)

    @property
    def dx(self) -> tuple[int, ...]:
        """The shape of a point."""
        return tuple(self.x.shape[1:])

    @property
    def dy(self) -> int:
        """The number of classes in a task."""
        return self.ways

    def sample(
        self,
        num_tasks: int,
        *,
        support: int,
        query: int,
        split: Split = "train",
        generator: torch.Generator | None = None,
    ) -> Tasks:
        """Draw tasks of the split's classes.

        Args:
            num_tasks: T, the number of tasks.
            support, query: total numbers of points, K x ways for K points of each class.
            split: the split whose classes the tasks have.
            generator: source of the random numbers, on whose device the tasks are.

        Returns:
            Tasks with labels `[T, N]`, and `info` classes `[T, ways]`, the given label of each class of a task.

        Raises:
            ValueError: if a class has too few points.
        """
        batch = Batch(num_tasks, support, query, split, generator)
        own = self._own(split)
        seen, asked = (-(-count // self.ways) for count in (support, query))  # of each class, rounded up
        fewest = int(self._counts[own].min())
        if seen + asked > fewest:
            raise ValueError(
                f"support={support}, query={query}: {seen} + {asked} points of each of {self.ways} classes; expected "
                f"at most {fewest} together, as many as the smallest class of the {split} split has"
            )
        draws = batch.draw(torch.rand, (num_tasks, len(own) + self.ways * self._members.shape[1]), axis=0)
        device, draws = draws.device, draws.to(self.x.device)
        chosen = own[draws[:, : len(own)].argsort(1)[:, : self.ways]]
        counts = self._counts[chosen][..., None]
        keys = draws[:, len(own) :].reshape(num_tasks, self.ways, -1)
        order = keys.masked_fill(torch.arange(keys.shape[2], device=keys.device) >= counts, 2.0).argsort(2)
        ends = {"support": torch.arange(seen, device=keys.device).expand(*chosen.shape, seen)}
        ends["query"] = counts - 1 - torch.arange(asked, device=keys.device)  # from the other end: for any support
        points = self._members[chosen]
        found = {name: points.gather(2, order.gather(2, at)) for name, at in ends.items()}
        support_set, query_set = self._examples(found["support"], support), self._examples(found["query"], query)
        return Tasks(support_set, query_set, {"classes": self.classes[chosen]}).to(device)

    def _own(self, split: Split) -> Tensor:
        check_split(split)
        if not self.splits[split]:
            raise ValueError(f"the {split} split holds no class; change fractions= or splits=")
        return torch.tensor(self.splits[split], device=self.x.device)

    def _examples(self, places: Tensor, count: int) -> Examples:
        """The first `count` points at `places [T, ways, K]`, class after class."""
        rows = places.transpose(1, 2).flatten(1)[:, :count]
        x = self.x[rows].to(torch.get_default_dtype())
        label = torch.arange(count, device=rows.device) % self.ways
        return Examples(x, label.repeat(len(rows), 1))

    def __repr__(self) -> str:
        parts = (self.x, self.y, torch.tensor([i for name in SPLITS for i in (-1, *self.splits[name])]))
        data = b"".join(part.cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes() for part in parts)
        counts = "/".join(str(len(self.splits[name])) for name in SPLITS)
        digest = hashlib.sha256(data).hexdigest()[:12]
        return f"Classification(points={len(self.x)}, ways={self.ways}, classes={counts}, data={digest!r})"


def _check(x: Tensor, y: Tensor) -> None:
    """Raise ValueError unless x `[N, *dx]` and y `[N]` are points with class labels."""
    if y.dim() != 1 or y.is_floating_point() or y.dtype == torch.bool or x.dim() < 2 or len(x) != len(y):
        raise ValueError(
            f"x has shape {list(x.shape)} and y is {y.dtype} of shape {list(y.shape)}; expected points x [N, *dx] and "
            "one whole number for each, y [N]: y.argmax(1) turns one-hot labels into numbers, y.long() whole floats"
        )
    if x.is_floating_point() and not bool(x.isfinite().all()):
        raise ValueError("x has NaN or infinite values; leave these points out, or fill the values in")
