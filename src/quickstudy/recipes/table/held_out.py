"""Predict held-out groups of a table from their first rows, by a learner and its rivals, in the units of the table."""

import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from quickstudy.data import Examples
from quickstudy.evaluation.intervals import Metric, over_tasks
from quickstudy.evaluation.scores import task_mean
from quickstudy.learner import Predictor
from quickstudy.predictive import DenseGaussian, Gaussian
from quickstudy.recipes.table.options import Options
from quickstudy.report.palette import AMBER, INK
from quickstudy.report.panels import Curve, Panel
from quickstudy.report.tables import PARTS
from quickstudy.tasks import ExactGP, Table, fit_gp

ENOUGH = 5  # with fewer validation groups, the results have a warning
MOST_ROWS = 400  # largest number of training rows to which the group-blind curve is fitted


def folds(options: Options) -> list[Table]:
    """A table for every fold, whose test groups are those of the fold; 15% of the other groups are for validation.

    Raises:
        ValueError: if there are too few groups for the folds, or if no group has more rows than are to be seen.
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
    whole = read()
    names = whole.names
    _check_seen(options.seen, whole.points.points.sizes())
    if not 2 <= options.folds <= len(names) - 2:
        raise ValueError(
            f"--folds {options.folds}: {len(names)} groups can be divided into 2 to {len(names) - 2} folds"
        )
    chance = torch.Generator().manual_seed(options.seed)
    shuffled = [names[i] for i in torch.randperm(len(names), generator=chance).tolist()]
    tables = []
    for i in range(options.folds):
        test = shuffled[i :: options.folds]
        rest = [name for name in shuffled if name not in test]
        count = max(1, round(0.15 * len(rest)))
        splits = {"train": rest[count:], "validation": rest[:count], "test": test}
        tables.append(read(splits=splits, order=options.order))
    return tables


def _check_seen(seen: Sequence[int], rows: Tensor) -> None:
    """Raise ValueError if no group has more rows than are to be seen, and warn if some groups do not."""
    most = int(rows.max())
    for number in seen:
        if number >= most:
            raise ValueError(
                f"--seen {number}: the largest group has {most} rows, so none would be left to predict; give at most "
                f"{most - 1}"
            )
        small = int((rows <= number).sum())
        if small:
            warnings.warn(
                f"--seen {number}: {small} of {len(rows)} groups have no more than {number} rows; in these, only the "
                "last row is predicted, from all others, so do not compare this column with columns of fewer rows",
                RuntimeWarning,
                stacklevel=2,
            )


def left_out(table: Table) -> str:
    """A sentence with the number of rows and groups that the table leaves out; empty if there are none."""
    rows, groups = table.dropped
    kept, whole = int(table.points.points.sizes().sum()), len(table.names) + groups
    parts = [f"{rows} of {kept + groups + rows} rows, which lack a value (--missing drop)"] if rows else []
    parts += [f"{groups} of {whole} groups, which have a single row (--short drop)"] if groups else []
    return f"Left out: {', and '.join(parts)}." if parts else ""


def few_for_validation(tables: Sequence[Table], which: str) -> str:
    """A warning, in one sentence, if the best weights are chosen on few groups; empty otherwise."""
    fewest = min(len(table.groups("validation")) for table in tables)
    if fewest >= ENOUGH or which == "last":
        return ""
    return (
        f"Only {fewest} group{'s' * (fewest > 1)} of each fold choose{'s' * (fewest == 1)} the best weights, so "
        f"the choice depends on chance (15% of the groups that are not held out; {ENOUGH} or more are better); "
        "--which last measures the last weights."
    )


class Rivals:
    """Predictors without meta-learning, fitted to the training groups of a table."""

    def __init__(self, table: Table):
        training = table.points.points.select(torch.tensor(table.points.splits["train"]))
        x, y = training.x[training.real()], training.y[training.real()]
        rows = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:MOST_ROWS]
        self._blind = fit_gp(Examples(x[rows][None], y[rows][None]), noise=(1e-2, 10.0))
        self._shared = fit_gp(training, shared=True).info

    def predictors(self, support: Examples) -> dict[str, Predictor]:
        """A GP with the training groups' hyperparameters, a GP fitted to `support` alone, one curve for all groups."""
        tasks = support.num_tasks
        shared = {k: v[:1].expand(tasks, *v.shape[1:]) for k, v in self._shared.items()}
        return {
            "gp_shared": ExactGP(support, shared),
            "gp": fit_gp(support),
            "group_blind": ExactGP(
                self._blind.support.select(torch.zeros(tasks, dtype=torch.long)),
                {k: v.expand(tasks, *v.shape[1:]) for k, v in self._blind.info.items()},
            ),
        }


class HeldOut:
    """Predictions for the held-out groups of a table from their first rows, by a learner and its rivals.

    Args:
        table: a table with test groups.
        rivals: the rivals, fitted to the table.
        learner: the learner, trained on the table.
        name: name of the learner in the names of the metrics.
        seen: number of rows seen of each group.
        steps: numbers of gradient steps of the learner; None means its own number.
    """

    def __init__(
        self, table: Table, rivals: Rivals, learner: Any, name: str, seen: int, steps: Sequence[int | None] = (None,)
    ):
        self.table, self.name, self.seen, self.steps = table, name, seen, steps
        self.tasks = table.held_out("test", support=seen)
        self._device = next(learner.parameters()).device
        self._predictors: dict[tuple[str, int | None], Any] = {}
        for count in steps:
            chance = torch.Generator(self._device).manual_seed(0)
            adapted = learner.adapt(self.tasks.support.to(self._device), steps=count, generator=chance)
            self._predictors[name, count] = adapted
        self._predictors |= {(rival, None): p for rival, p in rivals.predictors(self.tasks.support).items()}

    def beliefs(self, x: Tensor) -> dict[tuple[str, int | None], Any]:
        """The predictive distributions at `x [T, M, dx]` in the table's units, by predictor and gradient steps."""
        found = {}
        for key, predictor in self._predictors.items():
            with torch.no_grad():
                belief = predictor(x.to(self._device) if key[0] == self.name else x)
            # a joint distribution over several outputs cannot be rescaled, but the marginals can
            belief = Gaussian(belief.mean, belief.variance) if isinstance(belief, DenseGaussian) else belief
            found[key] = self.table.in_units(belief)
        return found

    def scores(self) -> dict[str, Tensor]:
        """Mean squared error and log density for every group, by the name of the metric."""
        query = self.tasks.query
        found: dict[str, Tensor] = {}
        for (name, count), belief in self.beliefs(query.clean().x).items():
            y, mask = self.table.unscale_y(query.clean().y).to(belief.mean), query.real().to(belief.mean.device)
            error = task_mean((belief.mean - y).square().mean(-1), mask)
            density = task_mean(belief.log_prob(y, mask), mask)
            size = f"k={self.seen}" + ("" if count is None else f"/steps={count}")
            found |= {f"{name}/mse/{size}": error.cpu(), f"{name}/log_likelihood/{size}": density.cpu()}
        return found

    def pictures(self, colour: str) -> dict[str, Panel]:
        """A panel for every group: the first output against the first input."""
        table, tasks = self.table, self.tasks
        if table.dx == 1:
            places = table.points.points.x[table.points.points.real()]
            x = (
                torch.linspace(float(places.min()), float(places.max()), 60)
                .view(1, -1, 1)
                .expand(tasks.num_tasks, -1, -1)
            )
        else:
            x = tasks.query.clean().x  # a curve would need values of the other inputs, so only the rows are drawn
        found, at = self.beliefs(x), table.unscale_x(x)[..., 0]
        drawn = {}
        for t, group in enumerate(table.groups("test")):
            keep = slice(None) if table.dx == 1 else tasks.query.real()[t]
            own = found[self.name, self.steps[-1]]
            shared, blind = (found[name, None] for name in ("gp_shared", "group_blind"))
            drawn[f"{table.task} {group}"] = Panel(
                at[t][keep],
                seen=_rows(table, tasks.support, t),
                unseen=_rows(table, tasks.query, t),
                mean=own.mean[t, keep, 0],
                sd=own.variance[t, keep, 0].sqrt(),
                curves=(
                    Curve(PARTS["gp_shared"], shared.mean[t, keep, 0], "--", INK, 1.0),
                    Curve(PARTS["group_blind"], blind.mean[t, keep, 0], ":", AMBER, 1.2),
                ),
                colour=colour,
                learner=PARTS[self.name],
            )
        return drawn


def summary(scores: Sequence[Mapping[str, Tensor]]) -> dict[str, Metric]:
    """Root mean squared errors, and mean log densities, over the groups of all folds."""
    joined = {name: over_tasks(torch.cat([each[name] for each in scores])) for name in scores[0]}
    return {name.replace("/mse/", "/rmse/"): root(m) if "/mse/" in name else m for name, m in joined.items()}


def root(metric: Metric) -> Metric:
    """The square root of a mean, with a confidence interval by the delta method."""
    size = metric.mean**0.5
    return metric._replace(mean=size, ci95=metric.ci95 / (2 * size) if size else 0.0, values=None)


def _rows(table: Table, examples: Examples, t: int) -> tuple[Tensor, Tensor]:
    real = examples.real()[t]
    return table.unscale_x(examples.x[t, real])[:, 0], table.unscale_y(examples.y[t, real])[:, 0]
