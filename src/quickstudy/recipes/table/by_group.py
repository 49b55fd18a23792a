"""The errors of every held-out group, as rows of a CSV file."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from quickstudy.report.tables import entry


def rows(groups: Sequence[Any], fold: int, scores: Mapping[str, Tensor]) -> list[dict[str, Any]]:
    """A row for each group, number of rows seen and learner: its root mean squared error and mean log density.

    Args:
        groups: names of the groups.
        fold: number of the fold in which they are held out.
        scores: values `[T]` by the name of the metric, as `HeldOut.scores` returns them.

    >>> import torch
    >>> rows(["a"], 1, {"np/mse/k=4": torch.tensor([9.0]), "np/log_likelihood/k=4": torch.tensor([-2.5])})
    [{'group': 'a', 'fold': 1, 'K': 4, 'learner': 'Neural Process', 'steps': '', 'rmse': 3.0, 'log_likelihood': -2.5}]

    With several outputs, a row for each of them, and a column "output".
    """
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for name, values in scores.items():
        e = entry(name, {"mean": None})
        for group, value in zip(groups, values.tolist(), strict=True):
            place = {"group": group, "fold": fold, "K": int(e.keys["k"]), "learner": e.part}
            place |= {"output": e.keys["y"]} if "y" in e.keys else {}
            place["steps"] = int(e.keys["steps"]) if "steps" in e.keys else ""
            row = found.setdefault(tuple(place.values()), place)
            row |= {"rmse": value**0.5} if e.metric == "mse" else {e.metric: value}
    return list(found.values())
