"""The fast path as an engine that falls back to plain PyTorch if it fails or disagrees."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from quickstudy.checks import values_are_readable
from quickstudy.data import Examples
from quickstudy.inner.fast.engine import Fast
from quickstudy.inner.fast.lowrank import NotLinear
from quickstudy.inner.fast.trying import reason_of
from quickstudy.inner.fast.watch import HOOKED, Watch
from quickstudy.inner.modules.outputs import concatenated, map_outputs
from quickstudy.inner.modules.purity import changed, replaying, reseed, untouched
from quickstudy.inner.plain import Plain
from quickstudy.inner.points import real_points
from quickstudy.inner.problem import Problem
from quickstudy.inner.state import State
from quickstudy.inner.transforms import in_transform
from quickstudy.inner.trees import layout_of, num_tasks, taken, two_places, whole_layout_of
from quickstudy.inner.trust import Evidence, Trust, shaken


@dataclass(frozen=True)
class Trusted:
    """The fast path, with plain PyTorch as a fallback; see `Engine`.

    Args:
        fast: the fast path.
        trust: the results of verification.
        shown: the function that was verified together with the steps; others are verified at their first use.
        layout: types and shapes of the points with which it was verified.
        apart: whether every task runs by itself.
    """

    fast: Fast
    trust: Trust
    shown: Any = None
    layout: Any = None
    apart: bool = False

    @property
    def together(self) -> bool:
        """Whether all tasks run in one pass."""
        return self.fast.together and not self.apart

    def step(
        self, problem: Problem, state: State, start: State, data: Any, outer: Any, step: int, *, second_order: bool
    ) -> State:
        """One more step of the rule; see `Engine`."""
        return self._or_each(
            lambda: self.fast.step(problem, state, start, data, outer, step, second_order=second_order),
            lambda: _each_step(problem, state, start, data, outer, step, second_order=second_order),
        )

    def gradient(
        self, problem: Problem, state: State, data: Any, outer: Any, step: int, *, second_order: bool
    ) -> tuple[dict[str, Any], State]:
        """Every task's gradient; see `Engine`."""
        return self.fast.gradient(problem, state, data, outer, step, second_order=second_order)

    def evaluate(
        self, problem: Problem, state: State, function: Callable[..., Any], data: Any, outer: Any, step: int
    ) -> tuple[Any, dict[str, Tensor]]:
        """A function of every task's network; see `Engine`."""

        def each() -> tuple[Any, dict[str, Tensor]]:
            plain, found = Plain(set(self.fast.plan.sparse)), []
            alone = _alone(state, data, compact=getattr(function, "wraps", function) == problem.point_loss)
            with replaying(problem.randomness, len(alone)) as again:
                for s, d in alone:
                    again()
                    found.append(plain.evaluate(problem, s, function, d, outer, step))
            values, buffers = zip(*found, strict=True)
            return concatenated(values), {k: torch.cat([b[k] for b in buffers]) for k in buffers[0]}

        def fast() -> tuple[Any, dict[str, Tensor]]:
            return self.fast.evaluate(problem, state, function, data, outer, step)

        if self.apart or (in_transform() and self.shown is None):
            return each()
        known = getattr(function, "wraps", function) == self.shown and layout_of(data) == self.layout
        if not self.trust.verify or known or in_transform() or not all(values_are_readable(t) for t in _tensors(data)):
            return self._or_each(fast, each)
        wrapped = getattr(function, "wraps", function)
        own = self.trust.settings_of_functions(problem.network, wrapped, outer)
        settings = "evaluate", _name(wrapped), own, tuple(state.moved), whole_layout_of(outer), len(tree_leaves(data))
        why = self._objection_to(settings, problem, state, function, data, outer, step=step)
        if why is not None:
            self.trust.fall_back(why)
            return each()
        return self._or_each(fast, each)

    def _objection_to(
        self,
        settings: Any,
        problem: Problem,
        state: State,
        function: Callable[..., Any],
        data: Any,
        outer: Any,
        *,
        step: int,
    ) -> str | None:
        """The reason why the function cannot be evaluated for all tasks in one pass; None if it can."""
        places = two_places(data if tree_leaves(data) else state.buffers or state.moved)
        few, points = state.select(places), taken(data, places)
        written: list[str] = []
        watch = Watch()
        compact = getattr(function, "wraps", function) == problem.point_loss

        def evidence(run: Callable[[Problem, State, Any], Any], *, shake: int | None = None) -> Evidence:
            here, given = few.built().detach(), _cloned(points)
            if shake is not None:  # all weights: without inner steps none is moved
                moved, shared = ({k: shaken(v, seed=shake) for k, v in of.items()} for of in (here.moved, here.shared))
                here = here._replace(moved=moved, shared=shared)
            moved = {k: _begun(v) for k, v in here.moved.items()}
            shared = {k: _begun(v) if few.shared[k].requires_grad else v.clone() for k, v in here.shared.items()}
            judge = problem.judge()
            with untouched(problem.network, *problem.functions(), function, outer), torch.enable_grad():
                reseed(0)
                value = run(replace(problem, randomness="same"), here._replace(shared=shared, moved=moved), given)
                written.extend(k for k, v in shared.items() if changed(v, here.shared[k]))
                if any(changed(a, b) for a, b in zip(_tensors(given), _tensors(points), strict=True)):
                    written.append("its data")
                return _values(value, {**shared, **moved, **judge, **_numbered("outer", outer)})

        def fast(problem: Problem, state: State, given: Any) -> Any:
            return self.fast.evaluate(problem, state, function, given, outer, step)[0]

        def plain(problem: Problem, state: State, given: Any) -> Any:
            values = []
            with watch, replaying("same", 2) as again:
                for s, d in _alone(state, given, compact=compact):
                    again()
                    values.append(Plain(set(self.fast.plan.sparse)).evaluate(problem, s, function, d, outer, step)[0])
            return concatenated(values)

        why = self.trust.objection(
            settings,
            layout_of(data),
            fast=lambda: evidence(fast),
            plain=lambda: evidence(plain),
            rounded=lambda seed: evidence(plain, shake=seed),
            precision=self.fast.plan.precision,
        )
        if why is None and (written or watch.hooked):
            why = f"the network writes into {written[0]}" if written else HOOKED
            self.trust.verdicts[settings, layout_of(data)] = why
        return why

    def _or_each(self, fast: Callable[[], Any], each: Callable[[], Any]) -> Any:
        try:
            return fast()
        except (torch.OutOfMemoryError, NotLinear):
            raise
        except Exception as error:
            if in_transform():
                raise
            found = each()  # an error of the user's own is raised here
            self.trust.fall_back(reason_of(error))
            return found


def _begun(tensor: Tensor) -> Tensor:
    """A clone whose gradient can be asked for."""
    clone = tensor.detach().clone()
    return clone.requires_grad_() if _is_number(clone) and clone.layout == torch.strided else clone


def _numbered(name: str, tree: Any) -> dict[str, Tensor]:
    return {f"{name}-{i}": t for i, t in enumerate(_tensors(tree))}


def _values(value: Any, given: dict[str, Tensor]) -> Evidence:
    tensors: list[Tensor] = []
    map_outputs(tensors.append, value)
    found = {f"output {i}": t.detach() if _is_number(t) else t.double() for i, t in enumerate(tensors)}
    sums = [t.sum() for t in tensors if t.requires_grad and t.is_floating_point()]
    wanted = {k: v for k, v in given.items() if v.requires_grad}
    if sums and wanted:
        grads = torch.autograd.grad(
            torch.stack(sums).sum(), list(wanted.values()), allow_unused=True, retain_graph=True
        )
        found |= {f"gradient of {k}": g for k, g in zip(wanted, grads, strict=True) if g is not None}
    return found


def _is_number(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


def _alone(state: State, data: Any, *, compact: bool = False) -> list[tuple[State, Any]]:
    """The state and data of every task alone; without padding if `compact`, also after a support set."""
    alone = []
    for i in range(num_tasks((data, state.buffers, state.moved))):
        one = tree_map(lambda t, i=i: t[i : i + 1] if isinstance(t, Tensor) else t, data)
        if compact:
            one = real_points(one) if isinstance(one, Examples) else (one[0], real_points(one[1]))
        alone.append((state.select(torch.tensor([i])).built(), one))
    return alone


def _each_step(
    problem: Problem, state: State, start: State, data: Any, outer: Any, step: int, *, second_order: bool
) -> State:
    begun = [s for s, _ in _alone(start, data)]
    after = []
    with replaying(problem.randomness, len(begun)) as again:
        for (s, d), b in zip(_alone(state, data), begun, strict=True):
            again()
            after.append(Plain().step(problem, s, b, d, outer, step, second_order=second_order))
    return after[0].joined(after[1:])


def _cloned(tree: Any) -> Any:
    return tree_map(lambda t: t.detach().clone() if isinstance(t, Tensor) else t, tree)


def _tensors(tree: Any) -> list[Tensor]:
    return [t for t in tree_leaves(tree) if isinstance(t, Tensor)]


def _name(function: Any) -> Any:
    """The code of a function, which is the same for all closures over it."""
    return getattr(getattr(function, "__func__", function), "__code__", type(function))
