"""Loggers, which receive metrics besides `metrics.jsonl`: one adapter per file, imported only when used."""

from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from quickstudy.extras import require_package


@runtime_checkable
class Logger(Protocol):
    """Receives the metrics of `fit(..., loggers=[...])`, which takes any number of loggers."""

    def start(self, folder: Path, config: dict[str, Any], step: int) -> None:
        """Begin logging for a run.

        Args:
            folder: the run folder.
            config: the contents of `config.json`.
            step: steps done before; if it is above 0, the run is resumed, and entries of later steps are void.
        """

    def log(self, step: int, values: dict[str, float]) -> None:
        """Log the metrics after `step` steps."""

    def close(self) -> None:
        """End logging: training is finished or was interrupted."""


def require(package: str | None) -> None:
    """Raise ModuleNotFoundError, which says what to install, unless the package that a logger needs is installed."""
    if package is not None:
        require_package(package, package, f"this logger needs the package {package}")
