"""The progress of a training, as a checkpoint stores it."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from quickstudy.runs.reading import short

_WHOLE = {"step", "loss_count", "waited", "metrics_bytes", "best_step"}
_NUMBERS = {"seconds", "loss_sum", "best_loss"}
_MOST = 1 << 60


@dataclass
class Standing:
    """Where training stands. With the weights and the optimiser's state this is all that a resume needs.

    Args:
        step: number of updates done.
        seconds: duration of training.
        loss_sum, loss_count: sum of the losses since the last line of metrics, and their number.
        best_loss, best_step: the lowest validation loss, and the number of steps after which it was measured.
        waited: number of evaluations since the best one.
        stopped_early: whether patience ran out.
        finished: whether training has ended.
        metrics_bytes: length of `metrics.jsonl`.
        validation: the last validation loss with its interval over tasks; None until training has ended.
    """

    step: int = 0
    seconds: float = 0.0
    loss_sum: float = 0.0
    loss_count: int = 0
    best_loss: float | None = None
    best_step: int | None = None
    waited: int = 0
    stopped_early: bool = False
    finished: bool = False
    metrics_bytes: int = 0
    validation: dict[str, Any] | None = None


def read_standing(values: Any) -> Standing:
    """The standing in a checkpoint of unknown origin. Raises ValueError, naming the first impossible value."""
    names = {field.name for field in fields(Standing)}
    if not isinstance(values, Mapping) or set(values) != names:
        given = set(values) if isinstance(values, Mapping) else set()
        raise ValueError(f"does not say where training stands: {short(sorted(map(str, given ^ names)))} differ")
    for name, value in values.items():
        if not _can_be(name, value):
            raise ValueError(f"says {name}={short(value)}")
    standing = Standing(**values)
    if max(standing.loss_count, standing.best_step or 0) > standing.step:
        raise ValueError(f"says step={standing.step}, and more steps elsewhere")
    return standing


def _can_be(name: str, value: Any) -> bool:
    if value is None:
        return name in ("best_loss", "best_step", "validation")
    if name in _WHOLE:
        return type(value) is int and 0 <= value < _MOST
    if name in _NUMBERS:
        return type(value) in (int, float) and abs(value) < 1e300 and (name != "seconds" or value >= 0)
    if name == "validation":
        return _is_metric(value)
    return isinstance(value, bool)


def _is_metric(value: Any) -> bool:
    if not isinstance(value, dict) or set(value) != {"mean", "ci95", "n", "over"}:
        return False
    numbers = all(value[key] is None or type(value[key]) in (int, float) for key in ("mean", "ci95"))
    return numbers and type(value["n"]) is int and value["over"] in ("tasks", "groups", "seeds")
