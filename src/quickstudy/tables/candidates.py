"""The learners that are tried on a table, by name, and how each is fitted to training groups."""

import warnings
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from quickstudy.data import Examples, Tasks
from quickstudy.metric.groups import training_groups
from quickstudy.metric.mean_and_gp.mean_and_gp import MeanAndGP
from quickstudy.metric.mixed.mixed_model import MixedModel
from quickstudy.processes.cnp import CNP
from quickstudy.tables.boosting.boosted_trees import BoostedTrees
from quickstudy.tables.in_units import InUnits
from quickstudy.tables.judging import thinned
from quickstudy.tables.kinds.features import features_of
from quickstudy.tables.kinds.generalized import generalized
from quickstudy.tables.kinds.outcome import without_units
from quickstudy.tables.on_residuals import OnResiduals
from quickstudy.tasks.datasets.columns import GroupedRows
from quickstudy.tasks.datasets.point_sets import PointSets
from quickstudy.tasks.datasets.table import Table

Fit = Callable[[Table, int, int], nn.Module]
"""Fits a learner to the training groups of a table, in standard units; takes a seed and the largest number seen."""
KNOTS = 4  # degrees of freedom of a curve for all groups
STEPS = 400  # of training a process
MOST_ROWS = 500  # largest number of rows of a group to which learners are fitted


class Candidate(NamedTuple):
    """One learner that is tried.

    Args:
        title: its name, for people.
        fit: fits it.
        log: whether it predicts logarithms of the outcomes.
        rival: whether it only stands beside the others: it never adapts.
        discrete: whether it predicts probabilities of whole numbers, which it is given as they are.
    """

    title: str
    fit: Fit
    log: bool = False
    rival: bool = False
    discrete: bool = False


def candidates(rows: GroupedRows, steps: int = STEPS) -> dict[str, Candidate]:
    """The learners for a table, by name; those for logarithms only if all outcomes are positive and spread.

    Args:
        rows: the table.
        steps: of training a process.
    """
    found = {
        "everyone": Candidate("one curve for all groups", _everyone, rival=True),
        "intercept": Candidate("mixed model, line and random intercept", _mixed(1, 0)),
        "line": Candidate("mixed model, random line", _mixed(1, 1)),
        "curve": Candidate("mixed model, curve and random line", _mixed(KNOTS, 1)),
        "robust": Candidate("mixed model with Student noise, curve and random line", generalized("student", KNOTS, 1)),
        "gp": Candidate("curve and Gaussian process", _gp),
        "process": Candidate("CNP on residuals of the curve", _process(steps)),
    }
    if len(rows.x) == 1:
        found["bend"] = Candidate("mixed model, curve and random parabola", _mixed(KNOTS, 2))
    if has_trees():
        found["trees"] = Candidate("boosted trees", _trees)
    y = torch.cat(list(rows.rows))[:, len(rows.x) :]
    if bool((y > 0).all()) and bool((y.amax(0) > 3 * y.amin(0)).any()):
        found |= {
            "log-curve": Candidate("mixed model of logarithms, curve and random line", _mixed(KNOTS, 1), log=True),
            "log-gp": Candidate("curve and Gaussian process of logarithms", _gp, log=True),
        }
        if len(rows.x) == 1:
            title = "mixed model of logarithms, curve and random parabola"
            found["log-bend"] = Candidate(title, _mixed(KNOTS, 2), log=True)
    return found


def has_trees() -> bool:
    """Whether scikit-learn is there, which fits boosted trees."""
    return find_spec("sklearn") is not None


def fitted(candidate: Candidate, rows: GroupedRows, names: Sequence[Any], *, seed: int, most: int) -> InUnits:
    """The candidate, fitted to the groups `names`, as a learner in the units of the table.

    A group with more than 500 rows is represented by 500 of them, evenly spaced.

    Args:
        candidate: the candidate.
        rows: the table.
        names: its training groups.
        seed: seed of the initial weights and of training.
        most: largest number of rows that will be seen of a group.
    """
    rows = rows._replace(rows=tuple(thinned(each, MOST_ROWS) for each in rows.rows))
    if candidate.log:
        dx = len(rows.x)
        logs = tuple(torch.cat([each[:, :dx], each[:, dx:].log()], 1) for each in rows.rows)
        rows = rows._replace(rows=logs)
    table = Table.from_groups(rows, splits={"train": list(names)})
    table = without_units(table) if candidate.discrete else table
    torch.manual_seed(seed)
    return InUnits(candidate.fit(table, seed, most), table.scaling.to_json(), log=candidate.log).eval()


def _mixed(fixed: int, random: int) -> Fit:
    """A mixed model with the features of `features_of`."""

    def fit(table: Table, seed: int, most: int) -> nn.Module:
        features = features_of(training_groups(table, table.dx, table.dy), fixed, random)
        model = MixedModel(table.dx, table.dy, fixed=features.fixed, random=features.random)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "the likelihood of the mixed model", RuntimeWarning)
            model.fit(table)
        return model

    return fit


def _everyone(table: Table, seed: int, most: int) -> nn.Module:
    return Unadapted(_mixed(KNOTS, 0)(table, seed, most))


def _gp(table: Table, seed: int, most: int) -> nn.Module:
    model = MeanAndGP(table.dx, table.dy)
    model.fit(table)
    return model


def _trees(table: Table, seed: int, most: int) -> nn.Module:
    return BoostedTrees(table.dx, table.dy, rounds=60, draws=6, seed=seed).fit(table)


def _process(steps: int) -> Fit:
    def fit(table: Table, seed: int, most: int) -> nn.Module:
        learner = OnResiduals(CNP(table.dx, table.dy, width=32, sigma_floor=0.1), _mixed(KNOTS, 0)(table, seed, most))
        groups = training_groups(table, table.dx, table.dy)
        residuals = learner.residuals(groups.to(dtype=torch.get_default_dtype()))
        train(learner.process, PointSets(points=residuals, splits=every(groups)), seed, most, steps)
        return learner

    return fit


def every(groups: Examples) -> dict[str, tuple[int, ...]]:
    """Splits in which all groups are for training."""
    return {"train": tuple(range(groups.num_tasks)), "validation": (), "test": ()}


def train(learner: Any, groups: PointSets, seed: int, most: int, steps: int) -> None:
    """Train a process on the training groups, with weight decay, for a fixed number of steps.

    Args:
        learner: the process.
        groups: the groups, in standard units.
        seed: seed of the batches.
        most: largest number of rows seen.
        steps: of training.
    """
    largest = groups.points.num_points
    learner.eval()  # so that it records no range of training: the model of a table warns in the table's units
    optimizer = torch.optim.AdamW([p for p in learner.parameters() if p.requires_grad], lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    chance = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        seen = int(torch.randint(0, min(most, largest - 1) + 1, (), generator=chance))
        tasks = groups.sample(16, support=seen, query=10, generator=chance)
        optimizer.zero_grad()
        learner.meta_loss(tasks).backward()
        torch.nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
        optimizer.step()
        schedule.step()


class Unadapted(nn.Module):
    """A learner that is never told a group's rows: its prior for everybody.

    Args:
        learner: a learner of the contract.
    """

    def __init__(self, learner: nn.Module):
        super().__init__()
        self.learner: Any = learner

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"learner": self.learner}

    def meta_loss(self, tasks: Tasks) -> Tensor:
        """The meta-loss of the learner without support."""
        loss: Tensor = self.learner.meta_loss(tasks._replace(support=tasks.support.first(0)))
        return loss

    def adapt(self, support: Examples, **options: Any) -> Any:
        """The learner's prior, whatever `support` holds."""
        return self.learner.adapt(support, **{**options, "steps": 0})
