"""Reading a run folder for reports: configuration, result, training curves and figures, without torch."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from quickstudy.report.tables import entry
from quickstudy.runs.frames import to_frame
from quickstudy.runs.metrics_file import parse_lines
from quickstudy.runs.reading import LARGEST, parse_object, read_file


class RunRecord(NamedTuple):
    """The contents of a run folder.

    Args:
        path: the folder.
        config: the contents of `config.json`.
        result: the contents of `result.json`; empty while the run is unfinished.
        curves: the lines of `metrics.jsonl`, by part: a learner, a fold or a seed; "" for the run itself.
        figures: paths of PNGs and GIFs, by name; for several seeds also those of the first seed.
        parts: the contents of each part's `config.json`, for runs that trained several learners.
    """

    path: Path
    config: dict[str, Any]
    result: dict[str, Any]
    curves: dict[str, list[dict[str, Any]]]
    figures: dict[str, Path]
    parts: dict[str, dict[str, Any]]

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.path.resolve().name

    @property
    def recipe(self) -> str:
        """Name of the recipe that made the run; empty for a run of `quickstudy.fit`."""
        return str(self.config.get("recipe") or "")

    @property
    def metrics(self) -> dict[str, Any]:
        """Measured values, by name; empty while the run is unfinished."""
        return self.result.get("metrics", {})

    @property
    def steps(self) -> dict[str, set[int]]:
        """Numbers of gradient steps to show, by part: those of training. Those of `--test-steps` are for all ("")."""
        found = {"": _numbers((self.config.get("options") or {}).get("test_steps"))}
        for part, config in (("", self.config), *self.parts.items()):
            learner = config.get("learner")
            own = _numbers(learner.get("steps")) if isinstance(learner, dict) else set()
            found.setdefault(part.rpartition(", ")[2], set()).update(own)
        return found

    def frame(self) -> Any:
        """Return the lines of `curves` as a `pandas.DataFrame`, with the part of each line in the column `part`.

        Raises:
            ModuleNotFoundError: if pandas is not installed; it is in the extra `pandas`.
        """
        lines = [{"part": part, **line} for part, found in self.curves.items() for line in found]
        return to_frame(lines, "frame()")

    def result_frame(self) -> Any:
        """Return the metrics as a `pandas.DataFrame`: one row for each, with its name split into columns.

        The columns are `learner` (empty if the run has only one), `metric`, the keys in the name (`k`, `steps`,
        `episode`, `kernel` ...; whole numbers are integers), `mean`, `ci95`, `n` and `over`.

        Raises:
            ModuleNotFoundError: if pandas is not installed; it is in the extra `pandas`.
        """
        rows = []
        for name, value in self.metrics.items():
            found = entry(name, value)
            keys = {key: int(word) if word.isdecimal() else word for key, word in found.keys.items()}
            numbers = {"mean": found.mean, **{key: value.get(key) for key in ("ci95", "n", "over")}}
            rows.append({"learner": found.part, "metric": found.metric, **keys, **numbers})
        return to_frame(rows, "result_frame()")


def frame(path: str | Path) -> Any:
    """Return the `metrics.jsonl` of a run and of its parts as a `pandas.DataFrame`; see `RunRecord.frame`."""
    return read_run(path).frame()


def result_frame(path: str | Path) -> Any:
    """Return the `result.json` of the run at `path` as a `pandas.DataFrame`; see `RunRecord.result_frame`."""
    return read_run(path).result_frame()


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file. Raises ValueError, with a message of one line, if the file is damaged."""
    try:
        return parse_object(read_file(path, LARGEST))
    except ValueError as error:
        raise ValueError(f"{path} is damaged: it {error}; restore it from a copy or train anew elsewhere") from None


def read_config(path: Path) -> dict[str, Any]:
    """Return the `config.json` of a run. Raises FileNotFoundError, which says what to do, if `path` is not a run."""
    if not path.is_dir():
        raise FileNotFoundError(f"there is no run at {path}; `quickstudy run RECIPE --out {path}` would make one")
    if not (path / "config.json").exists():
        raise FileNotFoundError(f"{path} is not a run: it has no config.json; give the folder that --out named")
    return read_json(path / "config.json")


def read_result(path: Path) -> dict[str, Any]:
    """Return the `result.json` of a run; empty while the run is unfinished."""
    file = path / "result.json"
    return read_json(file) if file.exists() else {}


def read_run(path: str | Path) -> RunRecord:
    """Read everything that a report shows of the run at `path`, without importing torch.

    Raises:
        FileNotFoundError: if `path` is not a run.
        ValueError: if a file of the run is damaged.
    """
    path = Path(path)
    config = read_config(path)
    curves = {part: _lines(file) for part, file in _of_parts(path, "metrics.jsonl")}
    parts = {part: read_json(file) for part, file in _of_parts(path, "config.json") if part}
    seeds = sorted(path.glob("seed-*/figures"), key=_by_number)[:1]
    pictures = [file for folder in (*seeds, path / "figures") for file in sorted(folder.glob("*"))]
    figures = {file.stem: file for file in pictures if file.suffix in (".png", ".gif")}
    figures = {name: figures[name] for name in sorted(figures)}
    return RunRecord(path, config, read_result(path), curves, figures, parts)


def _of_parts(path: Path, name: str) -> Iterator[tuple[str, Path]]:
    """Yield the files of that name in the run (part ""), in its parts, and in the parts of its seeds."""
    for pattern in (name, f"*/{name}", f"*/*/{name}"):
        for file in sorted(path.glob(pattern), key=_by_number):
            yield ", ".join(file.relative_to(path).parts[:-1]), file


def _numbers(value: Any) -> set[int]:
    return {number for number in (value if isinstance(value, list) else [value]) if type(number) is int}


def _by_number(file: Path) -> list[tuple[str, int]]:
    """Return a sort key by which seed-2 comes before seed-10."""
    return [(words, int(digits or 0)) for words, digits in re.findall(r"(\D+)(\d*)", str(file))]


def _lines(file: Path) -> list[dict[str, Any]]:
    try:
        return parse_lines(read_file(file))
    except ValueError as error:
        raise ValueError(f"{file} is damaged: {error}; restore it from a copy or train anew elsewhere") from None
