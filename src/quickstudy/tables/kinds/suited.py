"""The learners that suit a kind of outcome, by name."""

from typing import Any

from torch import nn

from quickstudy.metric.groups import training_groups
from quickstudy.processes.cnp import CNP
from quickstudy.processes.heads import BernoulliHead, CountHead
from quickstudy.tables.candidates import KNOTS, STEPS, Candidate, Fit, Unadapted, candidates, every, train
from quickstudy.tables.kinds.generalized import generalized
from quickstudy.tables.kinds.outcome import DISCRETE, Outcome
from quickstudy.tasks.datasets.columns import GroupedRows
from quickstudy.tasks.datasets.point_sets import PointSets
from quickstudy.tasks.datasets.table import Table


def suited(rows: GroupedRows, outcome: Outcome = "number", steps: int = STEPS) -> dict[str, Candidate]:
    """The learners that are tried on a table, by name.

    The beliefs of all of them are densities, or all are probabilities of whole numbers, as scores of the two cannot be
    compared.

    Args:
        rows: the table.
        outcome: the kind of its outcomes.
        steps: of training a process.
    """
    if outcome == "count":
        return _counts(steps)
    if outcome == "binary":
        return _binary(steps)
    found = candidates(rows, steps)
    if outcome == "positive":
        plain = {"everyone", "intercept", "line", "curve", "gp", "bend"} & set(found)
        found = {f"log-{name}": _of_logarithms(found[name]) for name in found if name in plain}
    return found


def check_alike(tried: dict[str, Candidate], outcome: Outcome) -> None:
    """Raise ValueError unless all learners give densities, or all probabilities, as the kind of outcome asks."""
    wrong = [name for name, each in tried.items() if each.discrete != (outcome in DISCRETE)]
    if wrong:
        kinds = ("probabilities of whole numbers", "densities")
        needs, gives = kinds if outcome in DISCRETE else kinds[::-1]
        raise ValueError(
            f"outcomes of kind {outcome!r} need learners that predict {needs}, and {', '.join(wrong)} "
            f"predict{'s' * (len(wrong) == 1)} {gives}; their scores cannot be compared"
        )


def _of_logarithms(each: Candidate) -> Candidate:
    return each._replace(title=f"{each.title}, of logarithms", log=True)


def _counts(steps: int) -> dict[str, Candidate]:
    name = "negative binomial mixed model"
    kind = "negative_binomial"
    return {
        "everyone": Candidate("one curve for all groups", _unadapted(kind), rival=True, discrete=True),
        "nb-intercept": Candidate(f"{name}, line and random intercept", generalized(kind, 1, 0), discrete=True),
        "nb-line": Candidate(f"{name}, random line", generalized(kind, 1, 1), discrete=True),
        "nb-curve": Candidate(f"{name}, curve and random line", generalized(kind, KNOTS, 1), discrete=True),
        "poisson": Candidate(
            "Poisson mixed model, curve and random line", generalized("poisson", KNOTS, 1), discrete=True
        ),
        "count-process": Candidate("CNP of counts", _process(CountHead(), steps), discrete=True),
    }


def _binary(steps: int) -> dict[str, Candidate]:
    name, kind = "logistic mixed model", "bernoulli"
    return {
        "everyone": Candidate("one curve for all groups", _unadapted(kind), rival=True, discrete=True),
        "logit-intercept": Candidate(f"{name}, line and random intercept", generalized(kind, 1, 0), discrete=True),
        "logit-line": Candidate(f"{name}, random line", generalized(kind, 1, 1), discrete=True),
        "logit-curve": Candidate(f"{name}, curve and random line", generalized(kind, KNOTS, 1), discrete=True),
        "binary-process": Candidate("CNP of probabilities", _process(BernoulliHead(), steps), discrete=True),
    }


def _unadapted(likelihood: str) -> Fit:
    def fit(table: Table, seed: int, most: int) -> nn.Module:
        return Unadapted(generalized(likelihood, KNOTS, 0)(table, seed, most))

    return fit


def _process(head: Any, steps: int) -> Fit:
    def fit(table: Table, seed: int, most: int) -> nn.Module:
        learner = CNP(table.dx, table.dy, width=32, head=head)
        groups = training_groups(table, table.dx, table.dy)
        own = PointSets(points=groups.to(dtype=next(learner.parameters()).dtype), splits=every(groups))
        train(learner, own, seed, most, steps)
        return learner

    return fit
