"""Results as JSON, one file a script, in which a case can be measured anew without the others."""

import json
import platform
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from quickstudy.runs import facts

FOLDER = Path("results/benchmarks")
PACKAGES = ("torch", "jax", "optax", "higher", "torchopt")


def conditions(device: str = "cpu") -> dict[str, Any]:
    """Machine, threads and versions that a measurement was made with."""
    found: dict[str, Any] = {"hardware": facts.hardware(device), "threads": torch.get_num_threads()}
    found["python"] = platform.python_version()
    for name in PACKAGES:
        try:
            found[name] = version(name).split("+")[0]
        except PackageNotFoundError:
            found[name] = None
    return {**found, "commit": facts.commit()}


def read(name: str, folder: Path) -> dict[str, Any]:
    """The record `name`; an empty one if there is none."""
    file = folder / f"{name}.json"
    return json.loads(file.read_text()) if file.exists() else {}


def write_case(name: str, folder: Path, case: str, result: Any, device: str = "cpu") -> None:
    """Put one case's `result` into the record `name`, with the conditions it was measured under."""
    record = read(name, folder)
    cases = record.get("cases", {})
    cases[case] = {**result, "conditions": conditions(device)}
    _write(folder / f"{name}.json", {"command": f"python -m benchmarks.{name}", "cases": cases})


def write(name: str, folder: Path, result: Mapping[str, Any]) -> None:
    """Write the whole record `name`."""
    _write(folder / f"{name}.json", {"command": f"python -m benchmarks.{name}", "conditions": conditions(), **result})


def _write(file: Path, record: Mapping[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(record, indent=1) + "\n")


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A markdown table; the first column is text, the others numbers."""
    cells = [[str(c) for c in row] for row in (header, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    lines = [
        "| "
        + " | ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        + " |"
        for row in cells
    ]
    rule = "|" + "|".join(("-" * (w + 2)) if i == 0 else ("-" * (w + 1) + ":") for i, w in enumerate(widths)) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])
