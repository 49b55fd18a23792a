"""Generalised mixed models of a table."""

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from quickstudy.data import Examples
from quickstudy.metric.generalized.generalized_mixed_model import GeneralizedMixedModel
from quickstudy.metric.groups import training_groups
from quickstudy.tables.kinds.features import features_of
from quickstudy.tasks.datasets.table import Table

MOST_ROWS = 5000  # about the largest number of rows to which a model is fitted; of more, some groups are left out
PRIOR_SD = 2.5  # of fixed effects, as an input may separate the outcomes of a few groups (Gelman et al. 2008)
WEAK_SD = 10.0  # the same of real outcomes in standard units


def generalized(likelihood: Any, fixed: int, random: int) -> Callable[[Table, int, int], nn.Module]:
    """A function that fits `GeneralizedMixedModel` with the features of `features_of` to the training groups.

    Args:
        likelihood: that of the model.
        fixed: degrees of freedom of the curve for all groups.
        random: degree of the random effects.
    """

    def fit(table: Table, seed: int, most: int) -> nn.Module:
        del most
        groups = some(training_groups(table, table.dx, table.dy), seed)
        features = features_of(groups, fixed, random)
        model = GeneralizedMixedModel(
            table.dx, table.dy, likelihood=likelihood, fixed=features.fixed, random=features.random
        )
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "the likelihood of the generalised", RuntimeWarning)
            model.fit(groups, prior_sd=WEAK_SD if likelihood == "student" else PRIOR_SD)
        return model

    return fit


def some(groups: Examples, seed: int) -> Examples:
    """All groups, or as many of them, chosen at random, as have `MOST_ROWS` rows; at least ten."""
    sizes = groups.sizes()
    if int(sizes.sum()) <= MOST_ROWS:
        return groups
    order = torch.randperm(len(sizes), generator=torch.Generator().manual_seed(seed))
    count = max(10, int((sizes[order].cumsum(0) <= MOST_ROWS).sum()))
    chosen = groups.select(order[:count].sort().values)
    return chosen.first(int(chosen.sizes().max()))
