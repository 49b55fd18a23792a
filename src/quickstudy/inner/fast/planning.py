"""How an inner loop decides on the plan of its passes: by trying the network, once for each shape of the data."""

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.utils._pytree import tree_map

from quickstudy.inner.fast import cost
from quickstudy.inner.fast.engines import unvectorised
from quickstudy.inner.fast.passes import judge_parameters, model_of, reparametrised
from quickstudy.inner.fast.plan import Plan, try_pass, try_vmap
from quickstudy.inner.rates import one_rate

if TYPE_CHECKING:
    from quickstudy.inner.loop import InnerLoop


class Plans(dict[Any, Plan]):
    """An inner loop's plans, by the shapes of its data. A copy of the loop makes its own."""

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return Plans, ()


def simplest_plan(loop: "InnerLoop", count: int) -> Plan:
    """The plan where nothing can be tried, or nothing moves."""
    reason = unvectorised(loop.network)
    return Plan(not (loop.engine == "loop" or (loop.engine == "auto" and (count == 1 or reason is not None))))


def make_plan(loop: "InnerLoop", data: Any, num_tasks: int, steps: int, outer: Any) -> Plan:
    """The plan for data like these.

    Raises:
        ValueError: where an option could not see all that the loss depends on.
    """
    params = {**dict(loop.network.named_parameters()), **loop.inputs}
    buffers = dict(loop.network.named_buffers())
    judge, fixed = _detached(judge_parameters(loop.loss, loop.objective)), _detached(outer)
    function = loop.objective or loop.point_loss

    def run(params: dict[str, Tensor], buffers: dict[str, Tensor], data: Any) -> Tensor:
        with reparametrised(loop.loss, loop.objective, judge):
            return function(model_of(loop, params, buffers), data, fixed)

    tried = try_pass(run, params, buffers, _detached(data), loop.adapted_names())
    if tried.hidden and (loop.mixed_mode or loop.implicit is not None or loop.checkpoint is not None):
        raise ValueError(
            "the loss depends on tensors that require grad and that the inner loop was not given; mixed_mode, "
            "checkpoint and implicit cannot see them: pass them as outer=, the objective's third argument"
        )
    if loop.engine == "loop" or not simplest_plan(loop, num_tasks).vectorised:
        why = unvectorised(loop.network) or ("there is one task" if num_tasks == 1 else "engine='loop' was asked for")
        return replace(tried, vectorised=False, calls=(), reasons=(why,))
    if loop.engine == "auto" and (trouble := try_vmap(run, params, buffers, data)) is not None:
        warnings.warn(f"tasks run one by one: {trouble}. engine='loop' says so itself", RuntimeWarning, stacklevel=3)
        return replace(tried, vectorised=False, calls=(), reasons=(trouble,))
    possible = loop.rule.linear and one_rate(loop.rule.lr) and loop.engine in ("auto", "lowrank")
    lowrank = cost.lowrank_layers(tried.calls, steps, num_tasks, forced=loop.engine == "lowrank") if possible else []
    return replace(tried, lowrank=frozenset(lowrank))


def _detached(tree: Any) -> Any:
    return tree_map(lambda t: t.detach() if isinstance(t, Tensor) else t, tree)
