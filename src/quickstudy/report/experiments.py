"""Which runs may be compared: those that were measured on the same kind of tasks; and what they are called then."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from quickstudy.report.runs import RunRecord, read_run
from quickstudy.report.tables import PARTS, Table, tables

MEASURED_ON = (
    "data",
    "task",
    "x",
    "y",
    "horizon",
)  # options of recipes that change what is measured, beside the family
SIZES = re.compile(r",? ?(?:num_envs|split|points)=[\w/]+(?:\(.*?\))?")  # what says how much is drawn, not from where


class Experiment(NamedTuple):
    """Runs whose numbers may stand in one table.

    Args:
        runs: their records.
        tasks: descriptions of the task families, as `config.json` has them; empty where it has none.
    """

    runs: list[RunRecord]
    tasks: tuple[str, ...]

    @property
    def title(self) -> str:
        """A few words for a heading: the name of a single run, or the families and how many runs there are."""
        if len(self.runs) == 1:
            return self.runs[0].name
        families = dict.fromkeys(task.partition("(")[0] for task in self.tasks)
        return f"{' and '.join(families) or self.runs[0].recipe}: {len(self.runs)} runs"


def experiments(runs: Sequence[RunRecord]) -> list[Experiment]:
    """The runs by experiment, in order of appearance.

    Runs belong together if their learners were trained on the same task families (told of the task or not) and their
    recipes were given the same data and horizon. Runs without a known family belong together if one recipe made them.
    """
    found: dict[Any, Experiment] = {}
    for run in runs:
        tasks = families(run)
        options = run.config.get("options") or {}
        key = (tasks or run.recipe, tuple(str(options.get(name)) for name in MEASURED_ON))
        found.setdefault(key, Experiment([], tasks)).runs.append(run)
    return list(found.values())


def result_tables(*paths: str | Path) -> list[Table]:
    """The tables of one run, or of several beside each other, as a report shows them.

    Args:
        paths: run folders.

    Raises:
        FileNotFoundError: if one of `paths` is no run.
        ValueError: if there is none, if a file is damaged, or if the runs were measured on different tasks.
    """
    runs = [read_run(path) for path in paths]
    if not runs:
        raise ValueError("result_tables() was given no run; give the folder of at least one")
    found = experiments(runs)
    if len(found) > 1:
        apart = " | ".join(", ".join(str(run.path) for run in each.runs) for each in found)
        raise ValueError(f"these runs were measured on different tasks: {apart}; make tables of each kind by itself")
    return tables(results_of(runs, names_of(runs)), multiples=len(runs) > 1, steps=steps_of(runs))


def steps_of(runs: Sequence[RunRecord]) -> dict[str, set[int]]:
    """Numbers of gradient steps that tables of these runs show in any case, by part; see `RunRecord.steps`."""
    found: dict[str, set[int]] = {}
    for run in runs:
        for part, counts in run.steps.items():
            found.setdefault(part, set()).update(counts)
    return found


def names_of(runs: Sequence[RunRecord]) -> dict[Path, str]:
    """The folders' names by their paths, each with as much of its path as it takes to tell it from the others.

    Raises:
        ValueError: if a run is named twice.
    """
    parts = [run.path.resolve().parts for run in runs]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(p[-depth:]) for p in parts]
        if len(set(names)) == len(names):
            return dict(zip((run.path for run in runs), names, strict=True))
    twice = next(run.path for run, p in zip(runs, parts, strict=True) if parts.count(p) > 1)
    raise ValueError(f"{twice} is named twice; name each run once")


def results_of(runs: Sequence[RunRecord], names: Mapping[Path, str]) -> dict[str, dict[str, Any]]:
    """What was measured by what a run is called in tables, which is nothing for a single run."""
    return {_row_name(run, names) if len(runs) > 1 else "": run.metrics for run in runs}


def learners_of(runs: Sequence[RunRecord], names: Mapping[Path, str]) -> dict[str, str]:
    """The key of the learner that a run is about, by what the run is called in tables: its recipe ends with it."""
    return {_row_name(run, names): run.recipe.rpartition("-")[2] for run in runs}


def _row_name(run: RunRecord, names: Mapping[Path, str]) -> str:
    """What a run is called in tables; an oracle says that it is one, so that it never counts as the best."""
    return f"{names[run.path]}, {PARTS['oracle']}" if run.recipe.endswith("-oracle") else names[run.path]


def families(run: RunRecord) -> tuple[str, ...]:
    """The task families of a run and of its parts, without what a learner is told and how many tasks are drawn."""
    described = [str(config["family"]) for config in (run.config, *run.parts.values()) if config.get("family")]
    return tuple(dict.fromkeys(SIZES.sub("", untold(text)) for text in described))


def untold(family: str) -> str:
    """The family within `Informed(...)`, which tells learners something of its tasks; any other stays as it is."""
    if not family.startswith("Informed("):
        return family
    inner, depth = family.removeprefix("Informed(").removeprefix("family="), 0
    for place, letter in enumerate(inner):
        depth += (letter in "([{") - (letter in ")]}")
        if depth < 0 or (depth == 0 and letter == ","):
            return inner[:place]
    return inner
