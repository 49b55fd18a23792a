"""The training groups that closed forms are fitted to."""

from typing import Any

import torch

from quickstudy.checks import check_examples
from quickstudy.data import Examples, Tasks
from quickstudy.tasks.datasets.point_sets import PointSets
from quickstudy.tasks.datasets.table import Table


def training_groups(given: Any, dx: int, dy: int) -> Examples:
    """The training groups of `given`, in float64: all points of each, and 0 in the padding.

    Args:
        given: `Examples`, one group a task; `Tasks`, whose support and query points count alike; or a family of given
            points (`tasks.Table`, `tasks.from_dataset`), of which the training split is taken.
        dx: the expected number of inputs.
        dy: the expected number of outputs.

    Raises:
        TypeError: for anything else, and for class labels.
        ValueError: for points that break the contract, another number of inputs or outputs, or fewer than two groups
            with points.
    """
    if isinstance(given, Tasks):
        given = given.support.append(given.query)
    if isinstance(given, Table):
        given = given.points
    if isinstance(given, PointSets):
        given = given.points.select(torch.tensor(given.splits["train"]))
    if not isinstance(given, Examples):
        raise TypeError(
            f"cannot fit to a {type(given).__name__}; give Examples with one group a task, Tasks, or a family of given "
            "points such as qs.tasks.Table"
        )
    check_examples(given, "groups")
    if not given.y.is_floating_point():
        raise TypeError(f"groups.y holds {given.y.dtype} labels; expected real outputs [T, N, {dy}]")
    if given.x.shape[2:] != (dx,) or given.y.shape[2:] != (dy,):
        raise ValueError(
            f"groups have x {list(given.x.shape)} and y {list(given.y.shape)}; this learner was built with dx={dx}, "
            f"dy={dy} and expects [T, N, {dx}] and [T, N, {dy}]"
        )
    kept = given.select(given.sizes() > 0)
    if kept.num_tasks < 2:
        raise ValueError(
            f"groups with points: {kept.num_tasks}; expected at least two, as one says nothing about how groups differ"
        )
    return kept.clean().to(dtype=torch.float64)
