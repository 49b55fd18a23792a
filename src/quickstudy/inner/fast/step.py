"""One inner step of every task of a part."""

from typing import TYPE_CHECKING, Any

from torch import Tensor

from quickstudy.inner.adapted import Part, State
from quickstudy.inner.fast.capture import Call, weight_gradient
from quickstudy.inner.fast.lowrank import LowRank
from quickstudy.inner.fast.mixed_mode import gradients
from quickstudy.inner.fast.passes import Pass, leaf_names
from quickstudy.inner.fast.plan import Plan

if TYPE_CHECKING:
    from quickstudy.inner.loop import InnerLoop


def take_step(
    loop: "InnerLoop", part: Part, origin: State, data: Any, outer: Any, step: int, *, second_order: bool
) -> State:
    """Where the tasks of `part` stand after one more step of the rule.

    Args:
        loop: whose rule, loss and options count.
        part: tasks, and where they stand.
        origin: where they began.
        data: of this step, `[T, ...]`.
        outer: handed to the objective.
        step: how many came before.
        second_order: keep the graph of the inner gradient.
    """
    plan, state = part.plan, part.state
    names = [k for k in loop.adapted_names() if plan.reached is None or k in plan.reached]
    calls = [c for c in plan.calls if c.weight in names and (c.weight in state.shared or c.weight in plan.lowrank)]
    judged = Pass(loop, plan, state, loop.objective or loop.point_loss, data, outer, step, names, calls, part.size)

    def total(leaves: list[Tensor], rest: Any) -> Any:
        value, seen, buffers = judged(leaves, rest)
        return value.sum(), (seen, list(buffers.values()))

    grads, seen, left = gradients(
        total, judged.leaves, judged.rest, second_order=second_order, mixed=loop.mixed_mode, tangents=plan.tangents
    )
    found = _by_name(plan, calls, names, grads, seen, step)
    shared, moved, slots = dict(state.shared), dict(state.moved), dict(state.slots)
    direct: Any = getattr(loop.rule, "direct", None)  # of rules that see all parameters together
    if direct is not None:
        found = direct({k: moved[k] if k in moved else shared[k] for k in found}, found, data)
    for name, gradient in found.items():
        value: Any = moved[name] if name in moved else shared.pop(name)
        began: Any = origin.moved[name] if name in origin.moved else origin.shared[name]
        if isinstance(gradient, LowRank):
            value = value if isinstance(value, LowRank) else LowRank(value)
            began = LowRank(began)
        if loop.proximal:
            gradient = gradient + (value - began) * loop.proximal
        moved[name], slots[name] = loop.rule.update(name, step, value, gradient, slots.get(name))
    buffers = {k: b.detach() for k, b in zip(state.buffers, left, strict=True)} if left else state.buffers
    return State(shared, moved, buffers, slots)


def _by_name(
    plan: Plan, calls: list[Call], names: list[str], grads: list[Tensor | None], seen: list[Tensor], step: int
) -> dict[str, Any]:
    """The gradient of every parameter that has one, put together from what its layers saw."""
    found: dict[str, Any] = {}
    for i, (call, inputs) in enumerate(zip(calls, seen, strict=True)):
        at_output = grads[i]
        if at_output is None:
            continue
        if call.kind == "linear":
            d, x = at_output.flatten(1, -2), inputs.flatten(1, -2)
            weight: Any = LowRank(None, 1.0, {(step, i): (1.0, d, x)})
            weight = weight if call.weight in plan.lowrank else weight.dense()
            bias = d.sum(1)
        else:
            weight = weight_gradient(call, inputs, at_output)
            bias = at_output.flatten(3).sum((1, 3))
        for name, gradient in ((call.weight, weight), (call.bias, bias)):
            if name is not None and name in names:
                found[name] = found[name] + gradient if name in found else gradient
    leaves = leaf_names(names, calls, plan.calls)
    found |= {k: g for k, g in zip(leaves, grads[len(calls) :], strict=True) if g is not None}
    return {k: found[k] for k in names if k in found}
