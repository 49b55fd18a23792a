"""The batch of a step, as a pure function of the seed and the step."""

import torch

from quickstudy.chance import Stream, mix
from quickstudy.data import Tasks
from quickstudy.learner import TaskFamily

Size = int | tuple[int, int]


class Batches:
    """Batches of tasks from a family: `batches(step)` gives the same tasks whenever and wherever it is asked.

    Args:
        family: where tasks come from.
        seed: of the run.
        tasks: how many tasks a batch holds.
        support: points to learn from; an inclusive range `(low, high)` is drawn from once per step.
        query: points to be judged on; as `support`.
        points: the most points that support and query may have together.
        device: where the tasks are made.
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
        """The tasks of `step`; of `world` processes, process `rank` takes every `world`-th of them."""
        support, query = self.sizes(step)
        self._generator.manual_seed(mix(self.seed, step, Stream.BATCH))
        tasks = self.family.sample(self.tasks, support=support, query=query, split="train", generator=self._generator)
        return tasks if world == 1 else tasks.select(slice(rank, None, world))

    def sizes(self, step: int, stream: Stream = Stream.SIZES) -> tuple[int, int]:
        """How many support and query points the tasks of `step` have."""
        draw = mix(self.seed, step, stream)
        low, high = self.support
        support = low + draw % (high - low + 1)
        low, high = self.query
        if self.points is not None:
            high = min(high, self.points - support)
        return support, low + (draw >> 31) % (high - low + 1)

    def validation(self, count: int) -> list[Tasks]:
        """`count` held-out tasks, always the same, in batches of at most `tasks`."""
        batches = []
        for place, start in enumerate(range(0, count, self.tasks)):
            support, query = self.sizes(place, Stream.VALIDATION_SIZES)
            self._generator.manual_seed(mix(self.seed, place, Stream.VALIDATION))
            batches.append(
                self.family.sample(
                    min(self.tasks, count - start),
                    support=support,
                    query=query,
                    split="validation",
                    generator=self._generator,
                )
            )
        return batches


def as_range(size: Size) -> tuple[int, int]:
    """`(size, size)` for a number; a range as it is.

    >>> as_range(5), as_range((3, 7))
    ((5, 5), (3, 7))
    """
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
