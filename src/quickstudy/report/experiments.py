"""Groups of runs that can be compared, as they were measured on the same kind of tasks, and their names in tables."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from quickstudy.report.runs import RunRecord, read_run
from quickstudy.report.tables import PARTS, Table, tables

# options of recipes that, like the family, change the tasks
MEASURED_ON = ("data", "task", "x", "y", "horizon")
# arguments of a family that set how much is drawn, and leave the distribution of tasks as it is
SIZES = re.compile(r",? ?(?:num_envs|split|points)=[\w/]+(?:\(.*?\))?")


class Experiment(NamedTuple):
    """Runs whose results can be shown in one table.

    Args:
        runs: records of the runs.
        tasks: descriptions of the task families, as in `config.json`; empty if it has none.
    """

    runs: list[RunRecord]
    tasks: tuple[str, ...]

    @property
    def title(self) -> str:
        """A heading: the name of a single run, or the task families and the number of runs."""
        if len(self.runs) == 1:
            return self.runs[0].name
        families = dict.fromkeys(task.partition("(")[0] for task in self.tasks)
        return f"{' and '.join(families) or self.runs[0].recipe}: {len(self.runs)} runs"


def experiments(runs: Sequence[RunRecord]) -> list[Experiment]:
    """Group runs by experiment, in order of appearance.

    Runs belong to one experiment if their learners were trained on the same task families (with or without task
    parameters as inputs) and their recipes had the same data and horizon. Runs without a known family belong to one
    experiment if the same recipe made them.
    """
    found: dict[Any, Experiment] = {}
    for run in runs:
        tasks = families(run)
        options = run.config.get("options") or {}
        key = (tasks or run.recipe, tuple(str(options.get(name)) for name in MEASURED_ON))
        found.setdefault(key, Experiment([], tasks)).runs.append(run)
    return list(found.values())


def result_tables(*paths: str | Path) -> list[Table]:
    """Return the tables of one run, or tables that compare several, as a report shows them.

    Args:
        paths: run folders.

    Raises:
        FileNotFoundError: if one of `paths` is not a run.
        ValueError: if no path is given, if a file is damaged, or if the runs were measured on different tasks.
    """
    runs = [read_run(path) for path in paths]
    if not runs:
        raise ValueError("result_tables() was given no run; give the folder of at least one")
    found = experiments(runs)
    if len(found) > 1:
        apart = " | ".join(", ".join(str(run.path) for run in each.runs) for each in found)
        raise ValueError(f"these runs were measured on different tasks: {apart}; make separate tables for them")
    return tables(results_of(runs, names_of(runs)), multiples=len(runs) > 1, steps=steps_of(runs))


def steps_of(runs: Sequence[RunRecord]) -> dict[str, set[int]]:
    """Return the numbers of gradient steps that tables of these runs always show, by part; see `RunRecord.steps`."""
    found: dict[str, set[int]] = {}
    for run in runs:
        for part, counts in run.steps.items():
            found.setdefault(part, set()).update(counts)
    return found


def names_of(runs: Sequence[RunRecord]) -> dict[Path, str]:
    """Return the name of each folder by its path, with as many parent folders as make the names different.

    Raises:
        ValueError: if a run is given twice.
    """
    parts = [run.path.resolve().parts for run in runs]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(p[-depth:]) for p in parts]
        if len(set(names)) == len(names):
            return dict(zip((run.path for run in runs), names, strict=True))
    twice = next(run.path for run, p in zip(runs, parts, strict=True) if parts.count(p) > 1)
    raise ValueError(f"{twice} is named twice; name each run once")


def results_of(runs: Sequence[RunRecord], names: Mapping[Path, str]) -> dict[str, dict[str, Any]]:
    """Return the metrics of each run, by its name in tables; a single run has the name ""."""
    return {_row_name(run, names) if len(runs) > 1 else "": run.metrics for run in runs}


def learners_of(runs: Sequence[RunRecord], names: Mapping[Path, str]) -> dict[str, str]:
    """Return the key of each run's learner, with which the name of its recipe ends, by the run's name in tables."""
    return {_row_name(run, names): run.recipe.rpartition("-")[2] for run in runs}


def _row_name(run: RunRecord, names: Mapping[Path, str]) -> str:
    """Return the name of a run in tables; that of an oracle is marked, so that it never counts as the best."""
    return f"{names[run.path]}, {PARTS['oracle']}" if run.recipe.endswith("-oracle") else names[run.path]


def families(run: RunRecord) -> tuple[str, ...]:
    """Return the task families of a run and of its parts, without `Informed(...)` and without sizes."""
    described = [str(config["family"]) for config in (run.config, *run.parts.values()) if config.get("family")]
    return tuple(dict.fromkeys(SIZES.sub("", without_informed(text)) for text in described))


def without_informed(family: str) -> str:
    """Return the family within `Informed(...)`, which adds task parameters to the inputs; others are unchanged."""
    if not family.startswith("Informed("):
        return family
    inner, depth = family.removeprefix("Informed(").removeprefix("family="), 0
    for place, letter in enumerate(inner):
        depth += (letter in "([{") - (letter in ")]}")
        if depth < 0 or (depth == 0 and letter == ","):
            return inner[:place]
    return inner
