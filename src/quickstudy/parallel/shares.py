"""The meta-gradient of a batch that is divided among processes, and into slices that each process takes in turn.

Of `n = processes * accumulate` slices, slice `i` holds the tasks `i, i + n, i + 2n, ...`, and process `r` takes the
slices `r, r + processes, ...`. So the result depends only on `n`, apart from the order in which slices are added.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from quickstudy.chance import Stream, mix, seed_noise, sliced
from quickstudy.compiling.compiled import Gradient
from quickstudy.data import Tasks
from quickstudy.parallel.distributed import WORDS, World


class Share(NamedTuple):
    """A slice of a batch.

    Args:
        number: number of this slice.
        of: number of slices in the batch.
        whole: number of tasks in the batch.
        tasks: the tasks of this slice.
    """

    number: int
    of: int
    whole: int
    tasks: Tasks

    @property
    def weight(self) -> float:
        """Weight of the slice in the mean over tasks."""
        return self.tasks.num_tasks / self.whole


def deal(tasks: Tasks, world: World, accumulate: int) -> list[Share]:
    """Return the slices of this process; none is empty."""
    count, of = tasks.num_tasks, world.size * accumulate
    if of == 1:
        return [Share(0, 1, count, tasks)]
    taken = range(world.rank, min(of, count), world.size)
    return [Share(index, of, count, tasks.select(slice(index, None, of))) for index in taken]


def check_dealt(tasks: int, processes: int, accumulate: int) -> None:
    """Raise ValueError unless every slice has a task."""
    if processes * accumulate > tasks:
        raise ValueError(
            f"tasks={tasks} cannot be divided among {processes} {'processes' if processes > 1 else 'process'} with "
            f"accumulate={accumulate}; expected at least {processes * accumulate} tasks, one for each slice"
        )


@contextmanager
def chance_of(share: Share, noise: int, device: torch.device, *, alike: bool = False) -> Iterator[None]:
    """Seed torch's generators for a slice.

    Args:
        share: the slice.
        noise: seed of the whole batch.
        device: device of the tasks.
        alike: whether all tasks, and thus all slices, use the same random numbers.
    """
    if share.of == 1:
        seed_noise(noise, device)
        yield
        return
    seed_noise(noise if alike else mix(noise, share.number, Stream.SLICE), device)
    with sliced(slice(share.number, None, share.of), tasks=share.whole, seed=noise, device=device):
        yield


class Shared:
    """A function tasks -> (loss, gradients) of the whole batch, with the same result in every process.

    Processes communicate once in each step, by the sum of a flat tensor of gradients, loss and running statistics, in
    which each slice is weighted by its share of the tasks.

    Args:
        learner: the learner. Its buffers become the mean over tasks of their values after each slice.
        gradient: the function for one slice.
        world: the processes.
        accumulate: number of slices for each process.
    """

    def __init__(self, learner: nn.Module, gradient: Gradient, world: World, accumulate: int):
        self._learner, self._gradient, self._world, self._accumulate = learner, gradient, world, accumulate
        self._params = [p for p in learner.parameters() if p.requires_grad]
        # an inner loop with the same dropout masks for all tasks needs them in all slices too
        self._alike = getattr(getattr(learner, "inner", None), "randomness", "different") == "same"

    def __call__(self, tasks: Tasks) -> tuple[Tensor, list[Tensor]]:
        """Return loss and gradients of the whole batch. An error in one process is raised in all."""
        failure = None
        try:
            flat = self._own(tasks)
        except Exception as error:
            failure, flat = error, self._zeros()
        self._world.sum(flat, failure)
        *gradients, loss = self._unpacked(flat)
        return loss, gradients

    def fail(self, error: Exception) -> None:
        """Raise the error in all processes, in place of a gradient."""
        self._world.sum(self._zeros(), error)

    def _own(self, tasks: Tasks) -> Tensor:
        """Return the summand of this process."""
        noise, device = torch.default_generator.initial_seed(), self._params[0].device  # the loop's seed of this step
        before = [b.clone() for b in self._learner.buffers()]
        flat = None
        for share in deal(tasks, self._world, self._accumulate):
            for buffer, value in zip(self._learner.buffers(), before, strict=True):
                buffer.copy_(value)
            with chance_of(share, noise, device, alike=self._alike):
                loss, gradients = self._gradient(share.tasks)
            moved = [_moved(b, old) for b, old in zip(self._learner.buffers(), before, strict=True) if _averaged(b)]
            parts = [*gradients, loss, *moved, loss.new_zeros(WORDS)]
            mine = torch.cat([part.detach().reshape(-1) for part in parts]).mul_(share.weight)
            flat = mine if flat is None else flat.add_(mine)
        for buffer, value in zip(self._learner.buffers(), before, strict=True):
            if _averaged(buffer):  # counts keep their value after the last slice, as each slice counts the batch once
                buffer.copy_(value)
        assert flat is not None
        return flat

    def _zeros(self) -> Tensor:
        parts = [*self._params, self._params[0].new_zeros(1 + WORDS)]
        parts += [b for b in self._learner.buffers() if _averaged(b)]
        return torch.cat([torch.zeros_like(part).reshape(-1) for part in parts])

    def _unpacked(self, flat: Tensor) -> list[Tensor]:
        """Return the gradients and the loss in `flat`, and add the changes of the buffers to the learner."""
        places = [p.shape for p in self._params]
        buffers = [b for b in self._learner.buffers() if _averaged(b)]
        shapes = [*places, torch.Size(()), *(b.shape for b in buffers)]
        pieces = flat[:-WORDS].split([shape.numel() for shape in shapes])
        for buffer, piece in zip(buffers, pieces[len(places) + 1 :], strict=True):
            buffer.add_(piece.view_as(buffer))
        kinds = [*(p.dtype for p in self._params), flat.dtype]
        return [
            piece.view(shape).to(kind)
            for piece, shape, kind in zip(pieces[: len(kinds)], shapes[: len(kinds)], kinds, strict=True)
        ]


def _averaged(buffer: Tensor) -> bool:
    return buffer.is_floating_point()


def _moved(buffer: Tensor, before: Tensor) -> Tensor:
    """Return the difference, which is exactly 0 for equal values, also for infinite ones (as in masks)."""
    return torch.where(buffer == before, 0, buffer - before)
