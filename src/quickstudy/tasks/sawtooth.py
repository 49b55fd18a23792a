"""Sawtooth waves: functions with jumps, which a Gaussian process cannot represent."""

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal, Self, final

import torch

from quickstudy.data import Tasks
from quickstudy.learner import Split
from quickstudy.tasks.sampling import Batch, Range, as_domain, as_range, check_fields, positive, stretch

Named = Literal["bruinsma2023", "hassan2026", "fourier-volterra2026"]
NAMED: dict[Named, dict[str, Range]] = {
    "bruinsma2023": {"frequency": (2.0, 4.0), "noise": 0.0},
    "hassan2026": {"frequency": (3.0, 5.0), "noise": (0.05, 0.1)},
    "fourier-volterra2026": {"frequency": (0.5, 5.0), "noise": 0.05},
}


@final
@dataclass(frozen=True, kw_only=True)
class Sawtooth:
    """y = (w (d . x - o)) mod 1: ramps from 0 to 1 along a random direction d.

    o is uniform over one period. The default frequencies are those of Bruinsma et al. 2023 (Autoregressive CNPs).
    Publications mean different processes by "sawtooth", and their likelihoods cannot be compared: see `named`.

    Args:
        frequency: w, in periods per unit of x; a number, or a `(low, high)` range drawn for every task.
        domain: the interval from which every feature of x is drawn.
        noise: standard deviation of the observation noise on support and query; a number, or a range drawn for every
            task. Without noise the likelihood of a model has no upper bound.
        dx: the number of input features.

    Raises:
        ValueError: for a frequency that is not positive, an empty domain, a negative noise or `dx < 1`.

    >>> tasks = Sawtooth().sample(4, support=30, query=100, generator=torch.Generator().manual_seed(0))
    >>> bool((tasks.query.y >= 0).all() and (tasks.query.y < 1).all())
    True
    """

    frequency: Range = (2.0, 4.0)
    domain: tuple[float, float] = (-2.0, 2.0)
    noise: Range = 0.0
    dx: int = 1
    dy: ClassVar[int] = 1

    def __post_init__(self) -> None:
        check_fields(self, positive, "frequency")
        check_fields(self, as_domain, "domain")
        check_fields(self, partial(as_range, least=0), "noise")
        if self.dx < 1:
            raise ValueError(f"dx={self.dx}; expected at least one input feature")

    @classmethod
    def named(cls, name: Named, **options: Any) -> Self:
        """The process of a publication: its frequencies and its noise.

        - "bruinsma2023" (Autoregressive CNPs, arXiv 2303.14468): frequency 2 to 4, no noise.
        - "hassan2026" (arXiv 2510.09477): frequency 3 to 5, standard deviation of the noise 0.05 to 0.1.
        - "fourier-volterra2026" (arXiv 2606.01172): frequency 0.5 to 5, standard deviation of the noise 0.05.

        Args:
            name: one of these.
            options: other arguments of the family, such as `dx`; the domain is [-2, 2] by default.

        Raises:
            ValueError: for another name.

        >>> Sawtooth.named("hassan2026").noise
        (0.05, 0.1)
        """
        if name not in NAMED:
            raise ValueError(f"no sawtooth is named {name!r}; choose one of {', '.join(NAMED)}")
        return cls(**(NAMED[name] | options))

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
            Tasks with `info` frequency `[T]`, offset o `[T]`, noise `[T]` and direction `[T, dx]`, a unit vector.
        """
        batch = Batch(num_tasks, support, query, split, generator, grid)
        drawn = 3 if isinstance(self.noise, tuple) else 2
        draws = batch.uniform(drawn, self.dx)
        direction = torch.nn.functional.normalize(batch.normal(self.dx, 0), dim=1, eps=1e-30)
        frequency = stretch(draws[:, 0], self.frequency)
        offset = draws[:, 1] / frequency
        noise = stretch(draws[:, 2], self.noise) if isinstance(self.noise, tuple) else self.noise
        x = batch.inputs(draws[:, drawn:], self.domain, self.dx)
        along = x @ direction.unsqueeze(2) - offset.view(-1, 1, 1)
        y = (frequency.view(-1, 1, 1) * along).remainder(1)
        info = {"frequency": frequency, "offset": offset, "direction": direction}
        info["noise"] = torch.zeros_like(frequency) + noise
        return batch.tasks(x, y, info, noise)
