"""How well learners of labels predict groups that they have not seen, after some of their rows."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from quickstudy.data import Tasks
from quickstudy.estimators.classes.candidates import labelled
from quickstudy.tables.judging import held_out
from quickstudy.tasks.datasets.columns import GroupedRows


class JudgedLabels(NamedTuple):
    """What a learner scored on held-out groups, after each of K numbers of seen rows.

    Args:
        rows: log probability of each judged row, `[T, M, K]`, and 0 in the padding.
        right: share of rows whose likeliest class is theirs, `[T, K]`.
        brier: mean sum over classes of squared differences between probability and outcome, `[T, K]` (Brier 1950).
        real: which rows are real, `[T, M]`.
    """

    rows: Tensor
    right: Tensor
    brier: Tensor
    real: Tensor

    @classmethod
    def join(cls, parts: Sequence["JudgedLabels"]) -> "JudgedLabels":
        """The groups of several parts, one after another."""
        most = max(part.real.shape[1] for part in parts)
        pad = torch.nn.functional.pad
        rows = torch.cat([pad(part.rows, (0, 0, 0, most - part.real.shape[1])) for part in parts])
        real = torch.cat([pad(part.real, (0, most - part.real.shape[1])) for part in parts])
        return cls(rows, torch.cat([part.right for part in parts]), torch.cat([part.brier for part in parts]), real)

    @property
    def density(self) -> Tensor:
        """Mean log probability per row, `[T, K]`."""
        return self.rows.sum(1) / self.real.sum(1, keepdim=True)


def held_out_labels(rows: GroupedRows, names: Sequence[Any], seen: Sequence[int]) -> list[Tasks]:
    """The groups `names`, with 0, 1, ... of their first rows seen; all are judged on the same rows, see `held_out`."""
    found = held_out(rows, names, seen)
    return [tasks._replace(support=labelled(tasks.support), query=labelled(tasks.query)) for tasks in found]


@torch.no_grad()
def judge_labels(learner: Any, tasks: Sequence[Tasks]) -> JudgedLabels:
    """The scores of a learner on the tasks that `held_out_labels` made."""
    rows, right, brier = [], [], []
    for each in tasks:
        query = each.query.clean()
        real, count = query.real(), query.sizes().double()
        belief = learner.adapt(each.support)(query.x)
        probs = belief.mean.double()
        wanted = torch.nn.functional.one_hot(query.y, probs.shape[2])
        rows.append(belief.log_prob(query.y, real).double())
        right.append(((probs.argmax(2) == query.y) & real).sum(1) / count)
        brier.append(torch.where(real, (probs - wanted).square().sum(2), 0.0).sum(1) / count)
    return JudgedLabels(torch.stack(rows, 2), torch.stack(right, 1), torch.stack(brier, 1), tasks[0].query.real())
