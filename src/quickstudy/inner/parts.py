"""How the tasks of a batch are dealt into parts that run together."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from quickstudy.checks import values_are_readable
from quickstudy.data import Examples, by_size
from quickstudy.inner.adapted import Adapted, Part, State
from quickstudy.inner.fast.planning import simplest_plan
from quickstudy.inner.points import minibatches, without_trivial_mask

if TYPE_CHECKING:
    from quickstudy.inner.loop import InnerLoop

Groups = list[tuple[Tensor | None, Any]]


def size_groups(loop: "InnerLoop", support: Examples) -> Groups:
    """`(places, examples)`: all together, or tasks of equal size where the network mixes points."""
    support = without_trivial_mask(support)
    if support.mask is None or not values_are_readable(support.x) or not loop.mixes(support):
        return [(None, support.clean())]
    return [(index, examples) for index, (examples,) in by_size(support)]


def deal(
    loop: "InnerLoop", num_tasks: int, groups: Groups, steps: int, outer: Any, create_graph: bool
) -> tuple[tuple[Part, ...], list[Any]]:
    """The parts at their beginning, each with its share of the support points."""
    parts, shares = [], []
    for index, share in groups:
        count = num_tasks if index is None else len(index)
        moves = steps > 0 and share is not None and share.num_points > 0
        plan = loop.plan(first_points(loop, share), count, steps, outer) if moves else simplest_plan(loop, count)
        if plan.vectorised or count == 1:
            parts.append(Part(index, count, plan, beginning(loop, count, create_graph)))
            shares.append(share)
            continue
        for i in range(count):
            one = torch.tensor([i]) if index is None else index[i : i + 1]
            parts.append(Part(one, 1, plan, beginning(loop, 1, create_graph)))
            shares.append(None if share is None else share.select(i))
    return tuple(parts), shares


def dealt_again(loop: "InnerLoop", adapted: Adapted, first: Any, steps: int, create_graph: bool) -> Adapted:
    """The parts at their beginning once more, now that the data of the first step have been seen."""
    plan, count = loop.plan(first, adapted.num_tasks, steps, adapted.outer), adapted.num_tasks
    if not plan.vectorised and len(adapted.parts) == 1 and count > 1:
        alone = [Part(torch.tensor([i]), 1, plan, beginning(loop, 1, create_graph)) for i in range(count)]
        return Adapted(loop, tuple(alone), count, adapted.outer)
    return Adapted(loop, tuple(p._replace(plan=plan) for p in adapted.parts), count, adapted.outer)


def first_points(loop: "InnerLoop", share: Examples) -> Examples:
    """Points as a step sees them: as many as in a minibatch."""
    return share if loop.minibatch is None else minibatches(share, loop.minibatch)(0, None)


def beginning(loop: "InnerLoop", count: int, create_graph: bool) -> State:
    """The state of `count` tasks before the first step."""
    shared: dict[str, Tensor] = dict(loop.network.named_parameters())
    moved: dict[str, Any] = {k: v.expand(count, *v.shape) for k, v in loop.inputs.items()}
    if not create_graph:
        shared, moved = tree_map(torch.Tensor.detach, (shared, moved))
    buffers = dict(loop.network.named_buffers())
    if loop.network.training:  # the network's own may be written into before the way back
        buffers = {k: b.clone() for k, b in buffers.items()}
    return State(shared, moved, {k: b.expand(count, *b.shape) for k, b in buffers.items()}, {})
