"""One pass of a network over all tasks, each with its own weights."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from quickstudy.inner.fast.capture import Call, Capture, Layer, StandIn, active
from quickstudy.inner.fast.lowrank import LowRank
from quickstudy.inner.fast.plan import Plan
from quickstudy.inner.fast.vectorise import map_tasks
from quickstudy.inner.modules.copies import copy_apart, copy_with
from quickstudy.inner.modules.tree import named_tensors
from quickstudy.inner.problem import Problem
from quickstudy.inner.state import State
from quickstudy.nets.clock import Role, at_step, playing


class Rest(NamedTuple):
    """The inputs of a pass besides its leaves.

    Args:
        shared: parameters that are the same for all tasks.
        own: parameters that differ between tasks, `[T, ...]`.
        base, scale, factors: of the caught weights, each of which is `scale * base` plus a low-rank part.
        buffers: `[T, ...]`.
        data: `[T, ...]`.
        outer: passed to the function.
        judge: parameters of the losses.
    """

    shared: dict[str, Tensor]
    own: dict[str, Tensor]
    base: dict[str, Tensor]
    scale: dict[str, Any]
    factors: dict[str, Any]
    buffers: dict[str, Tensor]
    data: Any
    outer: Any
    judge: dict[str, Tensor]


class Pass:
    """A pure function of tensors, `(leaves, rest) -> (values [T, ...], inputs of the caught calls, buffers after it)`.

    Args:
        problem: the inner problem.
        plan: the plan for the pass.
        state: the tasks' weights.
        data: `[T, ...]`.
        outer: passed to the function.
        step: the number of inner steps before the pass.
        tensors: the network's own tensors by name, if known already.
    """

    def __init__(
        self,
        problem: Problem,
        plan: Plan,
        state: State,
        data: Any,
        outer: Any,
        step: int,
        *,
        tensors: dict[str, Tensor] | None = None,
    ):
        self.problem, self.plan, self.state, self.step = problem, plan, state, step
        self.data, self.outer = data, outer
        self.tensors = tensors or named_tensors(problem.network)
        self.leaf_names: list[str] = []
        self.calls: list[Call] = []
        self.leaves: list[Tensor] = []
        self.role: Role | None = None
        self.function: Callable[..., Any] | None = None

    def evaluating(self, function: Callable[..., Any]) -> "Pass":
        """Prepare to evaluate `function`, without gradients at the leaves."""
        self.function = function
        self._prepare([], judge=False)
        return self

    def descending(self, names: list[str], calls: list[Call], count: int, *, judge: bool) -> "Pass":
        """Prepare to compute the loss of a step, with gradients at the leaves.

        Args:
            names: the parameters that need gradients.
            calls: the layers to catch; their gradients are computed from their inputs and outputs.
            count: `T`.
            judge: whether the parameters of the losses are inputs of the pass.
        """
        self.calls, self.leaf_names, self.role = calls, leaf_names(names, calls, self.plan.calls), "support"
        values: dict[str, Any] = {**self.state.shared, **self.state.moved}
        like = next((t for t in tree_leaves(values) if isinstance(t, Tensor)), torch.zeros(()))
        self.leaves = [like.new_zeros((count, *c.output_shape), dtype=c.dtype) for c in calls]
        for k in self.leaf_names:
            moved = k in self.state.moved
            self.leaves.append(values[k] if moved else values[k].expand(count, *values[k].shape))
        self._prepare(names, judge=judge)
        return self

    def _prepare(self, names: list[str], *, judge: bool) -> None:
        """Divide the tensors into leaves, stand-ins and the rest."""
        state, leaf_names = self.state, self.leaf_names
        low = {k: v for k, v in state.moved.items() if isinstance(v, LowRank)}
        caught = {c.weight for c in self.calls} | set(low)
        values: dict[str, Any] = {**state.shared, **state.moved}
        self.rest = Rest(
            {k: v for k, v in state.shared.items() if k not in leaf_names and k not in caught},
            {k: v for k, v in state.moved.items() if k not in leaf_names and k not in caught},
            {k: low[k].base if k in low else state.shared[k] for k in caught},  # type: ignore[misc]
            {k: low[k].scale if k in low else 1.0 for k in caught},
            {k: low[k].factors() for k in low},
            state.buffers,
            self.data,
            self.outer,
            self.problem.judge() if judge else {},
        )
        biases = [k for k in dict.fromkeys(c.bias for c in self.calls) if k in names and k not in leaf_names]
        self.keys = {k: StandIn.of(self.rest.base[k]) for k in caught}
        self.bias_keys = {k: StandIn.of(values[k][0] if k in state.moved else values[k]) for k in biases}

    def __call__(self, leaves: list[Tensor], rest: Rest) -> tuple[Any, list[Tensor], dict[str, Tensor]]:
        """Run the pass on `leaves` and `rest`."""
        number = len(self.calls)
        stacked = {**rest.own, **dict(zip(self.leaf_names, leaves[number:], strict=True))}
        # clones, since the network may write into them
        buffers = {k: b.clone(memory_format=torch.contiguous_format) for k, b in rest.buffers.items()}
        problem = self.problem.judged_by(rest.judge)
        function = problem.step_loss if self.function is None else self.function

        def task(probes: Any, stacked: Any, factors: Any, buffers: Any, data: Any) -> Any:
            mine = {**rest.shared, **stacked}
            layers = [(key, Layer(k, rest.base[k], rest.scale[k], factors.get(k))) for k, key in self.keys.items()]
            biases = [(key, k, mine[k]) for k, key in self.bias_keys.items()]
            capture = Capture(layers, biases, self.calls, probes if self.calls else None)
            inputs = {k: mine[k] for k in problem.inputs}
            tensors = {**mine, **buffers, **self.keys, **self.bias_keys}
            if inputs:
                tensors = {k: v for k, v in tensors.items() if k not in inputs}
            template = copy_apart(problem.network) if self.plan.apart else problem.network
            network = copy_with(template, tensors, self.tensors)
            with active(capture):
                value = function(problem.model(network, inputs), data, rest.outer)
            left = _left(network, list(buffers))
            return value, capture.finished(), left

        arguments = (leaves[:number], stacked, rest.factors, buffers, rest.data)
        with at_step(self.step), playing(self.role):
            return map_tasks(self.plan.vectorised, problem.randomness, task, *arguments)


def _left(network: nn.Module, names: list[str]) -> dict[str, Tensor]:
    if not names:
        return {}
    tensors = named_tensors(network)
    return {k: tensors[k] for k in names}


def leaf_names(names: list[str], calls: list[Call], all_calls: tuple[Call, ...]) -> list[str]:
    """The names whose gradient does not come from caught calls."""
    weights = {c.weight for c in calls}
    elsewhere = {c.bias for c in all_calls if c.weight not in weights}
    biases = {c.bias for c in calls} - elsewhere
    return [k for k in names if k not in weights and k not in biases]
