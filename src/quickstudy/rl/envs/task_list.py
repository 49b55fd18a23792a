"""Tasks as a list of dictionaries, the form in which gymnasium and other meta-RL code have them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from quickstudy.rl.environment import EnvironmentTasks


def as_list(tasks: EnvironmentTasks) -> list[dict[str, Any]]:
    """Tasks `[T, ...]` as a list of T dictionaries, with numbers for scalars and arrays for the rest.

    >>> as_list({"mass": torch.tensor([1.0, 2.0])})
    [{'mass': 1.0}, {'mass': 2.0}]
    """
    rows = {k: v.detach().cpu() for k, v in tasks.items()}
    count = min(map(len, rows.values()))
    return [{k: v[i].numpy() if v.dim() > 1 else v[i].item() for k, v in rows.items()} for i in range(count)]


def as_tensors(tasks: Mapping[str, Any] | Sequence[Mapping[str, Any]], count: int) -> EnvironmentTasks:
    """The reverse of `as_list`: tensors `[T, ...]` in the default dtype. One dictionary gives `count` equal tasks.

    Raises:
        ValueError: for another number of tasks, and dictionaries that hold different names.
    """
    rows = [tasks] * count if isinstance(tasks, Mapping) else list(tasks)
    if len(rows) != count:
        raise ValueError(f"{len(rows)} tasks were given; expected {count}, or one dictionary for all of them")
    if any(row.keys() != rows[0].keys() for row in rows):
        raise ValueError(f"tasks hold different names: {sorted({tuple(row) for row in rows})}; they must agree")
    dtype = torch.get_default_dtype()
    return {k: torch.as_tensor(np.array([row[k] for row in rows]), dtype=dtype) for k in rows[0]}
