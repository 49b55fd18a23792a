"""Fits what `learner=` names to the groups of a table: a mixture, one candidate, or a learner of the contract."""

import copy
import hashlib
import json
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from quickstudy.checks import shown
from quickstudy.data import Examples
from quickstudy.estimators.rows import Names, grouped
from quickstudy.learner import check_learner
from quickstudy.metric.bases.natural_spline import NaturalSpline
from quickstudy.metric.mixed.mixed_model import MixedModel
from quickstudy.runs.storage import load
from quickstudy.tables.candidates import Unadapted, candidates, fitted
from quickstudy.tables.choosing import FEWEST, Choice, choose
from quickstudy.tables.in_units import InUnits
from quickstudy.tables.judging import Judged, folds, held_out, judge, usual_sizes
from quickstudy.tables.model import TableModel
from quickstudy.tables.stack import Stack
from quickstudy.tasks.datasets.columns import Dropped, GroupedRows
from quickstudy.tasks.datasets.scaling import Scaling
from quickstudy.tasks.datasets.table import Table
from quickstudy.training.fit import fit

KNOTS = 4  # of the curve where no groups are given
TRAINING: Mapping[str, Any] = {"steps": 1000, "tasks": 16, "query": 10, "progress": False}
"""What `qs.fit` is given for a learner that it trains; the support sets have 0 rows and more."""


class Setting(NamedTuple):
    """How an estimator was told to fit.

    Args:
        learner: None, the name of a candidate, several names, or a learner.
        seen: numbers of seen rows after which learners are measured; None chooses them.
        training: arguments of `qs.fit`, for a learner that it trains.
        seed: seed of folds, weights and training.
        progress: receives messages about progress.
    """

    learner: Any
    seen: tuple[int, ...] | None
    training: Mapping[str, Any]
    seed: int
    progress: Callable[[str, int, int], None]


def choice_of(rows: GroupedRows, setting: Setting, *, outer: int = 3) -> Choice:
    """The mixture of all learners, or of those that `setting.learner` names.

    Raises:
        ValueError: for unknown names, and fewer than six groups.
    """
    only = () if setting.learner is None else tuple(setting.learner)
    for name in only:
        check_name(name, rows)
    if len(rows.names) < FEWEST:
        raise ValueError(
            f"fit was given {len(rows.names)} groups with two rows or more, and learners are chosen by how well they "
            f"predict groups that they have not seen; give at least {FEWEST} groups, or name one learner, such as "
            "learner='intercept'"
        )
    return choose(rows, seen=setting.seen, outer=outer, seed=setting.seed, only=only, progress=setting.progress)


def is_choice(learner: Any) -> bool:
    """Whether learners are to be chosen and mixed."""
    return learner is None or (isinstance(learner, Sequence) and not isinstance(learner, str))


def name_of(learner: Any) -> str:
    """The name of a candidate, or that of the class of a learner."""
    return learner if isinstance(learner, str) else type(learner).__name__


def check_name(name: Any, rows: GroupedRows) -> None:
    """Raise ValueError unless `name` is that of a learner that suits the table."""
    known = candidates(rows)
    if name not in known:
        near = get_close_matches(str(name), known, 1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"learner={shown(name)}; {hint}the learners for this table are {', '.join(known)}")


def single(rows: GroupedRows, names: Sequence[Any], setting: Setting) -> InUnits:
    """One learner, fitted to the groups `names`, in the units of the table."""
    if isinstance(setting.learner, str):
        check_name(setting.learner, rows)
        sizes = setting.seen if setting.seen is not None else usual_sizes(rows)
        candidate = candidates(rows)[setting.learner]
        return fitted(candidate, rows, names, seed=setting.seed, most=max(*sizes, 4))
    own = copy.deepcopy(setting.learner)
    check_learner(own)
    check_sizes(own, rows)
    torch.manual_seed(setting.seed)
    if callable(getattr(own, "fit", None)):
        table = Table.from_groups(rows, splits={"train": list(names)})
        own.fit(table)
    else:
        own, table = _trained(own, rows, names, setting)
    return InUnits(own, table.scaling.to_json()).eval()


def held_out_scores(rows: GroupedRows, setting: Setting, count: int, seen: Sequence[int]) -> Judged:
    """The scores of one learner on all groups, each predicted by a fit to those of the other folds, of `count`."""
    parts = folds(rows.names, count, setting.seed)
    return Judged.join([judge(single(rows, train, setting), held_out(rows, test, seen)) for train, test in parts])


def check_sizes(learner: Any, rows: GroupedRows) -> None:
    """Raise ValueError for a learner that was built for other numbers of inputs or outputs."""
    for name, count, what in (("dx", len(rows.x), "columns of X"), ("dy", len(rows.y), "columns of y")):
        own = getattr(learner, name, count)
        if own != count:
            raise ValueError(
                f"learner={type(learner).__name__}(...) was built with {name}={own}, and there are {count} {what}; "
                f"build it with {name}={count}"
            )


def _trained(learner: Any, rows: GroupedRows, names: Sequence[Any], setting: Setting) -> tuple[nn.Module, Table]:
    """The learner with the weights that predicted a sixth of the groups best, in training on the others."""
    training, validation = folds(names, min(6, len(names)), setting.seed)[0]
    table = Table.from_groups(rows, splits={"train": training, "validation": validation})
    most = min(8, max(len(each) for each in rows.rows) - 1)
    options = {**TRAINING, "support": (0, most), "seed": setting.seed, **setting.training}
    with tempfile.TemporaryDirectory() as folder:
        fit(learner, table, out=f"{folder}/run", **options)
        best: nn.Module = load(f"{folder}/run", learner=learner)
    return best, table


def without_groups(values: Tensor, names: Names) -> tuple[InUnits, GroupedRows]:
    """One curve for all rows, each of which is a group of its own; a line where there are several inputs.

    Raises:
        ValueError: for too few rows.
    """
    rows = grouped(dict(enumerate(values.split(1))), names, Dropped(0, 0))
    scaling = Scaling.of(values, x=names.x, y=names.y)
    scaled = ((values - scaling.center) / scaling.spread).unsqueeze(1)
    dx, dy = len(names.x), len(names.y)
    curved = dx == 1 and len(values) >= 5 * (KNOTS + 1) and len(values[:, 0].unique()) > KNOTS + 1
    model = MixedModel(dx, dy, fixed=NaturalSpline(KNOTS) if curved else 1, random=0).double()
    with warnings.catch_warnings():  # of a single row, noise and differences between groups cannot be told apart
        warnings.filterwarnings("ignore", "the likelihood of the mixed model", RuntimeWarning)
        model.fit(Examples(scaled[..., :dx], scaled[..., dx:]))
    return InUnits(Unadapted(model), scaling.to_json()).eval(), rows


def as_model(learner: InUnits, title: str, rows: GroupedRows, seen: tuple[int, ...]) -> TableModel:
    """A model of a table with a single learner."""
    x = torch.cat(list(rows.rows))[:, : len(rows.x)]
    low, high = (tuple(end.tolist()) for end in (x.amin(0), x.amax(0)))
    digest = hashlib.sha256(json.dumps(rows.digests()).encode()).hexdigest()[:12]
    names = (rows.task, rows.x, rows.y, rows.inputs)
    stack = Stack({title: learner}, [0], [[1.0]])
    return TableModel(stack, *names, low, high, len(rows.rows), len(x), digest, seen, {title: 1.0}, float("nan"))
