"""Predictors without meta-learning, fitted to the training groups of a table or to the rows seen."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from quickstudy.data import Examples
from quickstudy.predictive import Gaussian
from quickstudy.tasks import ExactGP, Table, fit_gp
from quickstudy.tasks.fitted_gp import thinned

MOST_ROWS = 400  # largest number of rows that a Gaussian process is conditioned on: its time is cubic in them
AT_ONCE = 512  # points that one curve predicts at a time
FITTED_ROWS, FITTED_GROUPS = 60, 150  # largest numbers to which hyperparameters are fitted, by hundreds of trials


class Rivals:
    """Predictors without meta-learning, fitted to the training groups of a table.

    Where groups have many rows, a random choice of them is used, so that fitting takes seconds: at most 60 rows of each
    of 150 groups for hyperparameters, and 400 rows to predict from.
    """

    def __init__(self, table: Table):
        training = table.points.points.select(torch.tensor(table.points.splits["train"]))
        x, y = training.x[training.real()], training.y[training.real()]
        rows = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:MOST_ROWS]
        self._blind = fit_gp(Examples(x[rows][None], y[rows][None]), noise=(1e-2, 10.0))
        groups = torch.randperm(training.num_tasks, generator=torch.Generator().manual_seed(1))[:FITTED_GROUPS]
        self._shared = fit_gp(thinned(training.select(groups.sort().values), FITTED_ROWS), shared=True).info

    def predictors(self, support: Examples) -> dict[str, Callable[[Tensor], Any]]:
        """A GP with the training groups' hyperparameters, a GP fitted to `support` alone, one curve for all groups."""
        tasks, seen = support.num_tasks, thinned(support, MOST_ROWS)
        return {
            "gp_shared": ExactGP(seen, _repeated(self._shared, tasks)),
            "gp": ExactGP(seen, fit_gp(thinned(support, FITTED_ROWS)).info),
            "group_blind": partial(_marginals_of_one, self._blind),
        }


def _marginals_of_one(gp: ExactGP, x: Tensor) -> Gaussian:
    """The predictions of a Gaussian process of one task at the inputs `[T, M, dx]` of many, each point by itself."""
    beliefs = [gp(part) for part in x.reshape(1, -1, x.shape[2]).split(AT_ONCE, 1)]
    mean, variance = (torch.cat(parts, 1) for parts in zip(*((b.mean, b.variance) for b in beliefs), strict=True))
    return Gaussian(*(part.view(*x.shape[:2], part.shape[2]) for part in (mean, variance)))


def _repeated(info: dict[str, Tensor], tasks: int) -> dict[str, Tensor]:
    """Hyperparameters of one task, for each of `tasks`."""
    return {k: v[:1].expand(tasks, *v.shape[1:]) for k, v in info.items()}
