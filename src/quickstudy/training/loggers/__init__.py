"""Where metrics go besides `metrics.jsonl`: one adapter a file, each imported only when used."""

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
