"""Predict held-out groups of a table from their first rows, by a learner and its rivals, in the units of the table."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from quickstudy.evaluation.intervals import Metric, over_tasks, root
from quickstudy.evaluation.scores import task_mean
from quickstudy.predictive import DenseGaussian, Gaussian, GaussianMixture
from quickstudy.recipes.table.rivals import Rivals
from quickstudy.report.palette import AMBER, INK
from quickstudy.report.panels import Curve, Panel
from quickstudy.report.tables import PARTS, SLASH
from quickstudy.tasks import Table

AT_ONCE = 64  # points of each group that are predicted at a time, to bound memory
CURVE = 60  # points of a curve


class Marginals(NamedTuple):
    """Predictions at points by themselves, in standard units and float64, on the CPU.

    Args:
        mean, variance: `[T, M, dy]`.
        log_density: of the outcome `[T, M, dy]`, for each output by itself; None without an outcome.
    """

    mean: Tensor
    variance: Tensor
    log_density: Tensor | None


class HeldOut:
    """Predictions for the held-out groups of a table from their first rows, by a learner and its rivals.

    Groups with at most `after` rows are left out. All means, variances and densities are computed in standard units and
    float64, and then converted, so that a large offset or an extreme unit costs no digits.

    Args:
        table: a table with test groups.
        rivals: the rivals, fitted to the table.
        learner: the learner, trained on the table.
        name: name of the learner in the names of the metrics.
        seen: number of rows seen of each group.
        steps: numbers of gradient steps of the learner; None means its own number.
        after: number of rows before those to predict, at least `seen`, so that several numbers of rows seen are judged
            on the same rows; by default `seen`.
    """

    def __init__(
        self,
        table: Table,
        rivals: Rivals,
        learner: Any,
        *,
        name: str,
        seen: int,
        steps: Sequence[int | None] = (None,),
        after: int | None = None,
    ):
        self.table, self.name, self.seen, self.steps = table, name, seen, steps
        after = seen if after is None else after
        tasks = table.held_out("test", support=seen, after=after, dtype=torch.float64)
        sizes = table.points.points.sizes()[tasks.info["group"]]
        self.tasks = tasks.select((sizes > after).nonzero()[:, 0])
        self.groups = tuple(table.names[i] for i in self.tasks.info["group"].tolist())
        self._device = next(learner.parameters()).device
        self._predictors: dict[tuple[str, int | None], Callable[[Tensor], Any]] = {}
        support = self.tasks.support.to(dtype=torch.get_default_dtype())
        for count in steps:
            chance = torch.Generator(self._device).manual_seed(0)
            adapted = learner.adapt(support.to(self._device), steps=count, generator=chance)
            self._predictors[name, count] = adapted
        self._predictors |= {(rival, None): p for rival, p in rivals.predictors(self.tasks.support).items()}

    def predictions(self, x: Tensor, y: Tensor | None = None) -> dict[tuple[str, int | None], Marginals]:
        """Predictions at `x [T, M, dx]` in standard units, and densities of `y`, by predictor and gradient steps."""
        found = {}
        for key, predictor in self._predictors.items():
            like = {"dtype": torch.get_default_dtype(), "device": self._device} if key[0] == self.name else {}
            parts = []
            for start in range(0, x.shape[1], AT_ONCE):
                place = slice(start, start + AT_ONCE)
                with torch.no_grad():
                    belief = tree_map(_double, predictor(x[:, place].to(**like)))
                parts.append(_marginals(belief, None if y is None else y[:, place]))
            found[key] = _joined(parts)
        return found

    def scores(self) -> dict[str, Tensor]:
        """Mean squared error and log density for every group, by the name of the metric; for each output by itself.

        With several outputs, the name of the metric has the output's: `np/mse/y=height/k=4`.
        """
        query = self.tasks.query
        found: dict[str, Tensor] = {}
        for (name, count), belief in self.predictions(query.clean().x, query.clean().y).items():
            assert belief.log_density is not None
            size = f"k={self.seen}" + ("" if count is None else f"/steps={count}")
            for j, output in enumerate(self.table.y):
                unit = self.table.spread[self.table.dx + j]
                of = f"y={in_a_name(output)}/" if self.table.dy > 1 else ""
                error = task_mean((belief.mean - query.clean().y)[..., j].square(), query.mask) * unit.square()
                density = task_mean(belief.log_density[..., j], query.mask) - unit.log()
                found |= {f"{name}/mse/{of}{size}": error, f"{name}/log_likelihood/{of}{size}": density}
        return found

    def pictures(self, colour: str, output: int = 0) -> dict[str, Panel]:
        """A panel for every group: an output against the first input, within the range of the group's own rows."""
        table, tasks = self.table, self.tasks
        every = tasks.support.append(tasks.query)
        if table.dx == 1:
            x = torch.stack([_grid(every.x[t, every.real()[t]]) for t in range(tasks.num_tasks)])
        else:
            x = tasks.query.clean().x  # a curve would need values of the other inputs, so only the rows are drawn
        found, at = self.predictions(x), table.unscale_x(x)[..., 0]
        center, spread = (float(part[table.dx + output]) for part in (table.center, table.spread))
        drawn = {}
        for t, group in enumerate(self.groups):
            keep = slice(None) if table.dx == 1 else tasks.query.real()[t]
            mean = {key: center + spread * each.mean[t, keep, output] for key, each in found.items()}
            own = (self.name, self.steps[-1])
            drawn[f"{table.task} {group}"] = Panel(
                at[t][keep],
                seen=self._rows(tasks.support, t, output),
                unseen=self._rows(tasks.query, t, output),
                mean=mean[own],
                sd=spread * found[own].variance[t, keep, output].sqrt(),
                curves=(
                    Curve(PARTS["gp_shared"], mean["gp_shared", None], "--", INK, 1.0),
                    Curve(PARTS["group_blind"], mean["group_blind", None], ":", AMBER, 1.2),
                ),
                colour=colour,
                learner=PARTS[self.name],
            )
        return drawn

    def _rows(self, examples: Any, t: int, output: int) -> tuple[Tensor, Tensor]:
        real = examples.real()[t]
        return self.table.unscale_x(examples.x[t, real])[:, 0], self.table.unscale_y(examples.y[t, real])[:, output]


def summary(scores: Sequence[Mapping[str, Tensor]]) -> dict[str, Metric]:
    """Root mean squared errors, and mean log densities, over the groups of all folds."""
    joined = {
        name: over_tasks(torch.cat([each[name] for each in scores]))._replace(over="groups") for name in scores[0]
    }
    return {name.replace("/mse/", "/rmse/"): root(m) if "/mse/" in name else m for name, m in joined.items()}


def in_a_name(column: str) -> str:
    """The name of a column within the name of a metric, where a slash divides words; tables show it as it is.

    >>> in_a_name("mg/L")
    'mg∕L'
    """
    return column.replace("/", SLASH)


def _marginals(belief: Any, y: Tensor | None) -> Marginals:
    """The marginals of a belief in float64 at each point, and the density of each output of `y` by itself."""
    mean, variance = belief.mean.cpu(), belief.variance.cpu()
    if y is None:
        return Marginals(mean, variance, None)
    densities = [_of_output(belief, j).log_prob(y[..., j : j + 1].to(belief.mean)).cpu() for j in range(y.shape[2])]
    return Marginals(mean, variance, torch.stack(densities, -1))


def _joined(parts: Sequence[Marginals]) -> Marginals:
    """The predictions at all points."""
    densities = [part.log_density for part in parts if part.log_density is not None]
    mean, variance = (torch.cat([part[i] for part in parts], 1) for i in range(2))  # type: ignore[misc]
    return Marginals(mean, variance, torch.cat(densities, 1) if densities else None)


def _of_output(belief: Any, j: int) -> Any:
    """The belief about output `j` alone."""
    if isinstance(belief, DenseGaussian):
        belief = Gaussian(belief.mean, belief.variance)
    if isinstance(belief, Gaussian | GaussianMixture):
        return type(belief)(*(part[..., j : j + 1] for part in belief))
    if belief.mean.shape[2] == 1:
        return belief
    raise TypeError(f"a {type(belief).__name__} about several outputs has no density of each; use a table with one y")


def _grid(x: Tensor) -> Tensor:
    """Inputs `[M, 1]` from the least to the greatest of a group."""
    low, high = float(x.min()), float(x.max())
    return torch.linspace(low, high, CURVE, dtype=x.dtype)[:, None]


def _double(value: Any) -> Any:
    return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value
