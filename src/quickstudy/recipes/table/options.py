"""What the recipe `table` is told: the file, its columns, and how to learn from them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from quickstudy.experiments.options import Options as Shared


@dataclass(frozen=True, kw_only=True)
class Options(Shared):
    """The file, its columns, and how to learn from them."""

    data: Path
    """CSV file with a header line."""
    task: str
    """Column that names the group of each row, such as a subject."""
    x: tuple[str, ...]
    """Columns of the inputs; rows of a group are taken in the order of the first."""
    y: tuple[str, ...]
    """Columns to predict."""
    learner: Literal["np", "cnp", "maml"] = "np"
    """Neural Process, Conditional Neural Process or MAML."""
    seen: tuple[int, ...] = (4,)
    """First rows seen of each held-out group; several numbers give several columns of results."""
    folds: int = 3
    """Every group is held out once, in one of so many folds."""
    order: Literal["first", "random"] = "first"
    """Train on predicting from first rows, as measured, or from any rows."""
    missing: Literal["error", "drop"] = "error"
    """What to do with a row that lacks a value."""
    short: Literal["error", "drop"] = "error"
    """What to do with a group of a single row."""
    steps: int = 600
    """Meta-training steps, for every fold; few, since a file of some dozens of groups is soon learnt by heart."""
    tasks: int = 16
    """Groups in a meta-batch."""
    query: int = 10
    """Rows of each group to be predicted in training, where it has as many."""
    lr: float = 1e-3
    """Rate of Adam, at the start of its cosine."""
    width: int = 32
    """Units of every layer."""
    objective: Literal["elbo", "iwae", "ml"] = "ml"
    """Of the Neural Process: evidence bound, its importance-weighted form, or Monte-Carlo likelihood."""
    sigma_floor: float = 0.1
    """Least standard deviation that a process may predict, as a share of the column's own."""
