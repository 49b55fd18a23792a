"""`inner_loop`: what is adapted, by which rule, how often, on which data. One definition; the engines agree on it."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from quickstudy.checks import check_layout, values_are_readable
from quickstudy.data import Examples, Tasks
from quickstudy.graph import is_for_graph
from quickstudy.inner.adapted import Adapted, Part, State
from quickstudy.inner.fast import cost
from quickstudy.inner.fast.checkpoints import run_again, segment
from quickstudy.inner.fast.engines import Engine, Randomness, in_transform, prepared, unvectorised
from quickstudy.inner.fast.implicit import Implicit
from quickstudy.inner.fast.passes import Pass, in_modes, judge_parameters, modes, reparametrised
from quickstudy.inner.fast.plan import Plan
from quickstudy.inner.fast.planning import Plans, make_plan, simplest_plan
from quickstudy.inner.fast.solution import with_implicit_gradient
from quickstudy.inner.fast.step import take_step
from quickstudy.inner.optimizers import Rule
from quickstudy.inner.options import check_options, matching
from quickstudy.inner.parts import Groups, deal, dealt_again, first_points, size_groups
from quickstudy.inner.points import mean_loss, minibatches, mixes_points, without_trivial_mask
from quickstudy.inner.rates import Rated
from quickstudy.learner import check_generator, check_steps
from quickstudy.likelihoods import default_loss
from quickstudy.substitute import substituted

Batch = Callable[[int, Adapted], Any]
Source = Callable[[int, Adapted], list[Any]]
Each = Callable[[Adapted], Adapted | None]


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
        self.rule: Any = check_options(locals())
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
        each: Each | None = None,
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
            each: is shown the networks after every step; what it returns, if anything, is gone on from. Not with
                checkpoints, nor with an implicit gradient.
        """
        steps = self.steps if steps is None else check_steps(steps)
        if each is not None and (self.checkpoint is not None or self.implicit is not None):
            raise ValueError("each= sees every step, which checkpoint= and implicit= do not keep; leave them out")
        check_generator(generator)
        if (support is None) == (batch is None):
            raise ValueError("give the inner loop either support points or batch=, a function of the step")
        if support is not None:
            check_layout(support, "support")
        if batch is not None and num_tasks is None:
            raise ValueError("with batch=, say how many tasks there are: num_tasks=")
        with ExitStack() as stack:
            if torch.is_inference_mode_enabled():  # where torch takes no gradient, not even an inner one
                stack.enter_context(torch.inference_mode(False))
                stack.enter_context(torch.no_grad())
                support = tree_map(lambda t: t.clone() if isinstance(t, Tensor) else t, support)
                create_graph = False
            stack.enter_context(prepared())
            if support is not None and support.num_points == 0:
                steps = 0  # none is taken
            outer = outer if create_graph else _detached(outer)
            return self._run(support, batch, num_tasks, steps, outer, create_graph, generator, each)

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
            return simplest_plan(self, num_tasks)
        with prepared():
            self.plans[key] = make_plan(self, data, num_tasks, steps, outer)
        return self.plans[key]

    def tasks_at_once(self, tasks: Tasks) -> int | None:
        """How many tasks a compiled pass over such `tasks` should take; None for all of them."""
        support = tasks.support
        if not support.num_points:
            return None
        plan = self.plan(first_points(self, support.clean()), tasks.num_tasks, self.steps)
        if not plan.vectorised:
            return None
        return cost.tasks_at_once(plan.calls, tasks.num_tasks, tasks.query.num_points / support.num_points)

    def evaluate(
        self, plan: Plan, state: State, function: Callable[..., Tensor], data: Any, outer: Any, step: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """`function(model, data, outer)` of every task as it stands after `step` steps, and the buffers it left."""
        with prepared():
            ready = Pass(self, plan, state, function, data, outer, step)
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

    def _run(
        self,
        support: Examples | None,
        batch: Batch | None,
        num_tasks: int | None,
        steps: int,
        outer: Any,
        create_graph: bool,
        generator: torch.Generator | None,
        each: Each | None,
    ) -> Adapted:
        """`__call__`, on arguments that were checked."""
        groups: Groups = [(None, None)]
        if support is not None:
            num_tasks, groups = support.num_tasks, size_groups(self, support)
        assert num_tasks is not None
        parts, shares = deal(self, num_tasks, groups, steps, outer, create_graph)
        adapted, ask = Adapted(self, parts, num_tasks, outer), batch
        if ask is not None and steps:
            first = ask(0, adapted)
            if self.checkpoint is not None and any(_has_graph(t) for t in tree_leaves(first)):
                raise ValueError("with checkpoint=, data from batch= cannot carry a graph: hand tensors on as outer=")
            adapted = dealt_again(self, adapted, _clean(first), steps, create_graph)
            if self.implicit is None:  # whose steps see data without a graph
                batch = lambda step, adapted: ask(step, adapted) if step else first  # noqa: E731
        source = self._source(batch, shares, generator)
        return self._unroll(adapted, source, steps, create_graph, None if batch is not None else shares, each)

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

    def _unroll(
        self, start: Adapted, source: Source, steps: int, create_graph: bool, fixed: Any, each: Each | None
    ) -> Adapted:
        adapted = start
        if self.implicit is not None and create_graph:
            if not steps:
                return start
            detached = [p._replace(state=_constant(p.state)) for p in start.parts]
            adapted = Adapted(self, tuple(detached), start.num_tasks, _detached(start.outer))
        graph = create_graph and self.implicit is None
        length = segment(self.checkpoint, steps) if graph else None
        if (length is not None or (self.mixed_mode and graph)) and in_transform():
            warnings.warn(
                "checkpoints and mixed_mode are left out inside torch.func transforms: same gradient, more memory",
                RuntimeWarning,
                stacklevel=5,
            )
            length = None

        def advance(parts: tuple[Part, ...], first: int, last: int, graph: bool) -> tuple[Part, ...]:
            for step in range(first, last):
                second = graph and not self.first_order
                second = second and (self.truncate is None or step >= steps - self.truncate)
                now = Adapted(self, parts, adapted.num_tasks, adapted.outer, step)
                parts = self._advance(now, start, source(step, now), step, second)
                if each is not None:
                    after = Adapted(self, parts, adapted.num_tasks, adapted.outer, step + 1)
                    parts = (each(after) or after).parts
            return parts

        if length is None:
            parts = advance(adapted.parts, 0, steps, graph)
        else:
            parts = self._in_segments(adapted.parts, advance, steps, length, self._read_besides(start, fixed))
        adapted = Adapted(self, parts, adapted.num_tasks, adapted.outer, steps)
        if self.implicit is not None and create_graph:
            return with_implicit_gradient(self, adapted, start, source(steps - 1, adapted))
        return adapted

    def _in_segments(
        self, parts: tuple[Part, ...], advance: Callable[..., Any], steps: int, length: int, besides: list[Tensor]
    ) -> tuple[Part, ...]:
        """`advance` from step 0 to `steps`, `length` of them at a time, each segment run again on the way back."""
        mode, rates = modes(self.network), _named_parameters(self.rule)
        judge = judge_parameters(self.loss, self.objective)
        for first in range(0, steps, length):
            last = min(steps, first + length)

            def run(states: list[State], graph: bool, parts: Any = parts, first: int = first, last: int = last) -> Any:
                states = [s._replace(buffers=_detached(s.buffers)) for s in states]
                given = tuple(p._replace(state=s) for p, s in zip(parts, states, strict=True))
                with ExitStack() as stack:  # all as it stands now, whenever that is
                    stack.enter_context(prepared())
                    stack.enter_context(in_modes(self.network, mode))
                    stack.enter_context(reparametrised(self.loss, self.objective, judge))
                    if rates:
                        stack.enter_context(substituted(self.rule, rates))
                    return [p.state for p in advance(given, first, last, graph)]

            states = run_again(run, [p.state for p in parts], besides)
            states = [s._replace(buffers=_detached(s.buffers)) for s in states]  # never differentiable
            parts = tuple(p._replace(state=s) for p, s in zip(parts, states, strict=True))
        return parts

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
                state = take_step(self, part, origin.state, share, adapted.outer, step, second_order=second)
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
        mixed_mode: forward and reverse mode mixed, so that no tape of the inner backward pass is kept.
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


def _named_parameters(rule: Any) -> dict[str, Tensor]:
    return dict(rule.named_parameters()) if isinstance(rule, nn.Module) else {}


def _has_graph(value: Any) -> bool:
    return isinstance(value, Tensor) and value.requires_grad


def _clean(data: Any) -> Any:
    return without_trivial_mask(data).clean() if isinstance(data, Examples) else data


def _detached(tree: Any) -> Any:
    return tree_map(lambda t: t.detach() if isinstance(t, Tensor) else t, tree)


def _constant(state: State) -> State:
    return State(*(_detached(field) for field in state))
