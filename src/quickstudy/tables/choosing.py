"""Choosing among learners for a table by nested cross-validation over groups, never over rows."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from quickstudy.data import Tasks
from quickstudy.tables.calibrated import Calibrated, factors
from quickstudy.tables.candidates import STEPS, Candidate, fitted
from quickstudy.tables.in_units import InUnits
from quickstudy.tables.judging import Judged, folds, held_out, judge, usual_sizes
from quickstudy.tables.kinds.outcome import Outcome
from quickstudy.tables.kinds.suited import check_alike, suited
from quickstudy.tables.stack import Stack, stacking_weights
from quickstudy.tasks.datasets.columns import GroupedRows

ALL = "together"
"""Name of the mixture of all learners among the results."""
OUTER, INNER = 3, 3
"""Numbers of folds: for measuring, and, within each, for widths and weights."""
FEWEST = 6  # groups, of which four are for training, and two of these in an inner fold
LEAST = 0.01  # smaller weights of the mixture are set to 0, and their learners are not kept
WORST = 3.0  # a learner whose error is larger, relative to the least, has no weight
FLAT = 0.3  # pseudo-groups that each learner explains best, in the weights for all numbers of seen rows together
DRAWN = 4.0  # pseudo-groups that these weights explain, in those for one number of seen rows

Progress = Callable[[str, int, int], None]
"""Receives what is fitted next, how many fits are done, and how many there will be."""


class Choice(NamedTuple):
    """The chosen mixture of learners, and what each scored on groups that neither fitting nor choosing had seen.

    Args:
        model: the mixture, fitted to all groups, in the units of the table.
        weights: of each learner in it by name, one for each number of seen rows; those that are left out have 0.
        scores: by the name of the learner, `together` for the mixture; groups are in the order of `names`.
        names: the groups.
        seen: numbers of rows seen.
        candidates: the learners by name.
        outcome: the kind of the outcomes.
    """

    model: Stack
    weights: dict[str, tuple[float, ...]]
    scores: dict[str, Judged]
    names: tuple[Any, ...]
    seen: tuple[int, ...]
    candidates: dict[str, Candidate]
    outcome: Outcome = "number"


def choose(
    rows: GroupedRows,
    *,
    seen: Sequence[int] | None = None,
    outer: int = OUTER,
    inner: int = INNER,
    seed: int = 0,
    only: Sequence[str] = (),
    steps: int = STEPS,
    also: Mapping[str, Candidate] = MappingProxyType({}),
    outcome: Outcome = "number",
    progress: Progress = lambda what, done, of: None,
) -> Choice:
    """Fit all learners to a table, mix them by how well they predict held-out groups, and measure the mixture.

    For each of `outer` folds of groups, the weights of the mixture are found within the other folds: from the
    densities that the learners, fitted to a part of these groups, give to the rest (`inner` folds). There it is
    also found how wide the beliefs of each learner must be (`Calibrated`), except those of whole numbers. So the
    scores of the mixture are of groups that neither its learners, nor their widths, nor its weights have seen. The
    weights and widths of the final mixture are found from all scores of the outer folds, and its learners are
    fitted to all groups.

    Args:
        rows: the table.
        seen: numbers of rows seen of a new group; by default 0, 1, 2, 4 and 8, as far as the groups allow.
        outer: number of folds for measuring.
        inner: number of folds for the weights.
        seed: seed of the folds, of initial weights and of training.
        only: names of learners to try; by default all that suit the table.
        steps: of training the conditional neural process.
        also: further learners to try, by name.
        outcome: the kind of the outcomes, which says what learners suit them; see `kinds.outcome.outcome_of`.
        progress: receives messages about progress.

    Raises:
        ValueError: for fewer than six groups, for an unknown name, and for learners whose scores cannot be compared, as
            some give densities and others probabilities.
    """
    names, sizes = rows.names, tuple(seen) if seen is not None else usual_sizes(rows)
    if len(names) < FEWEST:
        raise ValueError(
            f"the table has {len(names)} groups, and learners are chosen by how well they predict groups that they "
            f"have not seen; give at least {FEWEST} groups"
        )
    known = suited(rows, outcome, steps)
    check_known(only, known)
    tried = {name: each for name, each in known.items() if not only or name in only} | dict(also)
    check_alike(tried, outcome)
    mixed = [name for name, each in tried.items() if not each.rival]
    total, done = len(tried) * outer + len(mixed) * (outer * inner + 1), 0

    def fit(name: str, training: Sequence[Any]) -> InUnits:
        nonlocal done
        progress(tried[name].title, done, total)
        done += 1
        return fitted(tried[name], rows, training, seed=seed, most=max(*sizes, 4))

    raw: dict[str, list[Judged]] = {name: [] for name in mixed}
    found: dict[str, list[Judged]] = {name: [] for name in (*tried, ALL)}
    for training, test in folds(names, outer, seed):
        tasks, own, within = held_out(rows, test, sizes), {}, {}
        for name, candidate in tried.items():
            own[name] = fit(name, training)
            if candidate.rival:
                continue
            raw[name].append(judge(own[name], tasks))
            parts = [(fit(name, train), held_out(rows, rest, sizes)) for train, rest in folds(training, inner, seed)]
            own[name], within[name] = _calibrated(own[name], parts, sizes, candidate.discrete)
        for name, learner in own.items():
            found[name].append(judge(learner, tasks))
        found[ALL].append(judge(Stack({name: own[name] for name in mixed}, sizes, weights_of(within)), tasks))
    scores = {name: Judged.join(parts) for name, parts in found.items()}
    columns = zip(*weights_of({name: scores[name] for name in mixed}), strict=True)
    weights = dict(zip(mixed, columns, strict=True))
    kept = {}
    for name in (name for name in mixed if max(weights[name]) > 0):
        widths = None if tried[name].discrete else factors(Judged.join(raw[name]))
        kept[name] = widened(fit(name, names), sizes, widths)
    model = Stack(kept, sizes, [[weights[name][k] for name in kept] for k in range(len(sizes))])
    order = tuple(name for _, test in folds(names, outer, seed) for name in test)
    return Choice(model, weights, scores, order, sizes, tried, outcome)


def _calibrated(
    learner: InUnits, parts: Sequence[tuple[InUnits, Sequence[Tasks]]], sizes: Sequence[int], discrete: bool
) -> tuple[InUnits, Judged]:
    """The learner, widened by what its fits to parts of the groups show, and the scores of these fits, widened alike.

    Args:
        learner: fitted to all groups of a fold.
        parts: fits to some of these groups, each with the tasks of the others.
        sizes: numbers of rows seen.
        discrete: whether outcomes are whole numbers, whose beliefs are not widened.
    """
    widths = None if discrete else factors(Judged.join([judge(fit, tasks) for fit, tasks in parts]))
    judged = [judge(widened(fit, sizes, widths), tasks) for fit, tasks in parts]
    return widened(learner, sizes, widths), Judged.join(judged)


def check_known(only: Sequence[str], known: Mapping[str, Candidate]) -> None:
    """Raise ValueError for a name of a learner that is not tried on this table."""
    for name in only:
        if name not in known:
            raise ValueError(f"there is no learner {name!r} for this table; its learners are {', '.join(known)}")


def widened(learner: InUnits, seen: Sequence[int], widths: Sequence[Sequence[float]] | None) -> InUnits:
    """The learner with beliefs widened by these factors, in standard units (before a logarithm is undone)."""
    if widths is None:
        return learner
    inside = Calibrated(learner.learner, seen, widths)
    return InUnits(inside, learner.scaling.to_json(), log=learner.log).eval()


def weights_of(scores: Mapping[str, Judged]) -> list[list[float]]:
    """The weights `[K][C]` of a mixture of learners, from their densities of held-out rows; small ones are 0.

    Those for a number of seen rows are drawn towards those for all numbers together. A learner whose error is more than
    three times the least has no weight there: its density may be good where its mean is useless, as that of outcomes
    whose logarithms have a large variance.
    """
    first = next(iter(scores.values()))
    count = first.rows.shape[2]
    shares = first.real / first.real.sum(1, keepdim=True)
    real = first.real.unsqueeze(2).expand_as(first.rows)
    densities = torch.stack([judged.rows for judged in scores.values()])  # [C, T, M, K]
    even = torch.full((len(scores),), FLAT)
    together = stacking_weights(densities[:, real], (shares.unsqueeze(2).expand_as(first.rows) / count)[real], even)
    found = torch.stack(
        [stacking_weights(densities[:, first.real, k], shares[first.real], DRAWN * together) for k in range(count)]
    )
    found = _shares(torch.where(_useful(scores), found, 0.0))
    weights: list[list[float]] = _shares(torch.where(found < LEAST, 0.0, found)).tolist()
    return weights


def _useful(scores: Mapping[str, Any]) -> Tensor:
    """Whether the error of each learner is at most three times the least, `[K, C]`; classes have no such error."""
    if not all(hasattr(judged, "squared") for judged in scores.values()):
        return torch.tensor(True)
    errors = torch.stack([judged.squared.mean(0) for judged in scores.values()]).nan_to_num(torch.inf)  # [C, K, dy]
    return (errors <= WORST**2 * errors.amin(0)).all(2).T


def _shares(weights: Tensor) -> Tensor:
    """The weights `[K, C]`, with the sum 1 in each row."""
    return weights / weights.sum(1, keepdim=True)
