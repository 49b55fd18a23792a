"""Runs the steps of an inner loop; some of them keep a graph, some run again in the backward pass."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from quickstudy.data import Examples
from quickstudy.inner.adapted import Adapted
from quickstudy.inner.fast.capture import catching
from quickstudy.inner.fast.checkpoints import run_again, segment
from quickstudy.inner.fast.graphs import nodes_of, written_in_python
from quickstudy.inner.fast.implicit import Implicit, attach, refuse_transforms, refuse_unsymmetric
from quickstudy.inner.fast.watch import Watch
from quickstudy.inner.modules.purity import replaying
from quickstudy.inner.modules.settings import hooked
from quickstudy.inner.problem import Problem
from quickstudy.inner.state import Part, State
from quickstudy.inner.transforms import exact_kernels, in_transform
from quickstudy.inner.trees import detached

Source = Callable[[int, Adapted], list[Any]]
Each = Callable[[Adapted], Adapted | None]


@dataclass(frozen=True)
class Unrolling:
    """The options for differentiating steps; see `inner_loop`."""

    first_order: bool = False
    checkpoint: str | int | None = None
    mixed_mode: bool = False
    truncate: int | None = None
    implicit: Implicit | None = None

    @property
    def runs_again(self) -> bool:
        """Whether steps are computed again in the backward pass."""
        return self.checkpoint is not None or self.mixed_mode


class _Steps(NamedTuple):
    """The steps to run.

    Args:
        how: the options for differentiating them.
        source: `(step, adapted) -> the data of every part`.
        start: the states before the first step.
        template: an `Adapted` of the same problem.
        last: the total number of steps.
        each: called with the networks after every step.
    """

    how: Unrolling
    source: Source
    start: tuple[State, ...]
    template: Adapted
    last: int
    each: Each | None

    def take(self, parts: tuple[Part, ...], first: int, end: int, graph: bool) -> tuple[Part, ...]:
        """The parts after the steps from `first` to `end` (exclusive)."""
        with exact_kernels():
            return self._take(parts, first, end, graph)

    def _take(self, parts: tuple[Part, ...], first: int, end: int, graph: bool) -> tuple[Part, ...]:
        for step in range(first, end):
            second = graph and not self.how.first_order
            second = second and (self.how.truncate is None or step >= self.last - self.how.truncate)
            now = replace(self.template, parts=parts, steps=step)
            parts = self._step(now, self.source(step, now), step, second)
            if self.each is not None:
                after = replace(self.template, parts=parts, steps=step + 1)
                parts = (self.each(after) or after).parts
        return parts

    def _step(self, now: Adapted, shares: list[Any], step: int, second: bool) -> tuple[Part, ...]:
        parts, problem = [], now.problem
        with replaying(problem.randomness, len(now.parts)) as again:
            for part, start, share in zip(now.parts, self.start, shares, strict=True):
                again()
                if isinstance(share, Examples) and share.num_points == 0:
                    parts.append(part)
                    continue
                state = part.engine.step(problem, part.state, start, share, now.outer, step, second_order=second)
                parts.append(part._replace(state=state))
        return tuple(parts)


def unroll(
    start: Adapted, source: Source, steps: int, how: Unrolling, *, create_graph: bool, fixed: Any, each: Each | None
) -> Adapted:
    """The networks after `steps` steps.

    Args:
        start: the networks before the first step.
        source: `(step, adapted) -> the data of every part`.
        steps: number of steps.
        how: the options for differentiating them.
        create_graph: keep the graph back to the start.
        fixed: the data, if every step uses the same; otherwise None.
        each: called with the networks after every step; if it returns networks, the loop continues from those.
    """
    begun = start
    if how.implicit is not None and create_graph:
        refuse_transforms()
        if not steps:
            return start
        begun = replace(start, parts=_constant(start.parts), outer=detached(start.outer))
    graph = create_graph and how.implicit is None
    length = segment(how.checkpoint, steps) if graph else None
    if graph and how.runs_again and in_transform():
        warnings.warn(
            "checkpoints and mixed_mode are left out inside torch.func transforms: same gradient, more memory",
            RuntimeWarning,
            stacklevel=6,
        )
        length = None
    template = begun
    if graph and how.runs_again and not in_transform():  # later changes must not affect steps that run again
        template = replace(begun, problem=begun.problem.now())
    states = tuple(p.state for p in start.parts)
    todo = _Steps(how, source, states, replace(template, parts=()), steps, each)
    if length is None:
        parts = todo.take(begun.parts, 0, steps, graph)
    else:
        parts = _in_segments(todo, begun.parts, length, _read_besides(template, states, fixed))
    adapted = replace(start, parts=parts, steps=steps)
    if how.implicit is not None and create_graph:
        last = replace(adapted, outer=start.outer)
        return _with_implicit_gradient(last, start, source(steps - 1, adapted), how.implicit)
    return adapted


def _in_segments(todo: _Steps, parts: tuple[Part, ...], length: int, besides: list[Tensor]) -> tuple[Part, ...]:
    """The parts after all steps, in segments of `length` steps that run again in the backward pass."""
    for first in range(0, todo.last, length):
        bare = tuple(p._replace(state=State({}, {}, {}, {})) for p in parts)
        again = _Segment(todo, bare, first, min(todo.last, first + length))
        states = run_again(again.__call__, [p.state for p in parts], besides)
        states = [s._replace(buffers=detached(s.buffers)) for s in states]  # never differentiable
        parts = tuple(p._replace(state=s) for p, s in zip(parts, states, strict=True))
    return parts


class _Segment(NamedTuple):
    """Runs some steps from given states. It holds no reference to its results, so that memory can be freed."""

    todo: _Steps
    bare: tuple[Part, ...]
    first: int
    end: int

    def __call__(self, states: list[State], graph: bool, /) -> list[State]:
        given = [s._replace(buffers=detached(s.buffers)) for s in states]
        parts = tuple(p._replace(state=s) for p, s in zip(self.bare, given, strict=True))
        with catching():
            return [p.state for p in self.todo.take(parts, self.first, self.end, graph)]


def _read_besides(template: Adapted, start: Sequence[State], fixed: Any) -> list[Tensor]:
    """Tensors with a graph that a segment reads besides the state: rates, the losses' parameters, outer, data."""
    problem = template.problem
    found = [*problem.rule.parameters(), *tree_leaves(getattr(problem.rule, "lr", None)), *problem.judge().values()]
    found += tree_leaves(template.outer)
    if problem.proximal:
        found += tree_leaves([s[:4] for s in start])
    found += tree_leaves(fixed)
    wanted = [t for t in found if isinstance(t, Tensor) and t.requires_grad]
    return list({id(t): t for t in wanted}.values())


def _with_implicit_gradient(adapted: Adapted, start: Adapted, shares: list[Any], how: Implicit) -> Adapted:
    """`adapted` with implicit gradients to the initial parameters and to everything else that the loss depends on."""
    problem, parts, last = adapted.problem, [], max(adapted.steps - 1, 0)
    decay = getattr(problem.rule, "weight_decay", 0.0)  # part of the solved problem, where it acts as damping
    how = replace(how, damping=how.damping + decay)
    with exact_kernels(), torch.enable_grad(), replaying(problem.randomness, len(adapted.parts)) as again:
        for part, origin, share in zip(adapted.parts, start.parts, shares, strict=True):
            again()
            parts.append(part._replace(state=_solved(problem, part, origin.state, share, start.outer, how, last=last)))
    return replace(adapted, parts=tuple(parts))


def _solved(problem: Problem, part: Part, begun: State, share: Any, outer: Any, how: Implicit, *, last: int) -> State:
    """The state of one part with implicit gradients."""
    moving = set(problem.adapted_names())
    solved = {k: v.detach().requires_grad_() for k, v in part.state.built().moved.items() if k in moving}
    if not solved or (isinstance(share, Examples) and share.num_points == 0):
        return begun
    others = {k: v for k, v in begun.moved.items() if k not in solved}
    kept = {k: v for k, v in begun.shared.items() if k not in solved}
    state = State(kept, {**others, **solved}, part.state.buffers, {}, part.state.network)
    with Watch() as watch:
        found, _ = part.engine.gradient(problem, state, share, outer, last, second_order=True)
    dense = {k: v.expand(part.size, *v.shape) for k, v in begun.shared.items()} | begun.moved
    gradient = [found[k] if k in found else torch.zeros_like(v) for k, v in solved.items()]
    if watch.hooked or hooked(problem.network) or written_in_python(nodes_of(gradient)):
        refuse_unsymmetric(gradient, list(solved.values()))
    began = [dense[k] for k in solved]
    attached = attach(list(solved.values()), began, gradient, how=how, proximal=problem.proximal)
    return state._replace(moved={**others, **dict(zip(solved, attached, strict=True))})


def _constant(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    return tuple(p._replace(state=p.state.detach()) for p in parts)
