"""Where metrics go besides `metrics.jsonl`: one adapter a file, each imported only when used."""

import importlib.util
import sys
from pathlib import Path
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Logger(Protocol):
    """Receives what `fit` measures. Give any number of them as `fit(..., loggers=[...])`."""

    def start(self, folder: Path, config: dict[str, Any], step: int) -> None:
        """Training begins in `folder`, after `step` steps (more than 0 on resume: later entries are void)."""

    def log(self, step: int, values: dict[str, float]) -> None:
        """The metrics after `step` steps."""

    def close(self) -> None:
        """Training is over, or was broken off."""


def require(package: str | None) -> None:
    """Raise ModuleNotFoundError, which says what to install, unless the package that a logger names is there."""
    if package is not None and package not in sys.modules and importlib.util.find_spec(package) is None:
        raise ModuleNotFoundError(
            f"this logger needs the package {package}, which is not installed; pip install 'quickstudy[{package}]' "
            "brings it",
            name=package,
        )
