"""The loss on held-out tasks, always the same ones."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from quickstudy.data import Tasks
from quickstudy.spec import to_spec
from quickstudy.training.seeds import Stream, mix


class Validation:
    """`validation()` is the learner's mean meta-loss on held-out tasks, in eval mode.

    The tasks and the noise are the same each time, so that two values differ by the learner alone.

    Args:
        learner: to be judged.
        tasks: batches of held-out tasks.
        seed: of the run.
    """

    def __init__(self, learner: nn.Module, tasks: list[Tasks], seed: int):
        self._learner, self._tasks, self._seed = learner, tasks, seed

    def __call__(self) -> float:
        """The mean over all tasks."""
        losses = self._losses(self._tasks)
        weights = [tasks.num_tasks for tasks in self._tasks]
        return sum(w * loss for w, loss in zip(weights, losses, strict=True)) / sum(weights)

    def each(self) -> Tensor:
        """The loss of every task alone, `[T]`; slower."""
        single = [tasks.select(slice(i, i + 1)) for tasks in self._tasks for i in range(tasks.num_tasks)]
        return torch.tensor(self._losses(single), dtype=torch.float64)

    def _losses(self, batches: list[Tasks]) -> list[float]:
        loss = unchecked_loss(self._learner)
        with evaluating(self._learner):
            losses = []
            for place, tasks in enumerate(batches):
                seed_noise(mix(self._seed, place, Stream.VALIDATION_NOISE), tasks.support.x.device)
                losses.append(_scalar(loss(tasks)).detach())
            return [float(value) for value in losses]


def _scalar(loss: Tensor) -> Tensor:
    if not isinstance(loss, Tensor) or loss.dim() != 0:
        what = list(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
        raise ValueError(f"meta_loss gave {what}; expected a scalar tensor: the mean over tasks and points")
    return loss


def unchecked_loss(learner: nn.Module) -> Callable[[Tasks], Tensor]:
    """The meta-loss: of quickstudy's own learners without checks of its input, of anybody else's their `meta_loss`."""
    return learner if is_own(learner) else learner.meta_loss  # type: ignore[return-value]


def is_own(learner: nn.Module) -> bool:
    """Whether the learner is one of quickstudy's own classes (not a subclass): their `forward` is the meta-loss."""
    return to_spec(learner)["class"] is not None


@contextmanager
def evaluating(learner: nn.Module) -> Iterator[None]:
    """The learner in eval mode; every part of it is put back into the mode it was in."""
    modes = {module: module.training for module in learner.modules()}
    learner.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def seed_noise(seed: int, device: torch.device) -> None:
    """Seed torch's own generators, of the processor and of `device` (`torch.manual_seed` takes 100 times as long)."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        torch.cuda.default_generators[index].manual_seed(seed)
