"""Run folders as the report reads them: configuration, result, training curves and figures, without torch."""

import json
from pathlib import Path
from typing import Any, NamedTuple


class RunRecord(NamedTuple):
    """One run folder, read.

    Args:
        path: the folder.
        config: its `config.json`.
        result: its `result.json`; empty while the run is unfinished.
        curves: part (a learner, a fold or a seed; "" for the run itself) to the lines of its `metrics.jsonl`.
        figures: its PNGs and GIFs, by name.
    """

    path: Path
    config: dict[str, Any]
    result: dict[str, Any]
    curves: dict[str, list[dict[str, Any]]]
    figures: dict[str, Path]

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.resolve().name


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises ValueError in one line if it holds none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is damaged ({error}); restore it from a copy or train anew elsewhere") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, not an object; restore it or train anew")
    return content


def read_config(path: Path) -> dict[str, Any]:
    """A run's `config.json`. Raises FileNotFoundError, saying what to do, if `path` is no run."""
    if not path.is_dir():
        raise FileNotFoundError(f"there is no run at {path}; `quickstudy run RECIPE --out {path}` would make one")
    if not (path / "config.json").exists():
        raise FileNotFoundError(f"{path} is not a run: it holds no config.json; name the folder that --out named")
    return read_json(path / "config.json")


def read_result(path: Path) -> dict[str, Any]:
    """A run's `result.json`, or nothing while it is unfinished."""
    file = path / "result.json"
    return read_json(file) if file.exists() else {}


def read_run(path: str | Path) -> RunRecord:
    """Everything that a report shows of the run at `path`."""
    path = Path(path)
    config = read_config(path)
    curves = {}
    for file in sorted([path / "metrics.jsonl", *path.glob("*/metrics.jsonl")]):
        if file.exists():
            curves["" if file.parent == path else file.parent.name] = _lines(file)
    pictures = [file for ending in ("png", "gif") for file in (path / "figures").glob(f"*.{ending}")]
    figures = {file.stem: file for file in sorted(pictures, key=lambda file: file.stem)}
    return RunRecord(path, config, read_result(path), curves, figures)


def _lines(file: Path) -> list[dict[str, Any]]:
    lines = file.read_text(encoding="utf-8").split("\n")[:-1]  # a last line that was cut short is left out
    try:
        return [json.loads(line) for line in lines if line]
    except json.JSONDecodeError as error:
        raise ValueError(f"{file} is damaged ({error}); restore it from a copy or train anew elsewhere") from None
