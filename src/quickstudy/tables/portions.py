"""Predictions at rows of many groups, in portions that bound memory."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from quickstudy.data import Examples, pad

GROUPS = 256  # largest number of groups that are predicted at once
POINTS = 256  # largest number of rows of a group that are predicted at once
TOGETHER = 2_000  # largest number of rows of a group that are drawn together


class Wanted(NamedTuple):
    """What is predicted besides the mean.

    Args:
        std: whether the standard deviation is.
        quantiles: levels of quantiles.
        draws: number of joint draws.
        seed: seed of the draws.
    """

    std: bool = False
    quantiles: tuple[float, ...] = ()
    draws: int = 0
    seed: int = 0


class Parts(NamedTuple):
    """Predictions at n rows: mean and standard deviation (0 if not wanted), quantiles and draws.

    Args:
        mean: `[n, dy]`.
        std: `[n, dy]`.
        quantiles: `[n, dy, P]`.
        draws: `[n, dy, S]`.
    """

    mean: Tensor
    std: Tensor
    quantiles: Tensor
    draws: Tensor


def predictions(
    learner: Any, known: Sequence[Tensor], asked: Sequence[Sequence[int]], x: Tensor, dy: int, wanted: Wanted
) -> Parts:
    """Predictions at rows `x`, given the known rows of their groups.

    Args:
        learner: a learner of the contract, in the units of the rows.
        known: of each group `[n, dx + dy]` in float64.
        asked: the places in `x` of each group's rows; together they are all places.
        x: inputs `[rows, dx]` in float64.
        dy: number of outputs.
        wanted: what to predict.
    """
    largest = max((len(places) for places in asked), default=0)
    if wanted.draws and largest > TOGETHER:
        raise ValueError(
            f"joint={wanted.draws} for a group with {largest:,} rows; rows of a group are drawn together, at most "
            f"{TOGETHER:,} of them: give fewer rows at a time"
        )
    generator = torch.Generator().manual_seed(wanted.seed)

    def parts(belief: Any) -> Tensor:
        std = belief.variance.sqrt() if wanted.std else torch.zeros_like(belief.mean)
        found = [belief.mean[None], std[None]]
        found += [belief.quantile(list(wanted.quantiles))] if wanted.quantiles else []
        found += [belief.sample(wanted.draws, generator)] if wanted.draws else []
        return torch.cat([part.double() for part in found])

    count = 2 + len(wanted.quantiles) + wanted.draws
    predict = At(learner.adapt, parts, (count, dy), TOGETHER if wanted.draws else POINTS)
    found = predict(known, asked, x)
    mean, std, quantiles, draws = found.split([1, 1, len(wanted.quantiles), wanted.draws])
    return Parts(mean[0], std[0], quantiles.permute(1, 2, 0), draws.permute(1, 2, 0))


class At(NamedTuple):
    """Evaluates beliefs at rows of many groups.

    Args:
        adapt: maps the known rows of some groups to a predictor.
        parts: maps a belief about `[T, M]` rows to numbers `[P, T, M, D]`.
        sizes: P and D.
        step: largest number of rows of a group that are predicted at once.
    """

    adapt: Callable[[Examples], Any]
    parts: Callable[[Any], Tensor]
    sizes: tuple[int, int]
    step: int

    @torch.no_grad()
    def __call__(self, known: Sequence[Tensor], asked: Sequence[Sequence[int]], x: Tensor) -> Tensor:
        """The numbers `[P, rows, D]` at rows `x [rows, dx]`; see `predictions`."""
        dx = x.shape[1]
        found = torch.zeros(self.sizes[0], len(x), self.sizes[1], dtype=torch.float64)
        for start in range(0, len(asked), GROUPS):
            groups = slice(start, start + GROUPS)
            predictor = self.adapt(pad([(rows[:, :dx], rows[:, dx:]) for rows in known[groups]]))
            for places, real in _portions(asked[groups], self.step):
                found[:, places[real]] = self.parts(predictor(x[places]))[:, real]
        return found


def _portions(asked: Sequence[Sequence[int]], step: int) -> list[tuple[Tensor, Tensor]]:
    """Places `[T, M]` of rows and which of them are real, at most `step` rows of each group at a time.

    Where a group has fewer rows, its first row stands again, so that no input is unlike those that are asked for.
    """
    longest, found = max(len(places) for places in asked), []
    first = torch.tensor([places[0] for places in asked])[:, None]
    for start in range(0, longest, step):
        own = [torch.tensor(places[start : start + step], dtype=torch.long) for places in asked]
        sizes = torch.tensor([len(each) for each in own])
        padded = torch.nn.utils.rnn.pad_sequence(own, batch_first=True)
        real = torch.arange(padded.shape[1]) < sizes[:, None]
        found.append((torch.where(real, padded, first), real))
    return found
