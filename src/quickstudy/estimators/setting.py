"""How an estimator was told to fit, and what the fits of numbers and of classes share."""

import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches
from numbers import Integral
from typing import Any, NamedTuple

from torch import nn

from quickstudy.checks import check_whole, shown
from quickstudy.estimators.given import seed_of
from quickstudy.runs.storage import load
from quickstudy.tables.choosing import FEWEST
from quickstudy.tables.judging import folds, usual_sizes
from quickstudy.tasks.datasets.columns import GroupedRows
from quickstudy.training.fit import fit

Progress = Callable[[str, int, int], None]
"""Receives what is fitted next, how many fits are done, and how many there will be."""
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


def setting_of(model: Any, seen: Sequence[int] | None = None) -> Setting:
    """The setting of an estimator, with other numbers of seen rows if they are given."""
    chosen = model.seen if seen is None else seen
    progress = model.progress or (lambda what, done, of: None)
    sizes = None if chosen is None else check_seen(chosen)
    if is_choice(model.learner) and model.learner is not None and not len(model.learner):
        raise ValueError(f"learner={shown(model.learner)}; name at least one learner, or give None to try all")
    return Setting(model.learner, sizes, model.training or {}, seed_of(model), progress)


def check_seen(seen: Any) -> tuple[int, ...]:
    """Numbers of seen rows, increasing.

    Raises:
        TypeError, ValueError: for anything but several different whole numbers from 0.
    """
    if isinstance(seen, str) or not isinstance(seen, Iterable):
        raise TypeError(f"seen={shown(seen)}; expected numbers of rows, such as [0, 1, 2, 4]")
    found = sorted(check_whole("seen", number, 0) for number in seen)
    if not found or len(set(found)) < len(found):
        raise ValueError(f"seen={shown(list(found))}; expected one or more numbers of rows, each once")
    return tuple(found)


def sizes_of(rows: GroupedRows, setting: Setting) -> tuple[int, ...]:
    """The numbers of seen rows after which learners are measured.

    Raises:
        ValueError: for a number after which no group has rows left.
    """
    if setting.seen is None:
        return usual_sizes(rows)
    longest = max(len(each) for each in rows.rows)
    if setting.seen[-1] >= longest:
        raise ValueError(
            f"seen={list(setting.seen)}; the largest group has {longest} rows, so give numbers from 0 to {longest - 1}"
        )
    return setting.seen


def check_scoring(groups: Any) -> None:
    """Raise ValueError if `cross_validate` was given no groups."""
    if groups is None:
        raise ValueError("groups is None; give the group of each row, as scores are over held-out groups")


def check_folds(folds: Any, rows: GroupedRows) -> int:
    """A number of folds of groups. Raises ValueError for one below 2, or above that of the groups."""
    if not isinstance(folds, Integral) or not 2 <= int(folds) <= len(rows.names):
        raise ValueError(f"folds={shown(folds)}; expected a number from 2 to that of the groups, {len(rows.names)}")
    return int(folds)


def is_choice(learner: Any) -> bool:
    """Whether learners are to be chosen and mixed."""
    return learner is None or (isinstance(learner, Sequence) and not isinstance(learner, str))


def name_of(learner: Any) -> str:
    """The name of a candidate, or that of the class of a learner."""
    return learner if isinstance(learner, str) else type(learner).__name__


def check_enough(rows: GroupedRows, simple: str) -> None:
    """Raise ValueError for fewer than six groups, among which learners cannot be chosen."""
    if len(rows.names) < FEWEST:
        raise ValueError(
            f"fit was given {len(rows.names)} groups with two rows or more, and learners are chosen by how well they "
            f"predict groups that they have not seen; give at least {FEWEST} groups, or name one learner, such as "
            f"learner={simple!r}"
        )


def check_name(name: Any, known: Collection[str]) -> None:
    """Raise ValueError unless `name` is that of a learner that suits the table."""
    if name not in known:
        near = get_close_matches(str(name), known, 1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"learner={shown(name)}; {hint}the learners for this table are {', '.join(known)}")


def split(names: Sequence[Any], seed: int) -> tuple[list[Any], list[Any]]:
    """Five sixths of the groups, for training, and the rest, for validation."""
    return folds(names, min(6, len(names)), seed)[0]


def trained(learner: nn.Module, family: Any, longest: int, setting: Setting) -> nn.Module:
    """The learner with the weights that predicted the validation groups of `family` best, in training by `qs.fit`.

    Args:
        learner: the learner.
        family: the groups, in standard units.
        longest: largest number of rows of a group.
        setting: its `training` holds arguments of `qs.fit`.
    """
    options = {**TRAINING, "support": (0, min(8, longest - 1)), "seed": setting.seed, **setting.training}
    with tempfile.TemporaryDirectory() as folder:
        fit(learner, family, out=f"{folder}/run", **options)
        best: nn.Module = load(f"{folder}/run", learner=learner)
    return best


def check_size(learner: Any, name: str, count: int, what: str) -> None:
    """Raise ValueError for a learner that was built for another number than `count` of inputs or outputs."""
    own = getattr(learner, name, count)
    if own != count:
        raise ValueError(
            f"learner={type(learner).__name__}(...) was built with {name}={own}, and there are {count} {what}; build "
            f"it with {name}={count}"
        )
