"""Step functions: constant pieces between jumps."""

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from quickstudy.checks import check_whole
from quickstudy.data import Tasks
from quickstudy.learner import Split
from quickstudy.tasks.sampling import Batch, Range, as_domain, as_range, check_fields, number, stretch


@final
@dataclass(frozen=True, kw_only=True)
class Steps:
    """y = v_j with j the number of jumps p_i <= x. The number of jumps, their positions and the levels v are random.

    A point determines the level of its piece and says nothing about other pieces. Smooth models overshoot at the jumps,
    and the position of a jump between two points stays uncertain. The defaults are this package's own.

    Args:
        jumps: the number of jumps; a whole number, or a `(low, high)` range, ends included, drawn for every task.
        level: v; a number, or a range drawn for every piece.
        domain: the interval from which x and the positions of the jumps are drawn.
        noise: standard deviation of the observation noise on support and query.

    Raises:
        ValueError: for jumps that are not whole numbers of at least 0, an empty range or domain, a negative noise.

    >>> tasks = Steps(jumps=2).sample(8, support=10, query=50, generator=torch.Generator().manual_seed(0))
    >>> max(len(y.unique()) for y in tasks.query.y)
    3
    """

    jumps: int | tuple[int, int] = (1, 5)
    level: Range = (-1.0, 1.0)
    domain: tuple[float, float] = (-5.0, 5.0)
    noise: float = 0.0
    dx: ClassVar[int] = 1
    dy: ClassVar[int] = 1

    def __post_init__(self) -> None:
        jumps = self.jumps
        if isinstance(jumps, tuple | list):
            if len(jumps) != 2 or check_whole("jumps", jumps[0], 0) > check_whole("jumps", jumps[1], 0):
                raise ValueError(f"jumps={jumps!r}; expected a whole number or a pair (low, high) with low <= high")
            object.__setattr__(self, "jumps", (int(jumps[0]), int(jumps[1])))
        else:
            object.__setattr__(self, "jumps", check_whole("jumps", jumps, 0))
        check_fields(self, as_range, "level")
        check_fields(self, as_domain, "domain")
        check_fields(self, number, "noise")

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
            Tasks with `info` jumps `[T]` (whole numbers), positions `[T, J]` and levels `[T, J + 1]` from left to
            right, with J the largest number of jumps. Tasks with fewer jumps are padded: missing positions are the end
            of the domain, and missing levels repeat the last one, so that the formula holds for the padded lists.
        """
        batch = Batch(num_tasks, support, query, split, generator, grid)
        fewest, most = self.jumps if isinstance(self.jumps, tuple) else (self.jumps, self.jumps)
        share, places, heights, x = batch.uniform(2 * most + 2).split([1, most, most + 1, batch.drawn], 1)
        # A share just under 1 may round up to one jump too many.
        jumps = fewest + (share * (most - fewest + 1)).long().clamp_max_(most - fewest)
        positions, levels = self._padded(jumps, stretch(places, self.domain), stretch(heights, self.level))
        x = batch.inputs(x, self.domain)
        y = levels.gather(1, (x >= positions[:, None]).sum(2)).unsqueeze(2)
        info = {"jumps": jumps.view(-1), "positions": positions, "levels": levels}
        return batch.tasks(x, y, info, self.noise)

    def _padded(self, jumps: Tensor, places: Tensor, heights: Tensor) -> tuple[Tensor, Tensor]:
        """Sorted positions of the first `jumps [T, 1]` places, and levels, both padded as `sample` says."""
        order = torch.arange(heights.shape[1], device=heights.device)
        beyond = order[: places.shape[1]] >= jumps
        positions = places.masked_fill(beyond, self.domain[1]).sort(1).values
        return positions, heights.gather(1, torch.minimum(order, jumps))
