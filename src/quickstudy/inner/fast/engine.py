"""The fast path: all tasks of a part in one pass; gradients of layers are computed from their inputs and outputs."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from quickstudy.inner.fast.capture import Call, Differs, catching, weight_gradient
from quickstudy.inner.fast.lowrank import LowRank
from quickstudy.inner.fast.mixed_mode import gradients
from quickstudy.inner.fast.passes import Pass, leaf_names
from quickstudy.inner.fast.plan import Plan
from quickstudy.inner.modules.purity import random_state, set_host_state
from quickstudy.inner.optimizers import move
from quickstudy.inner.problem import Problem
from quickstudy.inner.state import State


@dataclass(frozen=True)
class Fast:
    """Runs the tasks of a part according to a plan; see `Engine`.

    Args:
        plan: from trial runs.
        size: number of tasks.
        tensors: the network's parameters and buffers, if known already.
        names: of what adapts, if known already.
    """

    plan: Plan
    size: int
    tensors: dict[str, Tensor] | None = None
    names: list[str] | None = None

    @property
    def together(self) -> bool:
        """Whether all tasks run in one pass."""
        return self.plan.vectorised

    def step(
        self, problem: Problem, state: State, start: State, data: Any, outer: Any, step: int, *, second_order: bool
    ) -> State:
        """One more step of the rule; see `Engine`."""
        gradients, state = self.gradient(problem, state, data, outer, step, second_order=second_order)
        low = [k for k, g in gradients.items() if isinstance(g, LowRank)]
        state, start = _as_lowrank(state, low), _as_lowrank(start, low)
        return move(problem.rule, state, start, gradients, data, step, proximal=problem.proximal)

    def gradient(
        self, problem: Problem, state: State, data: Any, outer: Any, step: int, *, second_order: bool
    ) -> tuple[dict[str, Any], State]:
        """Every task's gradient; see `Engine`."""
        return self._or_built(
            lambda plan, state: self._gradient(plan, problem, state, data, outer, step, second_order=second_order),
            state,
        )

    def evaluate(
        self, problem: Problem, state: State, function: Callable[..., Any], data: Any, outer: Any, step: int
    ) -> tuple[Any, dict[str, Tensor]]:
        """A function of every task's network; see `Engine`."""

        def run(plan: Plan, state: State) -> tuple[Any, dict[str, Tensor]]:
            ready = Pass(problem, plan, state, data, outer, step).evaluating(function)
            value, _, buffers = ready([], ready.rest)
            return value, buffers

        return self._or_built(run, state)

    def _gradient(
        self, plan: Plan, problem: Problem, state: State, data: Any, outer: Any, step: int, *, second_order: bool
    ) -> tuple[dict[str, Any], State]:
        names = problem.adapted_names() if self.names is None else self.names
        shared_or_low = {*state.shared, *(k for k, v in state.moved.items() if isinstance(v, LowRank))}
        calls = [c for c in plan.calls if c.weight in names and c.weight in shared_or_low]
        judged = Pass(problem, plan, state, data, outer, step, tensors=self.tensors).descending(
            names, calls, self.size, judge=self.plan.mixed
        )

        def total(leaves: list[Tensor], rest: Any) -> Any:
            value, seen, buffers = judged(leaves, rest)
            return value.sum(), (seen, list(buffers.values()))

        found, seen, left = gradients(
            total, judged.leaves, judged.rest, second_order=second_order, mixed=self.plan.mixed
        )
        buffers = {k: b.detach() for k, b in zip(state.buffers, left, strict=True)}
        return _by_name(plan, calls, names, found, seen, step), state._replace(buffers=buffers)

    def _or_built(self, run: Callable[[Plan, State], Any], state: State) -> Any:
        """`run`; if the network behaves differently from the trial run, once more without catching layers."""
        with catching():
            if not self.plan.calls and not any(isinstance(v, LowRank) for v in state.moved.values()):
                return run(self.plan, state)
            own = (*state.shared.values(), *state.moved.values())
            random = random_state([t for t in own if isinstance(t, Tensor)][:1])
            try:
                return run(self.plan, state)
            except Differs:
                built = replace(self.plan, calls=(), lowrank=frozenset())
            _go_back_to(random)
            return run(built, state.built())


def _by_name(
    plan: Plan, calls: list[Call], names: list[str], grads: list[Tensor | None], seen: list[Tensor], step: int
) -> dict[str, Any]:
    """The gradient of every parameter that has one, from its layers' inputs and the gradients at their outputs."""
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


def _as_lowrank(state: State, names: list[str]) -> State:
    if not names:
        return state
    values = {**state.shared, **state.moved}
    low = {k: values[k] if isinstance(values[k], LowRank) else LowRank(values[k]) for k in names}
    return state._replace(shared={k: v for k, v in state.shared.items() if k not in low}, moved={**state.moved, **low})


def _go_back_to(random: Any) -> None:
    host, device, theirs = random
    set_host_state(host)
    if theirs is not None:
        torch.cuda.set_rng_state(theirs, device)
