"""How well learners predict groups that they have not seen, after some of their rows."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from quickstudy.data import Tasks, pad
from quickstudy.tasks.datasets.columns import GroupedRows
from quickstudy.tasks.datasets.point_sets import PointSets

SEEN = (0, 1, 2, 4, 8)
MOST_JUDGED = 200  # largest number of rows of a group that are judged
LEVELS = (0.5, 0.9)
TINIEST = 1e-12  # an outcome less probable than this counts as this: z^2 of 50


class Judged(NamedTuple):
    """What a learner scored on held-out groups, one row of each tensor a group and one column a number of seen rows.

    Args:
        squared: mean squared error of each output, `[T, K, dy]`.
        density: mean log density per row, all outputs together, `[T, K]`.
        joint: joint log density of all rows, divided by their number, `[T, K]`; NaN where a belief has none.
        inside: share of outcomes in the central intervals of `LEVELS`, `[T, K, 2]`; those of whole numbers, both ends
            included, should hold more.
        rows: log density of each judged row, `[T, M, K]`, and 0 in the padding.
        squares: z^2 of each judged outcome, `[T, M, K, dy]`, and 0 in the padding; z is standard normal if the belief
            is true, and -z and z are equally improbable.
        real: which rows are real, `[T, M]`.
    """

    squared: Tensor
    density: Tensor
    joint: Tensor
    inside: Tensor
    rows: Tensor
    squares: Tensor
    real: Tensor

    @classmethod
    def join(cls, parts: Sequence["Judged"]) -> "Judged":
        """The groups of several parts, one after another."""
        most = max(part.real.shape[1] for part in parts)
        fields = zip(*(part._padded(most) for part in parts), strict=True)
        return cls(*(torch.cat(each) for each in fields))

    def _padded(self, most: int) -> "Judged":
        pad, more = torch.nn.functional.pad, most - self.real.shape[1]
        rows, squares = pad(self.rows, (0, 0, 0, more)), pad(self.squares, (0, 0, 0, 0, 0, more))
        return self._replace(rows=rows, squares=squares, real=pad(self.real, (0, more)))


def usual_sizes(rows: GroupedRows, wanted: Sequence[int] = SEEN) -> tuple[int, ...]:
    """The numbers of seen rows that leave half of the rows to judge, or more, in three quarters of the groups."""
    counts = torch.tensor([float(len(each)) for each in rows.rows])
    limit = float(counts.quantile(0.25)) / 2
    return tuple(n for n in wanted if n <= limit) or (0,)


def held_out(rows: GroupedRows, names: Sequence[Any], seen: Sequence[int]) -> list[Tasks]:
    """The groups `names` in the units of the table, with 0, 1, ... rows seen; all are judged on the same rows.

    These are the rows after the largest number seen, or 200 of them, evenly spaced; of a group that has no more rows,
    the last one.
    """
    place = {name: i for i, name in enumerate(rows.names)}
    dx, first = len(rows.x), max(seen)
    whole = [rows.rows[place[name]] for name in names]
    own = [torch.cat([each[:first], thinned(each[first:], MOST_JUDGED)]) for each in whole]
    points = PointSets(
        points=pad([(each[:, :dx], each[:, dx:]) for each in own]),
        splits={"train": (), "validation": (), "test": tuple(range(len(own)))},
        order="first",
    )
    return [points.held_out("test", support=n, after=max(seen), dtype=torch.float64) for n in seen]


def thinned(rows: Tensor, most: int) -> Tensor:
    """At most `most` of the rows, evenly spaced.

    >>> thinned(torch.arange(10.0)[:, None], 4).flatten()
    tensor([0., 3., 6., 9.])
    """
    if len(rows) <= most:
        return rows
    return rows[torch.linspace(0, len(rows) - 1, most, dtype=torch.float64).round().long()]


def judge(learner: Any, tasks: Sequence[Tasks]) -> Judged:
    """The scores of a learner in the units of the table on the tasks that `held_out` made."""
    *groups, rows, squares = zip(*(_scores(learner, each) for each in tasks), strict=True)
    squared, density, joint, inside = (torch.stack(part, 1) for part in groups)
    return Judged(squared, density, joint, inside, torch.stack(rows, 2), torch.stack(squares, 2), tasks[0].query.real())


def _scores(learner: Any, tasks: Tasks) -> tuple[Tensor, ...]:
    """The fields of `Judged` for one number of seen rows."""
    query = tasks.query.clean()
    real, count = query.real(), query.sizes().double()
    with torch.no_grad():
        x = torch.where(real.unsqueeze(-1), query.x, query.x[:, :1])  # so that no input is unlike those of the table
        belief = learner.adapt(tasks.support)(x)
        log_prob = belief.log_prob(query.y, real).double()
        joint = belief.log_prob(query.y, real, joint=True).double() / count
        below = belief.cdf(query.y).double()
        before = belief.cdf(query.y - 1).double() if getattr(belief, "discrete", False) else below
        error = (belief.mean - query.y).square()
    mask = real.unsqueeze(-1)
    squared = torch.where(mask, error, 0.0).sum(1) / count[:, None]
    ends = [((1 - level) / 2, (1 + level) / 2) for level in LEVELS]
    within = [((below >= low) & (before <= high)).double() for low, high in ends]
    shares = [torch.where(mask, each, 0.0).mean(2).sum(1) / count for each in within]
    squares = torch.special.ndtri(below.clamp(TINIEST, 1 - TINIEST)).square()
    squares = torch.where(mask, squares, 0.0)
    return squared, log_prob.sum(1) / count, joint, torch.stack(shares, 1), log_prob, squares


def folds(names: Sequence[Any], count: int, seed: int) -> list[tuple[list[Any], list[Any]]]:
    """`(training groups, held-out groups)` of every fold; they depend on the names and the seed alone."""
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed)).tolist()
    dealt = [names[i] for i in order]
    parts = [dealt[i::count] for i in range(count)]
    return [([n for n in names if n not in set(part)], part) for part in parts]
