"""`inner_loop`: what is adapted, by which rule, how often, on which data. One definition; the engines agree on it."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from quickstudy.checks import check_layout, values_are_readable
from quickstudy.data import Examples, Tasks, by_size
from quickstudy.gradient import cost
from quickstudy.gradient.adapted import Adapted, Part, State
from quickstudy.gradient.capture import Call, weight_gradient
from quickstudy.gradient.checkpoints import run_again, segment
from quickstudy.gradient.engines import Engine, Randomness, in_transform, prepared, unvectorised
from quickstudy.gradient.implicit import Implicit, attach
from quickstudy.gradient.lowrank import LowRank
from quickstudy.gradient.mixed_mode import gradients
from quickstudy.gradient.optimizers import Rated, Rule, matching, one_rate
from quickstudy.gradient.options import check_options
from quickstudy.gradient.passes import Pass, judge_parameters, leaf_names, model_of, reparametrised
from quickstudy.gradient.plan import Plan, try_pass, try_vmap
from quickstudy.gradient.points import mean_loss, minibatches, mixes_points, without_trivial_mask
from quickstudy.graph import is_for_graph
from quickstudy.learner import check_generator, check_steps
from quickstudy.likelihoods import default_loss

Batch = Callable[[int, Adapted], Any]
Source = Callable[[int, Adapted], list[Any]]
Groups = list[tuple[Tensor | None, Any]]


class InnerLoop:
    """Adapts a network to many tasks at once, differentiably; made by `inner_loop`, which see."""

    def __init__(
        self,
        network: nn.Module,
        *,
        loss: Callable[[Tensor, Tensor], Tensor] | None = None,
        objective: Callable[..., Tensor] | None = None,
        lr: Rated | None = None,
        rule: Rule | None = None,
        steps: int = 1,
        adapt: str | Sequence[str] | None = None,
        inputs: Mapping[str, Tensor] | nn.ParameterDict | None = None,
        minibatch: int | None = None,
        engine: Engine = "auto",
        first_order: bool = False,
        checkpoint: str | int | None = None,
        mixed_mode: bool = False,
        truncate: int | None = None,
        implicit: Implicit | None = None,
        proximal: float = 0.0,
        randomness: Randomness = "different",
    ):
        self.rule = check_options(locals())
        self.network, self.loss, self.objective = network, loss or default_loss, objective
        self.steps, self.minibatch, self.engine = check_steps(steps), minibatch, engine
        self.first_order, self.checkpoint, self.mixed_mode, self.truncate = (
            first_order,
            checkpoint,
            mixed_mode,
            truncate,
        )
        self.implicit, self.proximal, self.randomness = implicit, proximal, randomness
        self.inputs: Any = inputs if isinstance(inputs, nn.ParameterDict) else dict(inputs or {})
        self._adapt = adapt
        self._own = dict(network.named_parameters())
        self._mixing: dict[bool, bool] = {}
        self.plans = Plans()
        self._known = [*dict(network.named_parameters()), *self.inputs]
        if adapt is not None:
            matching(self._known, adapt)

    def __call__(
        self,
        support: Examples | None = None,
        *,
        batch: Batch | None = None,
        num_tasks: int | None = None,
        steps: int | None = None,
        outer: Any = None,
        create_graph: bool = True,
        generator: torch.Generator | None = None,
    ) -> Adapted:
        """Every task's network after `steps` steps.

        Args:
            support: the points of `T` tasks, all of them used at every step (or a minibatch of them). Padding is
                harmless; a network that mixes points sees tasks grouped by size, without padding.
            batch: `(step, adapted so far) -> data of the step`, in place of `support`: `Examples`, or with an
                `objective` of your own any tree of tensors `[T, ...]`. With checkpoints it is asked twice.
            num_tasks: `T`, with `batch`.
            steps: as many as the loop was made with, if None.
            outer: tensors that the objective gets besides the batch, shared by all tasks.
            create_graph: keep the graph back to the start; without it every gradient is a constant.
            generator: shuffles minibatches.
        """
        if torch.is_inference_mode_enabled():  # where torch takes no gradient, not even an inner one
            with torch.inference_mode(False), torch.no_grad():
                support = tree_map(lambda t: t.clone() if isinstance(t, Tensor) else t, support)
                return self(
                    support,
                    batch=batch,
                    num_tasks=num_tasks,
                    steps=steps,
                    outer=outer,
                    create_graph=False,
                    generator=generator,
                )
        steps = self.steps if steps is None else check_steps(steps)
        check_generator(generator)
        if (support is None) == (batch is None):
            raise ValueError("give the inner loop either support points or batch=, a function of the step")
        if support is not None:
            check_layout(support, "support")
        if batch is not None and num_tasks is None:
            raise ValueError("with batch=, say how many tasks there are: num_tasks=")
        if not create_graph:
            outer = _detached(outer)
        with prepared():
            groups: Groups = [(None, None)]
            if support is not None:
                num_tasks, groups = support.num_tasks, self._groups(support)
            assert num_tasks is not None
            parts, shares = self._begin(num_tasks, groups, steps, outer, create_graph)
            adapted = Adapted(self, parts, num_tasks, outer)
            ask = batch
            if ask is not None and steps:
                first = ask(0, adapted)
                if self.checkpoint is not None and any(_has_graph(t) for t in tree_leaves(first)):
                    raise ValueError(
                        "with checkpoint=, data from batch= cannot carry a graph: hand tensors on as outer="
                    )
                adapted = self._replan(adapted, first, steps, create_graph)
                if self.implicit is None:  # whose steps see data without a graph
                    batch = lambda step, adapted: ask(step, adapted) if step else first  # noqa: E731
            source = self._source(batch, shares, generator)
            return self._unroll(adapted, source, steps, create_graph, None if batch is not None else shares)

    def point_loss(self, model: Callable[..., Tensor], examples: Examples, outer: Any = None) -> Tensor:
        """One task's mean loss over its real points."""
        del outer
        x, y, mask = examples
        return mean_loss(self.loss(model(x), y), len(x), mask)

    def adapted_names(self) -> list[str]:
        """The parameters and extra inputs that move."""
        # under functional_call parameters are plain tensors: then those in whose place they stand are asked
        names = [
            k
            for k, p in self.network.named_parameters()
            if (p if isinstance(p, nn.Parameter) else self._own.get(k, p)).requires_grad
        ]
        names += self.inputs
        return names if self._adapt is None else [k for k in matching(self._known, self._adapt) if k in names]

    def known_engine(self) -> str:
        """The engine asked for; of "auto" what is known without data: "loop" where torch has no batching rule."""
        if self.engine != "auto":
            return self.engine
        return "batched" if unvectorised(self.network) is None else "loop"

    def mixes(self, examples: Examples) -> bool:
        """Whether the network's output at a point depends on the other points; tried once in each mode."""
        mode = self.network.training
        if mode not in self._mixing:
            extra = {k: v.detach() for k, v in self.inputs.items()}
            found = mixes_points(self.network, examples, extra)
            if found is None:
                return True
            self._mixing[mode] = found
        return self._mixing[mode]

    def plan(self, data: Any, num_tasks: int, steps: int, outer: Any = None) -> Plan:
        """How passes over `data` run: made at the first call for its shapes, and kept.

        Inside transforms and compilers nothing can be tried; there a plan that was not made before is the simplest.
        """
        tensors = [t for t in tree_leaves(data) if isinstance(t, Tensor)]
        shapes = tuple((t.dtype, tuple(t.shape)) for t in tensors)
        key = (num_tasks, steps, self.network.training, is_for_graph(), tuple(self.adapted_names()), shapes)
        if key in self.plans:
            return self.plans[key]
        if in_transform() or not all(values_are_readable(t) for t in tensors):
            return self._simplest(num_tasks)
        with prepared():
            found = self._make_plan(data, num_tasks, steps, outer)
        self.plans[key] = found
        return found

    def tasks_at_once(self, tasks: Tasks) -> int | None:
        """How many tasks a compiled pass over such `tasks` should take; None for all of them."""
        support = tasks.support
        if not support.num_points:
            return None
        plan = self.plan(self._first(support.clean()), tasks.num_tasks, self.steps)
        if not plan.vectorised:
            return None
        return cost.tasks_at_once(plan.calls, tasks.num_tasks, tasks.query.num_points / support.num_points)

    def evaluate(
        self, plan: Plan, state: State, function: Callable[..., Tensor], data: Any, outer: Any
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """`function(model, data, outer)` of every task as it stands, and the buffers that it left."""
        with prepared():
            ready = Pass(self, plan, state, function, data, outer)
            value, _, buffers = ready([], ready.rest)
        return value, buffers

    @contextmanager
    def replaying(self, parts: int) -> Iterator[Callable[[], None]]:
        """A function to call before each part, so that all of them draw the same random numbers, if they should."""
        if self.randomness == "different" or parts == 1:
            yield lambda: None
            return
        state = torch.get_rng_state()
        yield lambda: torch.set_rng_state(state)

    def _groups(self, support: Examples) -> Groups:
        support = without_trivial_mask(support)
        if support.mask is None or not values_are_readable(support.x) or not self.mixes(support):
            return [(None, support.clean())]
        return [(index, examples) for index, (examples,) in by_size(support)]

    def _begin(
        self, num_tasks: int, groups: Groups, steps: int, outer: Any, create_graph: bool
    ) -> tuple[tuple[Part, ...], list[Any]]:
        parts, shares = [], []
        for index, share in groups:
            count = num_tasks if index is None else len(index)
            moves = steps > 0 and share is not None and share.num_points > 0
            plan = self.plan(self._first(share), count, steps, outer) if moves else self._simplest(count)
            if plan.vectorised or count == 1:
                parts.append(Part(index, count, plan, self._start(count, create_graph)))
                shares.append(share)
                continue
            for i in range(count):
                one = torch.tensor([i]) if index is None else index[i : i + 1]
                parts.append(Part(one, 1, plan, self._start(1, create_graph)))
                shares.append(None if share is None else share.select(i))
        return tuple(parts), shares

    def _first(self, share: Examples) -> Examples:
        """Points as a step sees them: as many as in a minibatch."""
        return share if self.minibatch is None else minibatches(share, self.minibatch)(0, None)

    def _replan(self, adapted: Adapted, first: Any, steps: int, create_graph: bool) -> Adapted:
        """The parts again, now that the first data have been seen."""
        plan = self.plan(_clean(first), adapted.num_tasks, steps, adapted.outer)
        if not plan.vectorised and len(adapted.parts) == 1 and adapted.num_tasks > 1:
            alone = [Part(torch.tensor([i]), 1, plan, self._start(1, create_graph)) for i in range(adapted.num_tasks)]
            return Adapted(self, tuple(alone), adapted.num_tasks, adapted.outer)
        return Adapted(self, tuple(p._replace(plan=plan) for p in adapted.parts), adapted.num_tasks, adapted.outer)

    def _start(self, count: int, create_graph: bool) -> State:
        shared: dict[str, Tensor] = dict(self.network.named_parameters())
        moved: dict[str, Any] = {k: v.expand(count, *v.shape) for k, v in self.inputs.items()}
        if not create_graph:
            shared, moved = _detached(shared), _detached(moved)
        buffers = dict(self.network.named_buffers())
        if self.network.training:  # the network's own may be written into before the way back
            buffers = {k: b.clone() for k, b in buffers.items()}
        buffers = {k: b.expand(count, *b.shape) for k, b in buffers.items()}
        return State(shared, moved, buffers, {})

    def _source(self, batch: Batch | None, shares: list[Any], generator: torch.Generator | None) -> Source:
        """`(step, adapted) -> the data of every part`."""
        if batch is not None:
            ask = batch

            def dealt(step: int, adapted: Adapted) -> list[Any]:
                data = ask(step, adapted)
                return [self._whole(_clean(part.take(data))) for part in adapted.parts]

            return dealt
        if self.minibatch is None:
            return lambda step, adapted: shares
        size = self.minibatch
        draws = [
            minibatches(share, size, generator) if share.num_points else lambda s, a, e=share: e for share in shares
        ]
        return lambda step, adapted: [draw(step, adapted) for draw in draws]

    def _whole(self, data: Any) -> Any:
        """The data of a step, unless they are padded and the network would mix the padding in."""
        masked = isinstance(data, Examples) and data.mask is not None and values_are_readable(data.x)
        if masked and self.mixes(data):
            raise ValueError(
                "batch= gave masked points to a network that mixes points; give as many real ones for every task"
            )
        return data

    def _unroll(self, adapted: Adapted, source: Source, steps: int, create_graph: bool, fixed: Any) -> Adapted:
        start = adapted
        graph = create_graph and self.implicit is None
        length = segment(self.checkpoint, steps) if graph else None
        if length is not None and in_transform():
            warnings.warn("checkpoints are left out inside torch.func transforms", RuntimeWarning, stacklevel=4)
            length = None
        if self.implicit is not None and create_graph:
            detached = [p._replace(state=_constant(p.state)) for p in adapted.parts]
            adapted = Adapted(self, tuple(detached), adapted.num_tasks, _detached(adapted.outer))

        def advance(parts: tuple[Part, ...], first: int, last: int, graph: bool) -> tuple[Part, ...]:
            with prepared():
                for step in range(first, last):
                    second = graph and not self.first_order
                    second = second and (self.truncate is None or step >= steps - self.truncate)
                    now = Adapted(self, parts, adapted.num_tasks, adapted.outer)
                    parts = self._advance(now, start, source(step, now), step, second)
            return parts

        parts = adapted.parts
        for first in range(0, steps, length or max(steps, 1)):
            last = min(steps, first + (length or steps))
            if length is None:
                parts = advance(parts, first, last, graph)
                continue

            def run(states: list[State], graph: bool, parts: Any = parts, first: int = first, last: int = last) -> Any:
                states = [s._replace(buffers=_detached(s.buffers)) for s in states]
                given = tuple(p._replace(state=s) for p, s in zip(parts, states, strict=True))
                return [p.state for p in advance(given, first, last, graph)]

            states = run_again(run, [p.state for p in parts], self._read_besides(start, fixed))
            states = [s._replace(buffers=_detached(s.buffers)) for s in states]  # never differentiable
            parts = tuple(p._replace(state=s) for p, s in zip(parts, states, strict=True))
        adapted = Adapted(self, parts, adapted.num_tasks, adapted.outer)
        if self.implicit is not None and create_graph:
            if not steps:
                return start
            shares = source(steps - 1, adapted)
            return self._attach(adapted, start, shares)
        return adapted

    def _advance(
        self, adapted: Adapted, start: Adapted, shares: list[Any], step: int, second: bool
    ) -> tuple[Part, ...]:
        parts = []
        with self.replaying(len(adapted.parts)) as again:
            for part, origin, share in zip(adapted.parts, start.parts, shares, strict=True):
                again()
                if isinstance(share, Examples) and share.num_points == 0:
                    parts.append(part)
                    continue
                state = self._step(part, origin.state, share, adapted.outer, step, second)
                parts.append(part._replace(state=state))
        return tuple(parts)

    def _read_besides(self, start: Adapted, fixed: Any) -> list[Tensor]:
        """Tensors with a graph that a segment reads besides the state: rates, the loss's own, outer, data."""
        judge = list(judge_parameters(self.loss, self.objective).values())
        found = [*self.rule.parameters(), *tree_leaves(getattr(self.rule, "lr", None)), *judge]
        found += tree_leaves(start.outer)
        if self.proximal:
            found += tree_leaves([p.state for p in start.parts])
        found += tree_leaves(fixed)
        wanted = [t for t in found if _has_graph(t)]
        return list({id(t): t for t in wanted}.values())

    def _step(self, part: Part, origin: State, data: Any, outer: Any, step: int, second: bool) -> State:
        """One step of every task of a part."""
        plan, state = part.plan, part.state
        names = [k for k in self.adapted_names() if plan.reached is None or k in plan.reached]
        calls = [c for c in plan.calls if c.weight in names and (c.weight in state.shared or c.weight in plan.lowrank)]
        judged = Pass(self, plan, state, self.objective or self.point_loss, data, outer, names, calls, part.size)

        def total(leaves: list[Tensor], rest: Any) -> Any:
            value, seen, buffers = judged(leaves, rest)
            return value.sum(), (seen, list(buffers.values()))

        grads, seen, left = gradients(total, judged.leaves, judged.rest, second_order=second, mixed=self.mixed_mode)
        found = self._by_name(plan, calls, names, grads, seen, step)
        shared, moved, slots = dict(state.shared), dict(state.moved), dict(state.slots)
        for name, gradient in found.items():
            value: Any = moved[name] if name in moved else shared.pop(name)
            began: Any = origin.moved[name] if name in origin.moved else origin.shared[name]
            if isinstance(gradient, LowRank):
                value = value if isinstance(value, LowRank) else LowRank(value)
                began = LowRank(began)
            if self.proximal:
                gradient = gradient + (value - began) * self.proximal
            moved[name], slots[name] = self.rule.update(name, step, value, gradient, slots.get(name))
        return State(shared, moved, dict(zip(state.buffers, left, strict=True)) if left else state.buffers, slots)

    def _by_name(
        self,
        plan: Plan,
        calls: list[Call],
        names: list[str],
        grads: list[Tensor | None],
        seen: list[Tensor],
        step: int,
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

    def _attach(self, adapted: Adapted, start: Adapted, shares: list[Any]) -> Adapted:
        """The solution with its implicit gradient, to where it began and to all else that the loss reads."""
        assert self.implicit is not None
        parts = []
        for part, origin, share in zip(adapted.parts, start.parts, shares, strict=True):
            adapted_here = set(self.adapted_names())
            solved: dict[str, Any] = {
                k: v.dense() if isinstance(v, LowRank) else v for k, v in part.state.moved.items() if k in adapted_here
            }
            if not solved or (isinstance(share, Examples) and share.num_points == 0):
                parts.append(part._replace(state=origin.state))
                continue
            others = {k: v for k, v in origin.state.moved.items() if k not in solved}
            kept = {k: v for k, v in origin.state.shared.items() if k not in solved}
            began = {
                **{k: v.expand(part.size, *v.shape) for k, v in origin.state.shared.items()},
                **origin.state.moved,
            }
            names = list(solved)
            state = State(kept, {**others, **solved}, part.state.buffers, {})
            judged = Pass(
                self, part.plan, state, self.objective or self.point_loss, share, start.outer, names, [], part.size
            )
            start_weights = [began[k] for k in names]
            decay = getattr(self.rule, "weight_decay", 0.0)  # a part of the problem that was solved, as damping is
            how = replace(self.implicit, damping=self.implicit.damping + decay)
            options = {"how": how, "proximal": self.proximal}
            found = attach(judged, list(solved.values()), start_weights, **options)  # type: ignore[arg-type]
            moved = {**others, **dict(zip(names, found, strict=True))}
            parts.append(part._replace(state=state._replace(moved=moved)))
        return Adapted(self, tuple(parts), adapted.num_tasks, start.outer)

    def _simplest(self, count: int) -> Plan:
        reason = unvectorised(self.network)
        alone = self.engine == "loop" or (self.engine == "auto" and (count == 1 or reason is not None))
        return Plan(not alone)

    def _make_plan(self, data: Any, num_tasks: int, steps: int, outer: Any) -> Plan:
        params = {**dict(self.network.named_parameters()), **self.inputs}
        buffers = dict(self.network.named_buffers())
        judge = _detached(judge_parameters(self.loss, self.objective))
        fixed, function = _detached(outer), self.objective or self.point_loss

        def run(params: dict[str, Tensor], buffers: dict[str, Tensor], data: Any) -> Tensor:
            with reparametrised(self.loss, self.objective, judge):
                return function(model_of(self, params, buffers), data, fixed)

        tried = try_pass(run, params, buffers, _detached(data), self.adapted_names())
        if tried.hidden and (self.mixed_mode or self.implicit is not None or self.checkpoint is not None):
            raise ValueError(
                "the loss depends on tensors that require grad and that the inner loop was not given; mixed_mode, "
                "checkpoint and implicit cannot see them: pass them as outer=, the objective's third argument"
            )
        if self.engine == "loop" or not self._simplest(num_tasks).vectorised:
            why = unvectorised(self.network) or (
                "there is one task" if num_tasks == 1 else "engine='loop' was asked for"
            )
            return replace(tried, vectorised=False, calls=(), reasons=(why,))
        if self.engine == "auto" and (trouble := try_vmap(run, params, buffers, data)) is not None:
            warnings.warn(
                f"tasks run one by one: {trouble}. engine='loop' says so itself", RuntimeWarning, stacklevel=2
            )
            return replace(tried, vectorised=False, calls=(), reasons=(trouble,))
        possible = self.rule.linear and one_rate(self.rule.lr) and self.engine in ("auto", "lowrank")
        lowrank = (
            cost.lowrank_layers(tried.calls, steps, num_tasks, forced=self.engine == "lowrank") if possible else []
        )
        return replace(tried, lowrank=frozenset(lowrank))


def inner_loop(network: nn.Module, **options: Any) -> InnerLoop:
    """An inner loop over `network`: theta' = rule(theta, grad L(theta; data)), `steps` times, for all tasks at once.

    The meta-gradient is exact whatever the engine: `loop` (one task after another), `batched` (stacked parameters),
    `lowrank` (linear layers' fast weights as sums of outer products), or `auto`, which picks for each layer.

    Args:
        network: any module.
        loss: `(output [N, do], y) -> [N]`; squared error or cross-entropy by default. A module's parameters take part.
        objective: `(model, batch of one task, outer) -> scalar`, in place of `loss`, for any other data.
        lr, rule: a rate for plain gradient descent, or one of `quickstudy.optimizers`.
        steps: how many.
        adapt: patterns for the names of what moves; by default every parameter with `requires_grad`, and all inputs.
        inputs: `{name: tensor}`: more inputs of the network, `network(x, name=...)`, adapted by every task.
        minibatch: points of the support set used in a step; all by default.
        engine: as above.
        first_order: inner gradients count as constants.
        checkpoint: "every" step, "sqrt" (segments of sqrt(steps)) or a number of steps: rerun on the way back instead
            of kept.
        mixed_mode: forward over reverse: no tape of the inner backward pass is kept.
        truncate: all but so many last steps are first order.
        implicit: differentiate the solution instead of the steps; see `Implicit`.
        proximal: lambda of a term `lambda/2 |theta' - theta|^2` in the inner loss.
        randomness: every task its "different" dropout masks, or the "same".

    >>> import quickstudy as qs
    >>> tasks = qs.tasks.Sinusoid().sample(4, support=10, query=10)
    >>> loop = inner_loop(qs.nets.MLP(1, [8], 1), lr=0.01, steps=3)
    >>> loop(tasks.support).losses(tasks.query).mean().backward()
    """
    return InnerLoop(network, **options)


class Plans(dict[Any, Plan]):
    """An inner loop's plans, by the shapes of its data. A copy of the loop makes its own."""

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return Plans, ()


def _has_graph(value: Any) -> bool:
    return isinstance(value, Tensor) and value.requires_grad


def _clean(data: Any) -> Any:
    return without_trivial_mask(data).clean() if isinstance(data, Examples) else data


def _detached(tree: Any) -> Any:
    return tree_map(lambda t: t.detach() if isinstance(t, Tensor) else t, tree)


def _constant(state: State) -> State:
    return State(*(_detached(field) for field in state))
