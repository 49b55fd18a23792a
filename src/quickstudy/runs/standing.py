"""Where a training stands."""

from dataclasses import dataclass
from typing import Any


@dataclass
class Standing:
    """Where training stands: with the weights and the optimiser's state, all that a resume needs.

    Args:
        step: updates done.
        seconds: of training.
        loss_sum, loss_count: of the steps since the last line of metrics.
        best_loss, best_step: the least validation loss, and after how many steps.
        waited: evaluations since then.
        stopped_early: whether patience ran out.
        finished: whether training is over.
        metrics_bytes: length of `metrics.jsonl`.
        validation: the last validation loss with its interval over tasks, once finished.
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
