"""The loss on validation tasks, which are always the same."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from quickstudy.chance import Stream, mix
from quickstudy.data import Tasks
from quickstudy.evaluation.modes import evaluating
from quickstudy.parallel.distributed import World
from quickstudy.parallel.shares import Share, chance_of, deal
from quickstudy.runs.rebuild.spec import to_spec


class Validation:
    """`validation()` returns the learner's mean meta-loss on validation tasks, in eval mode.

    The tasks and the noise are the same each time, so that only the learner changes the loss.

    Args:
        learner: the learner.
        tasks: batches of validation tasks.
        seed: seed of the run.
        world: the processes that share the work; all of them must call.
        accumulate: number of slices into which each process divides its share of a batch.
    """

    def __init__(
        self, learner: nn.Module, tasks: list[Tasks], seed: int, world: World | None = None, accumulate: int = 1
    ):
        self._learner, self._tasks, self._seed = learner, tasks, seed
        self._world = World() if world is None else world
        self._dealt = [(place, share) for place, t in enumerate(tasks) for share in deal(t, self._world, accumulate)]

    def __call__(self) -> float:
        """Return the mean over all tasks."""
        weights = [share.tasks.num_tasks for _, share in self._dealt]

        def own() -> float:
            return sum(w * loss for w, loss in zip(weights, self._losses(self._dealt), strict=True))

        return sum(self._world.each(own)) / sum(tasks.num_tasks for tasks in self._tasks)

    def each(self) -> Tensor:
        """Return the loss of each task, `[T]`, which is slower."""
        single = [tasks.select(slice(i, i + 1)) for tasks in self._tasks for i in range(tasks.num_tasks)]
        dealt = [(place, Share(0, 1, 1, task)) for place, task in enumerate(single)]
        rank, size = self._world.rank, self._world.size
        found = self._world.each(lambda: self._losses(dealt[rank::size]))
        return torch.tensor([found[i % size][i // size] for i in range(len(single))], dtype=torch.float64)

    def _losses(self, dealt: list[tuple[int, Share]]) -> list[float]:
        loss = unchecked_loss(self._learner)
        with evaluating(self._learner):
            losses = []
            for place, share in dealt:
                noise = mix(self._seed, place, Stream.VALIDATION_NOISE)
                with chance_of(share, noise, share.tasks.support.x.device):
                    losses.append(_scalar(loss(share.tasks)).detach())
            return [float(value) for value in losses]


def _scalar(loss: Tensor) -> Tensor:
    if not isinstance(loss, Tensor) or loss.dim() != 0:
        what = f"shape {list(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
        raise ValueError(f"meta_loss returned {what}; expected a scalar tensor: the mean over tasks and points")
    return loss


def unchecked_loss(learner: nn.Module) -> Callable[[Tasks], Tensor]:
    """Return the meta-loss as a function: of quickstudy's own learners without checks of its input."""
    return learner if is_own(learner) else learner.meta_loss  # type: ignore[return-value]


def is_own(learner: nn.Module) -> bool:
    """Return whether the learner's class is one of quickstudy's own (no subclass), whose `forward` is the meta-loss."""
    return to_spec(learner)["class"] is not None
