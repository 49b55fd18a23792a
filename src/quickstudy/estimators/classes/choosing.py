"""Choosing among learners of labels by nested cross-validation over groups, never over rows."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from quickstudy.devices import one_thread
from quickstudy.estimators.classes.judging import JudgedLabels, held_out_labels, judge_labels
from quickstudy.tables.choosing import ALL
from quickstudy.tables.judging import folds
from quickstudy.tables.mixing import mixing
from quickstudy.tables.stack import Stack
from quickstudy.tasks.datasets.columns import GroupedRows

FitByName = Callable[[str, Sequence[Any]], nn.Module]
"""Fits the learner of a name to groups, in the units of the table."""


class ClassChoice(NamedTuple):
    """The chosen mixture, and what each learner scored on groups that neither fitting nor choosing had seen.

    Args:
        model: the mixture, fitted to all groups, in the units of the table.
        weights: of each learner by name, one for each number of seen rows.
        scores: by the name of the learner, `together` for the mixture.
    """

    model: Stack
    weights: dict[str, tuple[float, ...]]
    scores: dict[str, JudgedLabels]


@one_thread()
def choose_for_labels(
    rows: GroupedRows, tried: Sequence[str], fit: FitByName, seen: Sequence[int], *, outer: int, inner: int, seed: int
) -> ClassChoice:
    """Mix learners by how well they predict the labels of held-out groups, and measure the mixture.

    The weights of each outer fold are found within the other folds, as in `quickstudy.tables.choosing.choose`; those of
    the final mixture are found from all scores of the outer folds.

    Args:
        rows: the table; the first rows of a group are seen before the others.
        tried: names of the learners.
        fit: fits one of them.
        seen: numbers of rows seen of a new group.
        outer: number of folds for measuring.
        inner: number of folds for the weights.
        seed: seed of the folds.
    """
    found: dict[str, list[JudgedLabels]] = {name: [] for name in (*tried, ALL)}
    for training, test in folds(rows.names, outer, seed):
        tasks, own, within = held_out_labels(rows, test, seen), {}, {}
        for name in tried:
            own[name] = fit(name, training)
            found[name].append(judge_labels(own[name], tasks))
            parts = folds(training, inner, seed)
            judged = [judge_labels(fit(name, part), held_out_labels(rows, rest, seen)) for part, rest in parts]
            within[name] = JudgedLabels.join(judged)
        weights = mixing(within, widths=False).weights
        found[ALL].append(judge_labels(Stack(own, seen, weights.tolist()), tasks))
    scores = {name: JudgedLabels.join(parts) for name, parts in found.items()}
    chosen = mixing({name: scores[name] for name in tried}, widths=False)
    used = (chosen.weights.amax(0) > 0).tolist()
    kept = {name: fit(name, rows.names) for name, use in zip(tried, used, strict=True) if use}
    model = Stack(kept, seen, chosen.weights[:, used].tolist())
    return ClassChoice(model, chosen.by_name(tried), scores)


def in_chance_order(rows: GroupedRows, seed: int) -> GroupedRows:
    """The rows of each group in a random order, which depends on the seed alone: any of them may be seen first."""
    chance = torch.Generator().manual_seed(seed)
    return rows._replace(rows=tuple(each[torch.randperm(len(each), generator=chance)] for each in rows.rows))
