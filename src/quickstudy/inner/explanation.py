"""Describes how the engine computes a batch of tasks, and why."""

from dataclasses import dataclass, replace

from quickstudy.data import Tasks
from quickstudy.inner.choosing import Wanted
from quickstudy.inner.fast.checkpoints import segment
from quickstudy.inner.fast.cost import LayerCost, layer_costs
from quickstudy.inner.fast.plan import Plan
from quickstudy.inner.loop import InnerLoop
from quickstudy.inner.points import without_trivial_mask
from quickstudy.tracing import is_for_graph


@dataclass(frozen=True)
class Explanation:
    """How a meta-loss is computed; print it to read it.

    Args:
        engine: "loop", "batched" or "lowrank" (some or all linear layers low-rank).
        plan: the findings of trial runs of the network.
        layers: estimated costs of the linear layers.
        lines: the text.
    """

    engine: str
    plan: Plan
    layers: tuple[LayerCost, ...]
    lines: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join(self.lines)


def explain(inner: InnerLoop, tasks: Tasks) -> Explanation:
    """The explanation for `MAML.explain`. Tasks of unequal size are described as if they ran together."""
    support = without_trivial_mask(tasks.support).clean()
    seen = inner.first_points(support)  # a step sees a minibatch, and costs no more
    plan = inner.plan(seen, tasks.num_tasks, inner.steps)
    why = (
        inner.choice.objection(plan, seen, tasks.num_tasks, Wanted(inner.steps, None, True))
        if plan.vectorised
        else None
    )
    if why is not None:
        plan = replace(plan, vectorised=False, calls=(), lowrank=frozenset(), reasons=(why,))
    layers = tuple(layer_costs(plan.calls, inner.steps, tasks.num_tasks))
    engine = "lowrank" if plan.lowrank else "batched" if plan.vectorised else "loop"
    how = {
        "loop": "tasks run one after another",
        "batched": "all tasks run in one pass, with stacked parameters",
        "lowrank": "all tasks run in one pass; low-rank fast weights where they pay, stacked parameters elsewhere",
    }[engine]
    lines = [f"engine {engine}: {how}", *(f"  because {reason}" for reason in plan.reasons)]
    names = inner.adapted_names()
    lines.append(f"adapted: {len(names)} tensors by {type(inner.rule).__name__}, {inner.steps} steps")
    unreached = [k for k in names if plan.reached is not None and k not in plan.reached]
    if unreached:
        lines.append(f"  the loss does not depend on {', '.join(unreached)}: they do not change")
    lines += _shared(plan, set(names))
    lines += [_layer(c, plan) for c in layers]
    if is_for_graph():
        size = inner.tasks_at_once(tasks)
        most = "all tasks" if size is None else f"{size} tasks at a time, whose activations stay in the caches"
        lines.append(f"one compiled graph: {most}")
    return Explanation(engine, plan, layers, (*lines, *_memory(inner, plan)))


def _shared(plan: Plan, names: set[str]) -> list[str]:
    if not plan.vectorised:
        return []
    caught = {c.weight for c in plan.calls} | {c.bias for c in plan.calls if c.bias}
    lines = [f"first step: weights still shared by all tasks in {len({c.weight for c in plan.calls})} layers"]
    reached = names if plan.reached is None else names & plan.reached
    rest = sorted(reached - caught)
    if rest:
        lines.append(
            f"  stacked from the start, as no linear or convolutional layer alone reads them: {', '.join(rest)}"
        )
    return lines


def _layer(cost: LayerCost, plan: Plan) -> str:
    kept = "low-rank" if cost.weight in plan.lowrank else "stacked"
    return (
        f"  {cost.weight} {list(cost.shape)}, {cost.rows} rows a task: {kept} (estimated {cost.lowrank * 1e3:.2f} ms "
        f"low-rank, {cost.stacked * 1e3:.2f} ms stacked; {cost.shared_flops / 1e6:.1f} MFLOP a pass)"
    )


def _memory(inner: InnerLoop, plan: Plan) -> list[str]:
    if inner.implicit is not None:
        return [f"meta-gradient: implicit, {inner.implicit.solver}, {inner.implicit.iterations} iterations"]
    if inner.first_order:
        return ["meta-gradient: first order"]
    mixed = "reverse over forward" if plan.tangents else "forward over reverse"
    lines = ["meta-gradient: exact, " + (mixed if inner.how.mixed_mode else "reverse over reverse")]
    length = segment(inner.how.checkpoint, inner.steps)
    if length is not None:
        lines.append(f"checkpoints: every {length} steps")
    if inner.how.truncate is not None:
        lines.append(f"truncated: second order in the last {inner.how.truncate} steps")
    return lines
