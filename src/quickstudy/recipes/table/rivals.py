"""Predictors without meta-learning, fitted to the training groups of a table or to the rows seen."""

import torch
from torch import Tensor

from quickstudy.data import Examples
from quickstudy.learner import Predictor
from quickstudy.tasks import ExactGP, Table, fit_gp

MOST_ROWS = 400  # largest number of rows that a Gaussian process is conditioned on: its time is cubic in them
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

    def predictors(self, support: Examples) -> dict[str, Predictor]:
        """A GP with the training groups' hyperparameters, a GP fitted to `support` alone, one curve for all groups."""
        tasks, seen = support.num_tasks, thinned(support, MOST_ROWS)
        return {
            "gp_shared": ExactGP(seen, _repeated(self._shared, tasks)),
            "gp": ExactGP(seen, fit_gp(thinned(support, FITTED_ROWS)).info),
            "group_blind": ExactGP(
                self._blind.support.select(torch.zeros(tasks, dtype=torch.long)), _repeated(self._blind.info, tasks)
            ),
        }


def thinned(examples: Examples, rows: int) -> Examples:
    """At most `rows` real points of every task: all of them, or a random choice in their order, from a fixed seed.

    >>> thinned(Examples(torch.arange(5.0).view(1, 5, 1), torch.zeros(1, 5, 1)), 3).x.shape
    torch.Size([1, 3, 1])
    """
    if examples.num_points <= rows:
        return examples
    real, chance = examples.real(), torch.Generator().manual_seed(0)
    keys = torch.rand(real.shape, generator=chance).to(real.device)
    kept = torch.where(real, keys, 2.0).argsort(1)[:, :rows]
    kept = torch.where(real.gather(1, kept), kept, examples.num_points - 1).sort(1).values  # padding comes last
    task = torch.arange(examples.num_tasks, device=kept.device)[:, None]
    few = torch.arange(rows, device=kept.device) < examples.sizes()[:, None]
    return Examples(examples.x[task, kept], examples.y[task, kept], None if bool(few.all()) else few)


def _repeated(info: dict[str, Tensor], tasks: int) -> dict[str, Tensor]:
    """Hyperparameters of one task, for each of `tasks`."""
    return {k: v[:1].expand(tasks, *v.shape[1:]) for k, v in info.items()}
