"""Which fast weights are worth keeping low-rank, and what a pass costs: arithmetic counted, time estimated.

A stacked layer multiplies every task's rows by that task's own matrix; a low-rank one multiplies all rows by one
matrix, and adds a product with the rows of the steps before. The first needs memory traffic of (tasks x weights), the
second a few more operations, so small layers are stacked and large ones low-rank.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from quickstudy.inner.fast.capture import Call
from quickstudy.tracing import is_for_graph

# seconds, as benchmarks/cost_model.py fits them: multiply-adds in one large product and in many small ones,
# bytes moved, and the dispatch of one more operation, by torch and in a compiled graph
SHARED, BATCHED, BYTE, OPERATION, OPERATION_IN_GRAPH = 1 / 80e9, 1 / 30e9, 1 / 8e9, 20e-6, 3e-6
PASSES = 3.0  # products with a layer's weight in forward, backward and second backward, per step
TOUCHES = 3.0  # times a stacked weight is read or written, per step
NEAR = 16e6  # bytes; beyond, activations come from memory in every operation, and allocators return their pages
SMALLEST = 8  # features; with fewer on one side nothing is saved


@dataclass(frozen=True)
class LayerCost:
    """One weight in an inner loop of so many steps and a query pass.

    Args:
        weight: its name.
        shape: `[out, in]`.
        rows: of its input in one pass of one task: points, times tokens.
        stacked, lowrank: seconds, estimated.
        shared_flops: floating-point operations of one pass of all tasks, which is what a low-rank layer needs at least.
    """

    weight: str
    shape: tuple[int, ...]
    rows: int
    stacked: float
    lowrank: float
    shared_flops: int


def layer_costs(calls: Sequence[Call], steps: int, num_tasks: int) -> list[LayerCost]:
    """What every linear layer of `calls` costs, stacked and low-rank."""
    found, operation = [], OPERATION_IN_GRAPH if is_for_graph() else OPERATION
    for name in dict.fromkeys(c.weight for c in calls if c.kind == "linear"):
        own = [c for c in calls if c.weight == name]
        (out, into), rows = own[0].weight_shape, sum(c.rows for c in own)
        products = num_tasks * rows * out * into * PASSES
        stacked = lowrank = products * SHARED * 2  # the first step and the last gradient share their weights
        later = max(steps, 1)
        stacked += later * (products * BATCHED + TOUCHES * 4 * num_tasks * out * into * BYTE)
        terms = sum(num_tasks * rows * rows * s * (out + into) for s in range(1, later + 1))
        lowrank += later * (products * SHARED + 5 * operation) + terms * PASSES * 1.5 * BATCHED
        found.append(LayerCost(name, (out, into), rows, stacked, lowrank, 2 * num_tasks * rows * out * into))
    return found


def lowrank_layers(calls: Sequence[Call], steps: int, num_tasks: int, *, forced: bool) -> list[str]:
    """Names of the weights to be kept low-rank: the linear ones, if forced, or those where it saves time."""
    costs = layer_costs(calls, steps, num_tasks)
    if forced:
        return [c.weight for c in costs]
    return [c.weight for c in costs if min(c.shape) >= SMALLEST and c.lowrank < c.stacked]


def tasks_at_once(calls: Sequence[Call], num_tasks: int, growth: float) -> int | None:
    """How many tasks a compiled pass takes so that what its layers put out stays in the caches; None: all.

    Args:
        calls: of one task's pass over its support set.
        num_tasks: of the batch, to be dealt into parts of equal size.
        growth: query points over support points.
    """
    own = 4 * sum(c.output_shape.numel() for c in calls) * max(growth, 1.0)
    if own * num_tasks <= NEAR:
        return None
    return max((d for d in range(1, num_tasks) if num_tasks % d == 0 and d * own <= NEAR), default=1)
