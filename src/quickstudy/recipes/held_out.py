"""Held-out groups of a table, predicted from their first rows by a learner and its rivals, in the table's own units."""

from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from quickstudy.data import Examples, Tasks
from quickstudy.predictive import Gaussian
from quickstudy.report import figures
from quickstudy.report.panels import Curve, Panel
from quickstudy.tasks import Table, fit_gp
from quickstudy.training.scores import task_mean
from quickstudy.training.statistics import Metric, over_tasks

if TYPE_CHECKING:
    from quickstudy.recipes.table import Options

MOST_ROWS = 400  # of all training rows, as many as the group-blind curve is fitted to


def folds(options: "Options") -> list[Table]:
    """The file once for every fold, with that fold's groups held out and, for choosing weights, a few to validate on.

    Raises:
        ValueError: if there are fewer groups than the folds need.
    """
    read = partial(
        Table.from_csv,
        options.data,
        task=options.task,
        x=options.x,
        y=options.y,
        missing=options.missing,
        short=options.short,
    )
    names = read().names
    if not 2 <= options.folds <= len(names) - 2:
        raise ValueError(f"--folds {options.folds}: {len(names)} groups can be dealt into 2 to {len(names) - 2} folds")
    chance = torch.Generator().manual_seed(options.seed)
    dealt = [names[i] for i in torch.randperm(len(names), generator=chance).tolist()]
    tables = []
    for i in range(options.folds):
        test = dealt[i :: options.folds]
        rest = [name for name in dealt if name not in test]
        few = max(1, round(0.15 * len(rest)))
        splits = {"train": rest[few:], "validation": rest[:few], "test": test}
        tables.append(read(splits=splits, order=options.order))
    return tables


class Scores:
    """Squared errors and log densities of every held-out group, by who predicted it and from how many rows."""

    def __init__(self) -> None:
        self._found: dict[str, list[Tensor]] = {}
        self.groups = 0

    def add(self, table: Table, learner: nn.Module, name: str, seen: int) -> None:
        """Predict the held-out groups of `table` from `seen` rows, by the learner and its rivals."""
        tasks = table.held_out("test", support=seen).to(next(learner.parameters()).device)
        for who, belief in beliefs(table, learner, name, tasks, tasks.query.x).items():
            y = table.unscale_y(tasks.query.clean().y.to(belief.mean))
            error = task_mean((belief.mean - y).square().mean(-1), tasks.query.mask)
            self._found.setdefault(f"{who}/mse/k={seen}", []).append(error.detach())
            density = task_mean(belief.log_prob(y, tasks.query.mask), tasks.query.mask)
            self._found.setdefault(f"{who}/log_likelihood/k={seen}", []).append(density.detach())
        self.groups = max(sum(map(len, values)) for values in self._found.values())

    def metrics(self) -> dict[str, Metric]:
        """Root mean squared errors and mean log densities over all held-out groups."""
        joined = {name: over_tasks(torch.cat(values)) for name, values in self._found.items()}
        return {name.replace("/mse/", "/rmse/"): root(m) if "/mse/" in name else m for name, m in joined.items()}


def root(metric: Metric) -> Metric:
    """The square root of a mean, with its interval to first order."""
    size = metric.mean**0.5
    return metric._replace(mean=size, ci95=metric.ci95 / (2 * size) if size else 0.0, values=None)


def beliefs(table: Table, learner: Any, name: str, tasks: Tasks, x: Tensor) -> dict[str, Any]:
    """What the learner, a GP on the rows seen and a curve blind to groups believe at `x`, in the table's units."""
    chance = torch.Generator(x.device).manual_seed(0)
    found = {
        name: learner.adapt(tasks.support, generator=chance)(x),
        "gp": fit_gp(tasks.support)(x),
        "group_blind": _blind(table)(x.reshape(1, -1, table.dx)),
    }
    found["group_blind"] = Gaussian(*(v.reshape(*x.shape[:2], table.dy) for v in _moments(found["group_blind"])))
    found["gp"] = Gaussian(*_moments(found["gp"]))
    return {who: table.in_units(belief) for who, belief in found.items()}


def pictures(table: Table, learner: nn.Module, seen: int, colour: str) -> dict[str, Panel]:
    """A picture of every held-out group, over the first input and for the first output."""
    device = next(learner.parameters()).device
    tasks = table.held_out("test", support=seen).to(device)
    low, high = table.points.points.clean().x[..., 0].min(), table.points.points.clean().x[..., 0].max()
    if table.dx == 1:
        x = torch.linspace(float(low), float(high), 60, device=device).view(1, -1, 1).expand(tasks.num_tasks, -1, -1)
    else:
        x = tasks.query.clean().x  # a curve would need the other inputs: mark the rows themselves
    with torch.no_grad():
        found = beliefs(table, learner, "learner", tasks, x)
    place = table.unscale_x(x)[..., 0]
    drawn = {}
    for t, group in enumerate(table.groups("test")):
        keep = slice(None) if table.dx == 1 else tasks.query.real()[t]
        drawn[f"{table.task} {group}"] = Panel(
            place[t][keep],
            seen=_rows(table, tasks.support, t),
            unseen=_rows(table, tasks.query, t),
            mean=found["learner"].mean[t, keep, 0],
            sd=found["learner"].variance[t, keep, 0].sqrt(),
            curves=(
                Curve("GP on the rows seen", found["gp"].mean[t, keep, 0], "--", figures.GREY, 1.0),
                Curve("group-blind", found["group_blind"].mean[t, keep, 0], ":", figures.AMBER, 1.2),
            ),
            colour=colour,
        )
    return drawn


def _blind(table: Table) -> Any:
    """A Gaussian process on the rows of all training groups together (400 of them at most)."""
    points, places = table.points.points, torch.tensor(table.points.splits["train"])
    rows = points.select(places)
    x, y = rows.x[rows.real()], rows.y[rows.real()]
    few = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:MOST_ROWS]
    return fit_gp(Examples(x[few][None], y[few][None]), noise=(1e-2, 10.0))


def _moments(belief: Any) -> tuple[Tensor, Tensor]:
    return belief.mean, belief.variance


def _rows(table: Table, examples: Examples, t: int) -> tuple[Tensor, Tensor]:
    real = examples.real()[t]
    return table.unscale_x(examples.x[t, real])[:, 0], table.unscale_y(examples.y[t, real])[:, 0]
