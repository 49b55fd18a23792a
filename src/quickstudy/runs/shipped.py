"""Trained learners that come with the package, in its folder `weights/`."""

from pathlib import Path
from typing import Any

WEIGHTS = Path(__file__).parents[1] / "weights"


def shipped_names() -> list[str]:
    """The names of these learners: model/task."""
    return sorted(path.parent.relative_to(WEIGHTS).as_posix() for path in WEIGHTS.glob("*/*/state.json"))


def hidden_by(path: Any) -> str:
    """A sentence for errors of a folder with the name of a learner that comes with the package; empty for others."""
    if not isinstance(path, str) or path not in shipped_names():
        return ""
    return f"; a folder of this name hides the learner {path} that comes with the package: rename it, or work elsewhere"


def found(path: Any) -> Any:
    """The folder of a learner that comes with the package, if `path` is its name and no such folder is here."""
    if isinstance(path, str) and path in shipped_names() and not Path(path).exists():
        return WEIGHTS / path
    return path
