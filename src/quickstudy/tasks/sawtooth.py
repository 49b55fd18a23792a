"""Sawtooth waves: functions with jumps, which no Gaussian process describes."""

from dataclasses import dataclass
from typing import ClassVar, final

import torch

from quickstudy.data import Tasks
from quickstudy.learner import Split
from quickstudy.tasks.sampling import (
    Range,
    add_noise,
    as_domain,
    as_range,
    cut,
    number,
    split_generator,
    stretch,
    uniform,
    with_grid,
)


@final
@dataclass(frozen=True, kw_only=True)
class Sawtooth:
    """y = (w (d . x - o)) mod 1: a ramp from 0 to 1 that falls back, along a random direction d.

    The setting of Bruinsma et al. 2023 (Autoregressive CNPs): w uniform in [2, 4], o uniform over one period.

    Args:
        frequency: w, in periods per unit of x; a number or a `(low, high)` range drawn for every task.
        domain: the interval from which every feature of x is drawn.
        noise: standard deviation of the observation noise, on support and query alike.
        dx: number of input features.

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
        object.__setattr__(self, "frequency", as_range("frequency", self.frequency, above=0))
        object.__setattr__(self, "domain", as_domain(self.domain))
        object.__setattr__(self, "noise", number("noise", self.noise))
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
            Tasks with `info` frequency `[T]`, offset `[T]` (along the direction) and direction `[T, dx]` (length 1).
        """
        generator = split_generator(num_tasks, support, query, split, generator)
        points = support + (0 if grid else query)
        draws = uniform(num_tasks, 2 + points * self.dx, generator=generator)
        normals = torch.randn(num_tasks, self.dx, device=draws.device, generator=generator)
        direction = torch.nn.functional.normalize(normals, dim=1, eps=1e-30)
        frequency = stretch(draws[:, 0], self.frequency)
        offset = draws[:, 1] / frequency
        x = stretch(draws[:, 2:], self.domain).reshape(num_tasks, points, self.dx)
        if grid:
            x = with_grid(x, query, self.domain)
        along = x @ direction.unsqueeze(2) - offset.view(-1, 1, 1)
        y = (frequency.view(-1, 1, 1) * along).remainder(1)
        info = {"frequency": frequency, "offset": offset, "direction": direction}
        return cut(x, add_noise(y, self.noise, generator), support, info)
