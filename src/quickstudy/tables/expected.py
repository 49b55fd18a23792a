"""How long it takes to choose among the learners of a table, before it begins."""

import time
from collections.abc import Mapping, Sequence

import torch

from quickstudy.tables.candidates import MOST_ROWS, Candidate
from quickstudy.tables.choosing import INNER, OUTER
from quickstudy.tables.kinds import generalized
from quickstudy.tables.kinds.outcome import Outcome
from quickstudy.tables.kinds.suited import suited
from quickstudy.tasks.datasets.columns import GroupedRows

SECONDS: Mapping[str, tuple[float, float]] = {
    "gp": (0.3, 0.07),
    "log-gp": (0.3, 0.07),
    "bend": (0.1, 0.12),
    "log-bend": (0.1, 0.08),
    "process": (1.7, 0.01),
    "trees": (0.25, 0.09),
    "robust": (0.4, 0.5),
    "nb-intercept": (0.3, 0.3),
    "nb-line": (0.4, 0.5),
    "nb-curve": (0.4, 0.6),
    "poisson": (0.2, 0.3),
    "logit-line": (0.2, 0.3),
    "logit-curve": (0.2, 0.3),
    "count-process": (1.7, 0.01),
    "binary-process": (1.7, 0.01),
}
"""Of one fit, on one core of an AMD EPYC: as such, and for a thousand rows."""
GENERALIZED = ("robust", "nb-", "poisson", "logit-")  # first letters of learners that are fitted to fewer rows
OTHERS = (0.05, 0.02)
WORK = 0.04  # seconds that `_work` takes there


def expected_seconds(
    tables: Sequence[GroupedRows], speed: float | None = None, outcomes: Sequence[Outcome] | None = None
) -> float:
    """The time that `choose` will take for all outcomes, in seconds; a guess that can be wrong by a factor of two.

    Args:
        tables: the rows of each outcome.
        speed: of this machine, relative to the one on which `SECONDS` were measured; by default it is measured, which
            takes less than a tenth of a second.
        outcomes: the kind of each outcome; by default numbers.
    """
    total = 0.0
    kinds: Sequence[Outcome] = outcomes or ["number"] * len(tables)
    for rows, outcome in zip(tables, kinds, strict=True):
        count = sum(min(len(each), MOST_ROWS) for each in rows.rows)
        total += sum(_of_all_fits(name, each, count) for name, each in suited(rows, outcome).items())
    return total / (_speed() if speed is None else speed)


def _of_all_fits(name: str, candidate: Candidate, rows: int) -> float:
    fixed, thousand = SECONDS.get(name, OTHERS)
    rows = min(rows, generalized.MOST_ROWS) if name.startswith(GENERALIZED) else rows
    share = (OUTER - 1) / OUTER  # of the groups, in an outer fold
    outer = OUTER * (fixed + thousand * share * rows / 1000)
    if candidate.rival:
        return outer
    inner = OUTER * INNER * (fixed + thousand * share * (INNER - 1) / INNER * rows / 1000)
    return outer + inner + fixed + thousand * rows / 1000


def _speed() -> float:
    """How fast this machine does a fixed piece of work, relative to the one on which `SECONDS` were measured."""
    _work()
    started = time.perf_counter()
    _work()
    return WORK / (time.perf_counter() - started)


def _work() -> None:
    """Small operations with gradients, as in training, and decompositions of matrices."""
    weights = torch.ones(32, 32, requires_grad=True)
    x = torch.ones(64, 32)
    for _ in range(100):
        loss = (x @ weights).relu().mean()
        for _ in range(4):
            loss = loss + (x @ weights).tanh().square().mean()
        torch.autograd.grad(loss, weights)
    matrix = torch.eye(100, dtype=torch.float64).expand(10, 100, 100) * 2
    for _ in range(10):
        torch.linalg.cholesky(matrix)
