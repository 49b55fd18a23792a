"""What the engine does with a batch of tasks, in words."""

from dataclasses import dataclass

from quickstudy.data import Tasks
from quickstudy.gradient.unroll import InnerLoop


@dataclass(frozen=True)
class Explanation:
    """How an inner loop runs; `str()` is meant to be read."""

    engine: str
    reasons: tuple[str, ...]


def explain(inner: InnerLoop, tasks: Tasks) -> Explanation:
    """See `MAML.explain`."""
    plan = inner.plan(tasks.support, tasks.num_tasks, inner.steps)
    return Explanation("x", plan.reasons)
