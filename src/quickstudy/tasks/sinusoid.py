"""Sine waves, the regression tasks of the MAML paper."""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Self, final

import torch
from torch import Tensor

from quickstudy.data import Tasks
from quickstudy.learner import Split
from quickstudy.tasks.sampling import Batch, Range, as_domain, as_range, bounds, check_fields, number


@final
@dataclass(frozen=True, kw_only=True)
class Sinusoid:
    """y = A sin(w x - b), with an amplitude A, a phase b and a frequency w for each task.

    The defaults are those of Finn et al. 2017 (MAML), section 5.1.

    Args:
        amplitude: A; a number, or a `(low, high)` range drawn for every task.
        phase: b, in radians; a number or a range.
        frequency: w, in radians per unit of x; a number or a range.
        domain: the interval from which x is drawn.
        noise: standard deviation of the observation noise on support and query.

    Raises:
        ValueError: for an empty range, an empty domain or a negative noise.

    >>> tasks = Sinusoid().sample(25, support=10, query=5, generator=torch.Generator().manual_seed(0))
    >>> tasks.support.x.shape, sorted(tasks.info)
    (torch.Size([25, 10, 1]), ['amplitude', 'frequency', 'phase'])
    """

    amplitude: Range = (0.1, 5.0)
    phase: Range = (0.0, math.pi)
    frequency: Range = 1.0
    domain: tuple[float, float] = (-5.0, 5.0)
    noise: float = 0.0
    dx: ClassVar[int] = 1
    dy: ClassVar[int] = 1

    def __post_init__(self) -> None:
        check_fields(self, as_range, "amplitude", "phase", "frequency")
        check_fields(self, as_domain, "domain")
        check_fields(self, number, "noise")

    @classmethod
    def meta_sgd(cls, *, noise: float = 0.0) -> Self:
        """The tasks of Li et al. 2017 (Meta-SGD): MAML's, with a random frequency in [0.8, 1.2]."""
        return cls(frequency=(0.8, 1.2), noise=noise)

    @classmethod
    def process_demo(cls, *, noise: float = 0.0) -> Self:
        """The waves of Neural Process demonstrations: amplitude in [-1, 1], phase in [-0.5, 0.5], x in [-pi, pi]."""
        return cls(amplitude=(-1.0, 1.0), phase=(-0.5, 0.5), domain=(-math.pi, math.pi), noise=noise)

    def sample(
        self,
        num_tasks: int,
        *,
        support: int,
        query: int,
        split: Split = "train",
        generator: torch.Generator | None = None,
        grid: bool = False,
    ) -> Tasks:
        """Draw tasks.

        Args:
            num_tasks: T, the number of tasks.
            support: N, the number of support points of a task.
            query: M, the number of query points of a task.
            split: "train", "validation" or "test"; equal seeds give different tasks in different splits. In the last
                two the tasks do not depend on the numbers of points, nor on `grid`.
            generator: source of random numbers, on whose device the tasks are; None is torch's own.
            grid: whether the query x are evenly spaced over the domain, ends included, or drawn.

        Returns:
            Tasks with `info` amplitude, phase and frequency, each `[T]`.
        """
        batch = Batch(num_tasks, support, query, split, generator, grid)
        # One operation moves all draws to their ranges: a whole training step takes half a millisecond.
        draws = batch.uniform(3).unsqueeze(2)
        width, low = _ranges(self, batch.drawn, draws.dtype, draws.device)
        amplitude, phase, frequency, x = (draws * width).add_(low).split([1, 1, 1, batch.drawn], 1)
        x = batch.with_grid(x, self.domain)
        y = (frequency * x).sub_(phase).sin_().mul_(amplitude)
        info = {"amplitude": amplitude.view(-1), "phase": phase.view(-1), "frequency": frequency.view(-1)}
        return batch.tasks(x, y, info, self.noise)


@lru_cache(maxsize=64)
def _ranges(family: Sinusoid, points: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Widths and low ends of the ranges of amplitude, phase, frequency and `points` inputs, each `[3 + points, 1]`."""
    ranges = [bounds(r) for r in (family.amplitude, family.phase, family.frequency, *[family.domain] * points)]
    low = torch.tensor([low for low, _ in ranges], dtype=dtype, device=device)
    width = torch.tensor([high - low for low, high in ranges], dtype=dtype, device=device)
    return width.unsqueeze(1), low.unsqueeze(1)
