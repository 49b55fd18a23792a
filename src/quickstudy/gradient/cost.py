"""Which fast weights are worth keeping low-rank: a small model of time, fitted by benchmarks/cost_model.py."""

from collections.abc import Sequence

from quickstudy.gradient.capture import Call

SMALLEST = 8  # features; a layer with fewer on one side is stacked


def lowrank_layers(calls: Sequence[Call], steps: int, num_tasks: int, *, forced: bool) -> list[str]:
    """Names of the weights to be kept low-rank: the linear ones, if forced, or those where it saves time."""
    names = list(dict.fromkeys(c.weight for c in calls if c.kind == "linear"))
    if forced:
        return names
    found = []
    for name in names:
        out, into = next(c.weight_shape for c in calls if c.weight == name)
        rows = steps * sum(c.rows for c in calls if c.weight == name)
        if min(out, into) >= SMALLEST and rows * (out + into) <= out * into and out * into >= 4096:
            found.append(name)
    return found
