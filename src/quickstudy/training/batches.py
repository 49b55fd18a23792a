"""The batch of a step, as a pure function of the seed and the step."""

import math
from typing import NamedTuple

import torch

from quickstudy.chance import Stream, mix
from quickstudy.data import Tasks
from quickstudy.learner import TaskFamily

Size = int | tuple[int, int]
SPREAD = 4  # least number of validation batches if sizes are a range


class Sizes(NamedTuple):
    """The number of tasks in a batch, and the numbers of support and query points of each task."""

    tasks: int
    support: int
    query: int


class Batches:
    """Batches of tasks from a family: `batches(step)` always returns the same tasks for a step.

    Args:
        family: the task family.
        seed: seed of the run.
        tasks: number of tasks in a batch.
        support: number of support points, or an inclusive range `(low, high)` from which it is drawn at each step.
        query: number of query points, or a range, as for `support`.
        points: largest number of support and query points together.
        device: device on which the tasks are sampled.
    """

    def __init__(
        self,
        family: TaskFamily,
        *,
        seed: int,
        tasks: int,
        support: Size,
        query: Size,
        points: int | None = None,
        device: torch.device | str = "cpu",
    ):
        self.family, self.seed, self.tasks, self.points = family, seed, tasks, points
        self.support, self.query = as_range(support), as_range(query)
        self._generator = torch.Generator(device=device)

    def __call__(self, step: int, *, rank: int = 0, world: int = 1) -> Tasks:
        """Return the tasks of `step`. Of `world` processes, process `rank` gets every `world`-th of them."""
        support, query = self.sizes(step)
        self._generator.manual_seed(mix(self.seed, step, Stream.BATCH))
        tasks = self.family.sample(self.tasks, support=support, query=query, split="train", generator=self._generator)
        return tasks if world == 1 else tasks.select(slice(rank, None, world))

    def sizes(self, step: int) -> tuple[int, int]:
        """Return the numbers of support and query points of the tasks of `step`."""
        draw = mix(self.seed, step, Stream.SIZES)
        low, high = self.support
        support = low + draw % (high - low + 1)
        low, high = self._query_range(support)
        return support, low + (draw >> 31) % (high - low + 1)

    def validation(self, count: int) -> list[Tasks]:
        """Return `count` validation tasks, always the same, in batches of at most `tasks`.

        If support or query is a range, there are at least `SPREAD` batches, if `count` allows, of equal numbers of
        tasks. Their sizes are evenly spaced from the low end of the range to the high end, and the same for all seeds.
        """
        batches = []
        for place, (tasks, support, query) in enumerate(self.validation_sizes(count)):
            self._generator.manual_seed(mix(self.seed, place, Stream.VALIDATION))
            batches.append(
                self.family.sample(tasks, support=support, query=query, split="validation", generator=self._generator)
            )
        return batches

    def validation_sizes(self, count: int) -> list[Sizes]:
        """Return the sizes of each batch of `count` validation tasks."""
        least, most = self.support
        if least == most and self.query[0] == self.query[1]:
            starts = range(0, count, self.tasks)
            return [Sizes(min(self.tasks, count - start), most, self._query_range(most)[0]) for start in starts]
        batches = max(math.ceil(count / self.tasks), min(SPREAD, count))
        found = []
        for place in range(batches):
            tasks = count * (place + 1) // batches - count * place // batches
            support = _between(least, most, place, batches)
            found.append(Sizes(tasks, support, _between(*self._query_range(support), place, batches)))
        return found

    def _query_range(self, support: int) -> tuple[int, int]:
        """Return the least and the largest number of query points beside so many support points."""
        low, high = self.query
        return low, high if self.points is None else min(high, self.points - support)


def _between(low: int, high: int, place: int, places: int) -> int:
    """Return number `place` of `places` whole numbers evenly spaced from `low` to `high`; the middle for one place."""
    share = place / (places - 1) if places > 1 else 0.5
    return low + round(share * (high - low))


def as_range(size: Size) -> tuple[int, int]:
    """Return `(size, size)` for a number, and a range unchanged.

    >>> as_range(5), as_range((3, 7))
    ((5, 5), (3, 7))
    """
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
