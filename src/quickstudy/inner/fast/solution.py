"""The solution of an inner loop with an implicit gradient, in place of one through its steps."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from quickstudy.data import Examples
from quickstudy.inner.adapted import Adapted, State
from quickstudy.inner.fast.implicit import attach
from quickstudy.inner.fast.lowrank import LowRank
from quickstudy.inner.fast.passes import Pass

if TYPE_CHECKING:
    from quickstudy.inner.loop import InnerLoop


def with_implicit_gradient(loop: "InnerLoop", adapted: Adapted, start: Adapted, shares: list[Any]) -> Adapted:
    """`adapted`, with a gradient to where it began and to all else that the loss reads.

    Args:
        loop: with an `implicit`.
        adapted: the solution, without a graph.
        start: where it began, with one.
        shares: the data of every part.
    """
    assert loop.implicit is not None
    parts, adapted_here = [], set(loop.adapted_names())
    last = max(adapted.steps - 1, 0)
    for part, origin, share in zip(adapted.parts, start.parts, shares, strict=True):
        solved: dict[str, Any] = {
            k: v.dense() if isinstance(v, LowRank) else v for k, v in part.state.moved.items() if k in adapted_here
        }
        if not solved or (isinstance(share, Examples) and share.num_points == 0):
            parts.append(part._replace(state=origin.state))
            continue
        others = {k: v for k, v in origin.state.moved.items() if k not in solved}
        kept = {k: v for k, v in origin.state.shared.items() if k not in solved}
        began: dict[str, Any] = {
            **{k: v.expand(part.size, *v.shape) for k, v in origin.state.shared.items()},
            **origin.state.moved,
        }
        names = list(solved)
        state = State(kept, {**others, **solved}, part.state.buffers, {})
        judged = Pass(
            loop, part.plan, state, loop.objective or loop.point_loss, share, start.outer, last, names, [], part.size
        )
        decay = getattr(loop.rule, "weight_decay", 0.0)  # a part of the problem that was solved, as damping is
        how = replace(loop.implicit, damping=loop.implicit.damping + decay)
        found = attach(judged, list(solved.values()), [began[k] for k in names], how=how, proximal=loop.proximal)
        moved = {**others, **dict(zip(names, found, strict=True))}
        parts.append(part._replace(state=state._replace(moved=moved)))
    return Adapted(loop, tuple(parts), adapted.num_tasks, start.outer, adapted.steps)
