"""Estimated cost of linear layers, stacked and low-rank, by which `auto` chooses.

A stacked layer multiplies every task's rows by that task's own matrix. A low-rank layer multiplies all rows by one
matrix, and adds a product with the rows of earlier steps. The first moves (tasks x weights) numbers through memory, the
second needs a few more operations, so small layers are stacked and large ones low-rank.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from quickstudy.inner.fast.capture import Call
from quickstudy.tracing import is_for_graph

# seconds, fitted by benchmarks/cost_model.py: per multiply-add in one large product and in many small ones, per byte
# moved, and per operation dispatched by torch and in a compiled graph
SHARED, BATCHED, BYTE, OPERATION, OPERATION_IN_GRAPH = 1 / 80e9, 1 / 30e9, 1 / 8e9, 20e-6, 3e-6
PASSES = 3.0  # products with a layer's weight per step: forward, backward and second backward
TOUCHES = 3.0  # reads and writes of a stacked weight per step
NEAR = 16e6  # bytes of activations that stay in the caches; beyond, every operation reads them from memory
SMALLEST = 8  # features; layers with fewer on one side gain nothing from low rank


@dataclass(frozen=True)
class LayerCost:
    """Estimated cost of one weight in an inner loop and a query pass.

    Args:
        weight: its name.
        shape: `[out, in]`.
        rows: rows of its input in one pass of one task: points times tokens.
        stacked, lowrank: estimated seconds.
        shared_flops: floating-point operations of one pass of all tasks with a shared weight, the least possible.
    """

    weight: str
    shape: tuple[int, ...]
    rows: int
    stacked: float
    lowrank: float
    shared_flops: int


def layer_costs(calls: Sequence[Call], steps: int, num_tasks: int) -> list[LayerCost]:
    """The estimated cost of every linear layer in `calls`, stacked and low-rank."""
    found, operation = [], OPERATION_IN_GRAPH if is_for_graph() else OPERATION
    for name in dict.fromkeys(c.weight for c in calls if c.kind == "linear"):
        own = [c for c in calls if c.weight == name]
        (out, into), rows = own[0].weight_shape, sum(c.rows for c in own)
        products = num_tasks * rows * out * into * PASSES
        stacked = lowrank = products * SHARED * 2  # in the first step and the last gradient, tasks share their weights
        later = max(steps, 1)
        stacked += later * (products * BATCHED + TOUCHES * 4 * num_tasks * out * into * BYTE)
        terms = sum(num_tasks * rows * rows * s * (out + into) for s in range(1, later + 1))
        lowrank += later * (products * SHARED + 5 * operation) + terms * PASSES * 1.5 * BATCHED
        found.append(LayerCost(name, (out, into), rows, stacked, lowrank, 2 * num_tasks * rows * out * into))
    return found


def lowrank_layers(calls: Sequence[Call], steps: int, num_tasks: int, *, forced: bool) -> list[str]:
    """Names of the weights to keep low-rank: all linear ones if forced, otherwise those for which it saves time."""
    costs = layer_costs(calls, steps, num_tasks)
    if forced:
        return [c.weight for c in costs]
    return [c.weight for c in costs if min(c.shape) >= SMALLEST and c.lowrank < c.stacked]


def tasks_at_once(calls: Sequence[Call], num_tasks: int, growth: float) -> int | None:
    """The number of tasks in a compiled pass for which activations stay in the caches; None for all of them.

    Args:
        calls: of one task's pass over its support set.
        num_tasks: of the batch, which is split into parts of equal size.
        growth: number of query points divided by number of support points.
    """
    own = 4 * sum(c.output_shape.numel() for c in calls) * max(growth, 1.0)
    if own * num_tasks <= NEAR:
        return None
    return max((d for d in range(1, num_tasks) if num_tasks % d == 0 and d * own <= NEAR), default=1)
