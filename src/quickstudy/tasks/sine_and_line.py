"""Sine waves and straight lines: two kinds of task in one family."""

import math
from dataclasses import dataclass
from typing import ClassVar, final

import torch

from quickstudy.data import Tasks
from quickstudy.learner import Split
from quickstudy.tasks.sampling import Batch, Range, as_domain, as_range, check_fields, number, stretch


@final
@dataclass(frozen=True, kw_only=True)
class SineAndLine:
    """y = A sin(x - b) in some tasks and y = m x + k in the others.

    A few support points may fit both kinds, so a learner should be uncertain between them. The family of Finn et al.
    2018 (Probabilistic MAML, arXiv 1806.02817), section 5; the defaults are those of torchmeta's implementation of it.

    Args:
        sines: the share of sine waves among the tasks, from 0 to 1.
        amplitude: A; a number, or a `(low, high)` range drawn for every sine wave.
        phase: b, in radians; a number or a range.
        slope: m; a number, or a range drawn for every line.
        intercept: k, a number or a range.
        domain: the interval from which x is drawn.
        noise: standard deviation of the observation noise on support and query.

    Raises:
        ValueError: for a share outside [0, 1], an empty range, an empty domain or a negative noise.

    >>> tasks = SineAndLine().sample(1000, support=5, query=10, generator=torch.Generator().manual_seed(0))
    >>> lines = tasks.select(~tasks.info["is_sine"])
    >>> 400 < lines.num_tasks < 600, lines.info["amplitude"].abs().max().item()
    (True, 0.0)
    """

    sines: float = 0.5
    amplitude: Range = (0.1, 5.0)
    phase: Range = (0.0, math.pi)
    slope: Range = (-3.0, 3.0)
    intercept: Range = (-3.0, 3.0)
    domain: tuple[float, float] = (-5.0, 5.0)
    noise: float = 0.0
    dx: ClassVar[int] = 1
    dy: ClassVar[int] = 1

    def __post_init__(self) -> None:
        check_fields(self, number, "sines", "noise")
        if self.sines > 1:
            raise ValueError(f"sines={self.sines}; expected a share from 0 to 1")
        check_fields(self, as_range, "amplitude", "phase", "slope", "intercept")
        check_fields(self, as_domain, "domain")

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

        Returns:
            Tasks with `info` is_sine (bool), amplitude, phase, slope and intercept, each `[T]`. Parameters of the other
            kind are 0, so that y = A sin(x - b) + m x + k holds for all tasks.
        """
        batch = Batch(num_tasks, support, query, split, generator, grid)
        draws = batch.uniform(3)
        is_sine = draws[:, 0] < self.sines
        # Both kinds use the same two draws, as a task is only one of them.
        amplitude, phase = (stretch(draws[:, i], r) * is_sine for i, r in ((1, self.amplitude), (2, self.phase)))
        slope, intercept = (stretch(draws[:, i], r) * ~is_sine for i, r in ((1, self.slope), (2, self.intercept)))
        x = batch.inputs(draws[:, 3:], self.domain)
        wave = (x - phase.view(-1, 1, 1)).sin_().mul_(amplitude.view(-1, 1, 1))
        y = wave.addcmul_(x, slope.view(-1, 1, 1)).add_(intercept.view(-1, 1, 1))
        info = {"is_sine": is_sine, "amplitude": amplitude, "phase": phase, "slope": slope, "intercept": intercept}
        return batch.tasks(x, y, info, self.noise)
