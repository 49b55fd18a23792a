"""Sums of harmonic sine waves, observed around a centre that differs between tasks."""

from dataclasses import dataclass
from typing import ClassVar, final

import torch

from quickstudy.checks import check_whole
from quickstudy.data import Tasks
from quickstudy.learner import Split
from quickstudy.tasks.sampling import Batch, Range, as_range, check_fields, number, stretch


@final
@dataclass(frozen=True, kw_only=True)
class Harmonic:
    """y = sum_k a_k sin(k w x + b_k), k = 1 to K, with inputs x ~ N(c, s^2) around a centre c of each task.

    A task has five unknown parameters by default, where the sine waves of MAML have two. The family of Lacoste et al.
    2018 (Uncertainty in Multitask Transfer Learning, arXiv 1806.07528); the defaults are those of torchmeta's
    implementation of it.

    Args:
        waves: K, the number of sine waves.
        amplitude: standard deviation of the a_k, which are normal with mean 0.
        phase: b_k, in radians; a number, or a `(low, high)` range drawn for every task and k.
        frequency: w, in radians per unit of x; a number or a range.
        center: c, the mean of the inputs of a task; a number or a range.
        spread: s, the standard deviation of the inputs of a task.
        noise: standard deviation of the observation noise on support and query.

    Raises:
        ValueError: for an empty range, `waves < 1`, a spread that is not positive, a negative amplitude or noise.

    >>> tasks = Harmonic().sample(25, support=10, query=5, generator=torch.Generator().manual_seed(0))
    >>> {name: list(value.shape) for name, value in tasks.info.items()}
    {'amplitude': [25, 2], 'phase': [25, 2], 'frequency': [25], 'center': [25]}
    """

    waves: int = 2
    amplitude: float = 1.0
    phase: Range = (0.0, 2 * torch.pi)
    frequency: Range = (5.0, 7.0)
    center: Range = (-4.0, 4.0)
    spread: float = 1.0
    noise: float = 0.0
    dx: ClassVar[int] = 1
    dy: ClassVar[int] = 1

    def __post_init__(self) -> None:
        check_fields(self, check_whole, "waves")
        check_fields(self, as_range, "phase", "frequency", "center")
        check_fields(self, number, "amplitude", "spread", "noise")
        if self.spread == 0:
            raise ValueError(f"spread={self.spread}; expected a standard deviation above 0")

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
        """Draw tasks; the arguments are those of `Sinusoid.sample`.

        With `grid=True` the query x of a task are evenly spaced from c - 2s to c + 2s, ends included.

        Returns:
            Tasks with `info` amplitude and phase, each `[T, K]`, frequency and center, each `[T]`.
        """
        batch = Batch(num_tasks, support, query, split, generator, grid)
        draws, normals = batch.uniform(2 + self.waves, 0), batch.normal(self.waves)
        frequency, center = stretch(draws[:, 0], self.frequency), stretch(draws[:, 1], self.center)
        amplitude, phase = self.amplitude * normals[:, : self.waves], stretch(draws[:, 2:], self.phase)
        places = normals[:, self.waves :]
        if grid:
            evenly = torch.linspace(-2, 2, query, dtype=draws.dtype, device=draws.device)
            places = torch.cat([places, evenly.expand(num_tasks, query)], 1)
        x = center[:, None] + self.spread * places
        order = torch.arange(1, self.waves + 1, device=draws.device)
        waves = ((frequency[:, None] * x)[:, :, None] * order).add_(phase[:, None]).sin_()
        y = waves @ amplitude[:, :, None]
        info = {"amplitude": amplitude, "phase": phase, "frequency": frequency, "center": center}
        return batch.tasks(x[:, :, None], y, info, self.noise)
