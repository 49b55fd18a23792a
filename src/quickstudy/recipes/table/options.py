"""Options of the recipe `table`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from quickstudy.experiments.options import Options as Shared


@dataclass(frozen=True, kw_only=True)
class Options(Shared):
    """Options of the recipe: the file, its columns, and how to learn from them."""

    data: Path
    """File with a header and one row for each measurement: CSV (gzip, too), Excel or Parquet."""
    delimiter: str | None = None
    """What separates the columns; by default a comma, semicolon, tab or bar, whichever fits."""
    decimal: Literal[".", ","] = "."
    """Decimal mark of the numbers."""
    sheet: str | None = None
    """Name or number of the sheet of an Excel workbook; by default the only one that holds values."""
    task: str
    """Column that names the group of each row, such as a subject; every group is a task."""
    x: tuple[str, ...]
    """Columns of the inputs; the rows of a group are sorted by the first of them."""
    y: tuple[str, ...]
    """Columns to predict; each is measured in its own units."""
    learner: Literal["np", "cnp", "maml"] = "np"
    """Learner: Neural Process (np), Conditional Neural Process (cnp) or MAML (maml)."""
    seen: tuple[int, ...] = (4,)
    """Numbers K of first rows seen of a held-out group, a column each; all predict the rows after the largest."""
    test_steps: tuple[int, ...] = ()
    """Numbers of gradient steps after which to measure MAML; by default as many as in training, 3."""
    folds: int = 3
    """Number of folds into which the groups are divided; every fold is held out once."""
    order: Literal["first", "random"] = "first"
    """Support rows in training: the first rows of a group, as when measuring (first), or any rows (random)."""
    missing: Literal["error", "drop", "fill"] = "error"
    """Rows that lack a value: stop (error), drop them, or fill inputs by their means and mark these rows (fill)."""
    short: Literal["error", "drop"] = "error"
    """What to do with a group of a single row: stop with an error, or drop the group."""
    categories: tuple[str, ...] = ()
    """Inputs that are categories though they are written as numbers; words are categories anyway."""
    date_format: str | None = None
    """How dates are written, as %d/%m/%Y; by default as 2021-03-04, or 2021-03-04 16:30."""
    dates: Literal["calendar", "elapsed"] = "calendar"
    """What dates count: days of the calendar, or days since the first date of their group (elapsed)."""
    steps: int = 600
    """Meta-training steps for every fold; few, since a learner soon overfits a few dozen groups."""
    tasks: int = 16
    """Groups in a meta-batch."""
    query: int = 10
    """Query rows of each group in training; fewer if the group has fewer."""
    lr: float = 1e-3
    """Initial learning rate of Adam; it falls along a cosine."""
    width: int = 32
    """Units of every layer."""
    objective: Literal["elbo", "iwae", "ml"] = "ml"
    """Neural Process objective: evidence lower bound (elbo), importance-weighted bound (iwae) or likelihood (ml)."""
    out: Path | None = None
    """Folder of the run; by default runs/table-FILE-seedN, or runs/table-FILE-seeds with --seeds."""
    sigma_floor: float = 0.1
    """Smallest standard deviation that np and cnp can predict, relative to that of the column."""
