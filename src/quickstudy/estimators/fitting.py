"""Fits what `learner=` names to the groups of a table: a mixture, one candidate, or a learner of the contract."""

import copy
import hashlib
import json
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from quickstudy.data import Examples
from quickstudy.devices import one_thread
from quickstudy.estimators.rows import Names, grouped
from quickstudy.estimators.setting import Setting, check_enough, check_name, check_size, sizes_of, split, trained
from quickstudy.learner import Quantiles, check_learner
from quickstudy.metric.bases.natural_spline import NaturalSpline
from quickstudy.metric.mixed.mixed_model import MixedModel
from quickstudy.tables.calibrated import factors
from quickstudy.tables.candidates import Unadapted, candidates, fitted
from quickstudy.tables.choosing import FEWEST, INNER, Choice, choose, widened
from quickstudy.tables.in_units import InUnits
from quickstudy.tables.judging import Judged, folds, held_out, judge
from quickstudy.tables.model import TableModel, hashes_of
from quickstudy.tables.stack import Stack
from quickstudy.tasks.datasets.columns import Dropped, GroupedRows
from quickstudy.tasks.datasets.scaling import Scaling
from quickstudy.tasks.datasets.table import Table

KNOTS = 4  # of the curve where no groups are given


def choice_of(rows: GroupedRows, setting: Setting, *, outer: int = 3) -> Choice:
    """The mixture of all learners, or of those that `setting.learner` names.

    Raises:
        ValueError: for unknown names, and fewer than six groups.
    """
    only = () if setting.learner is None else tuple(setting.learner)
    for name in only:
        check_name(name, candidates(rows))
    check_enough(rows, "intercept")
    return choose(
        rows, seen=sizes_of(rows, setting), outer=outer, seed=setting.seed, only=only, progress=setting.progress
    )


@one_thread()
def single(rows: GroupedRows, names: Sequence[Any], setting: Setting) -> InUnits:
    """One learner, fitted to the groups `names`, in the units of the table, with beliefs of the width they must have.

    If the table has six groups or more, folds of `names` say how wide, as in `choose`: each is predicted by another fit
    of the learner, to the others. That of one which `qs.fit` trains would take long, so its beliefs stay as they are,
    and so do those without `cdf`, and of whole numbers.
    """
    own = _as_it_is(rows, names, setting)
    if len(rows.names) < FEWEST or not (isinstance(setting.learner, str) or _has_fit(setting.learner)):
        return own
    sizes = sizes_of(rows, setting)
    first = held_out(rows, names[:1], [0])[0]
    with torch.no_grad():
        belief = own.adapt(first.support)(first.query.x)
    if not isinstance(belief, Quantiles) or getattr(belief, "discrete", False):
        return own
    parts = folds(names, INNER, setting.seed)
    judged = [judge(_as_it_is(rows, train, setting), held_out(rows, rest, sizes)) for train, rest in parts]
    return widened(own, sizes, factors(Judged.join(judged)))


def _has_fit(learner: Any) -> bool:
    """Whether a learner has a method that fits it."""
    return callable(getattr(learner, "fit", None))


def _as_it_is(rows: GroupedRows, names: Sequence[Any], setting: Setting) -> InUnits:
    """One learner, fitted to the groups `names`, with the beliefs that it has by itself."""
    if isinstance(setting.learner, str):
        check_name(setting.learner, candidates(rows))
        sizes = sizes_of(rows, setting)
        candidate = candidates(rows)[setting.learner]
        return fitted(candidate, rows, names, seed=setting.seed, most=max(*sizes, 4))
    own = copy.deepcopy(setting.learner)
    check_learner(own)
    check_size(own, "dx", len(rows.x), "columns of X")
    check_size(own, "dy", len(rows.y), "columns of y")
    torch.manual_seed(setting.seed)
    if _has_fit(own):
        table = Table.from_groups(rows, splits={"train": list(names)})
        own.fit(table)
    else:
        training, validation = split(names, setting.seed)
        table = Table.from_groups(rows, splits={"train": training, "validation": validation})
        own = trained(own, table, max(len(each) for each in rows.rows), setting)
    return InUnits(own, table.scaling.to_json()).eval()


@one_thread()
def held_out_scores(rows: GroupedRows, setting: Setting, count: int, seen: Sequence[int]) -> Judged:
    """The scores of one learner on all groups, each predicted by a fit to those of the other folds, of `count`."""
    parts = folds(rows.names, count, setting.seed)
    return Judged.join([judge(single(rows, train, setting), held_out(rows, test, seen)) for train, test in parts])


@one_thread()
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
    stack = Stack({title: learner}, [0], [[1.0]])
    known, spelt = hashes_of(rows.names)
    return TableModel(
        learner=stack,
        task=rows.task,
        x=rows.x,
        y=rows.y,
        inputs=rows.inputs,
        low=low,
        high=high,
        groups=len(rows.rows),
        rows=len(x),
        digest=digest,
        seen=seen,
        weights={title: 1.0},
        coverage=float("nan"),
        known=known,
        spelt=spelt,
    )
