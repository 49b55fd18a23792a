"""Sawtooth waves: functions with jumps, which a Gaussian process cannot represent."""

from dataclasses import dataclass
from typing import ClassVar, final

import torch

from quickstudy.data import Tasks
from quickstudy.learner import Split
from quickstudy.tasks.sampling import Batch, Range, as_domain, check_fields, number, positive, stretch


@final
@dataclass(frozen=True, kw_only=True)
class Sawtooth:
    """y = (w (d . x - o)) mod 1: ramps from 0 to 1 along a random direction d.

    As in Bruinsma et al. 2023 (Autoregressive CNPs): w is uniform in [2, 4], and o uniform over one period.

    Args:
        frequency: w, in periods per unit of x; a number, or a `(low, high)` range drawn for every task.
        domain: the interval from which every feature of x is drawn.
        noise: standard deviation of the observation noise on support and query.
        dx: the number of input features.

    Raises:
        ValueError: for a frequency that is not positive, an empty domain, a negative noise or `dx < 1`.

    >>> tasks = Sawtooth().sample(4, support=30, query=100, generator=torch.Generator().manual_seed(0))
    >>> bool((tasks.query.y >= 0).all() and (tasks.query.y < 1).all())
    True
    """

    frequency: Range = (2.0, 4.0)
    domain: tuple[float, float] = (-2.0, 2.0)
    noise: float = 0.0
    dx: int = 1
    dy: ClassVar[int] = 1

    def __post_init__(self) -> None:
        check_fields(self, positive, "frequency")
        check_fields(self, as_domain, "domain")
        check_fields(self, number, "noise")
        if self.dx < 1:
            raise ValueError(f"dx={self.dx}; expected at least one input feature")

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
            Tasks with `info` frequency `[T]`, offset o `[T]` and direction `[T, dx]`, a unit vector.
        """
        batch = Batch(num_tasks, support, query, split, generator, grid)
        draws = batch.uniform(2, self.dx)
        direction = torch.nn.functional.normalize(batch.normal(self.dx, 0), dim=1, eps=1e-30)
        frequency = stretch(draws[:, 0], self.frequency)
        offset = draws[:, 1] / frequency
        x = batch.inputs(draws[:, 2:], self.domain, self.dx)
        along = x @ direction.unsqueeze(2) - offset.view(-1, 1, 1)
        y = (frequency.view(-1, 1, 1) * along).remainder(1)
        info = {"frequency": frequency, "offset": offset, "direction": direction}
        return batch.tasks(x, y, info, self.noise)
