"""Choosing among learners for a table by nested cross-validation over groups, never over rows."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from quickstudy.devices import one_thread
from quickstudy.tables.calibrated import Calibrated, factors
from quickstudy.tables.candidates import STEPS, Candidate, fitted
from quickstudy.tables.in_units import InUnits
from quickstudy.tables.judging import Judged, folds, held_out, judge, usual_sizes
from quickstudy.tables.kinds.outcome import Outcome
from quickstudy.tables.kinds.suited import check_alike, suited
from quickstudy.tables.mixing import Mixing, mixing
from quickstudy.tables.stack import Stack
from quickstudy.tasks.datasets.columns import GroupedRows

ALL = "together"
"""Name of the mixture of all learners among the results."""
OUTER, INNER = 3, 3
"""Numbers of folds: for measuring, and, within each, for widths and weights."""
FEWEST = 6  # groups, of which four are for training, and two of these in an inner fold

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


@one_thread()
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
    also found how wide the beliefs of each learner must be, by itself and in the mixture (`Calibrated`), except those
    of whole numbers. So all scores are of groups that neither learners, nor their widths, nor the weights have seen.
    The weights and widths of the final mixture are found from all scores of the outer folds, and its learners are
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

    wide = not any(tried[name].discrete for name in mixed)
    raw: dict[str, list[Judged]] = {name: [] for name in mixed}
    found: dict[str, list[Judged]] = {name: [] for name in (*tried, ALL)}
    for training, test in folds(names, outer, seed):
        tasks, own, within = held_out(rows, test, sizes), {}, {}
        for name, candidate in tried.items():
            own[name] = fit(name, training)
            if candidate.rival:
                found[name].append(judge(own[name], tasks))
                continue
            raw[name].append(judge(own[name], tasks))
            parts = folds(training, inner, seed)
            judged = [judge(fit(name, train), held_out(rows, rest, sizes)) for train, rest in parts]
            within[name] = Judged.join(judged)
            calibrated = widened(own[name], sizes, factors(within[name])) if wide else own[name]
            found[name].append(judge(calibrated, tasks))
        mixture = _mixture(own, sizes, mixed, mixing(within, widths=wide))
        found[ALL].append(judge(mixture, tasks))
    scores = {name: Judged.join(parts) for name, parts in found.items()}
    chosen = mixing({name: Judged.join(parts) for name, parts in raw.items()}, widths=wide)
    weights = chosen.by_name(mixed)
    model = _mixture({name: fit(name, names) for name in mixed if max(weights[name]) > 0}, sizes, mixed, chosen)
    order = tuple(name for _, test in folds(names, outer, seed) for name in test)
    return Choice(model, weights, scores, order, sizes, tried, outcome)


def check_known(only: Sequence[str], known: Mapping[str, Candidate]) -> None:
    """Raise ValueError for a name of a learner that is not tried on this table."""
    for name in only:
        if name not in known:
            raise ValueError(f"there is no learner {name!r} for this table; its learners are {', '.join(known)}")


def widened(learner: InUnits, seen: Sequence[int], widths: Sequence[Sequence[float]]) -> InUnits:
    """The learner with beliefs widened by these factors, in standard units (before a logarithm is undone)."""
    inside = Calibrated(learner.learner, seen, widths)
    return InUnits(inside, learner.scaling.to_json(), log=learner.log).eval()


def _mixture(fits: Mapping[str, InUnits], sizes: Sequence[int], names: Sequence[str], found: Mixing) -> Stack:
    """The mixture of those learners, fitted by name, that have a weight.

    Args:
        fits: learners by name.
        sizes: numbers of seen rows.
        names: of the learners, in the order of `found`.
        found: their weights and widths.
    """
    used, widths = (found.weights.amax(0) > 0).tolist(), found.widths
    kept = {name: fits[name] for name, use in zip(names, used, strict=True) if use}
    if widths is not None:
        kept = {name: widened(fit, sizes, widths[names.index(name)].tolist()) for name, fit in kept.items()}
    return Stack(kept, sizes, found.weights[:, used].tolist())
