"""`inner_loop`: adapts a network to many tasks, by any of several engines that give the same numbers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from quickstudy.checks import check_layout, values_are_readable
from quickstudy.data import Examples, Tasks
from quickstudy.inner.adapted import Adapted
from quickstudy.inner.choosing import Choice, Wanted
from quickstudy.inner.fast import cost
from quickstudy.inner.fast.implicit import Implicit
from quickstudy.inner.fast.plan import Plan
from quickstudy.inner.fast.vectorise import unvectorised
from quickstudy.inner.modules.purity import replaying
from quickstudy.inner.modules.support import needs_support
from quickstudy.inner.optimizers import Rule
from quickstudy.inner.options import Engine, check_problem, check_settings, rule_of
from quickstudy.inner.points import check_batch, minibatches, real_points, usable, without_trivial_mask
from quickstudy.inner.problem import Problem, Randomness, matching
from quickstudy.inner.rates import Rated
from quickstudy.inner.trees import detached
from quickstudy.inner.trust import Trust
from quickstudy.inner.unroll import Each, Source, Unrolling, unroll
from quickstudy.learner import check_generator, check_steps
from quickstudy.likelihoods import default_loss

Batch = Callable[[int, Adapted], Any]


class InnerLoop:
    """Adapts a network to many tasks at once, differentiably; made by `inner_loop`.

    Args:
        problem: the inner problem.
        how: the options for differentiating steps.
        steps: number of steps; a call can take another number.
        minibatch: number of points used in a step; None for all.
        engine: "auto", "loop", "batched" or "lowrank".
        verify: check first that the engine agrees with plain PyTorch.
    """

    def __init__(
        self, problem: Problem, how: Unrolling, *, steps: int, minibatch: int | None, engine: Engine, verify: bool
    ):
        self.problem, self.how, self.steps, self.minibatch = problem, how, steps, minibatch
        self.engine, self.verify = engine, verify
        self.choice = Choice(problem, engine, how, Trust(engine, verify))

    @property
    def network(self) -> nn.Module:
        """The network that adapts."""
        return self.problem.network

    @property
    def rule(self) -> Any:
        """The update rule."""
        return self.problem.rule

    @property
    def loss(self) -> Callable[..., Tensor]:
        """The loss of points, which also is the loss of steps unless `inner_loss` or `objective` is given."""
        return self.problem.loss

    @property
    def objective(self) -> Callable[..., Any] | None:
        """The objective of the steps, if it is not a loss of points."""
        return self.problem.objective

    @property
    def inputs(self) -> Any:
        """Extra inputs of the network, which adapt."""
        return self.problem.inputs

    @property
    def first_order(self) -> bool:
        """Whether inner gradients count as constants."""
        return self.how.first_order

    @property
    def implicit(self) -> Implicit | None:
        """The options of implicit differentiation; None if the steps are differentiated."""
        return self.how.implicit

    @property
    def randomness(self) -> Randomness:
        """Whether tasks draw "different" random numbers or the "same"."""
        return self.problem.randomness

    @property
    def proximal(self) -> float:
        """Strength of the penalty on the distance from the initial weights."""
        return self.problem.proximal

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
            support: the points of `T` tasks. Every step uses all of them, or a minibatch. Padding has no influence;
                a network that mixes points gets tasks in groups of equal size, without padding.
            batch: takes the place of `support`: `(step, adapted so far) -> data of the step`, which are `Examples`, or
                with an `objective` any tree of tensors `[T, ...]`. With checkpoints it is called twice for a step.
            num_tasks: `T`, needed with `batch`.
            steps: number of steps; by default that of the loop.
            outer: tensors, shared by all tasks, that the objective gets besides the batch.
            create_graph: keep the graph back to the initial parameters; without it all gradients are constants.
            generator: shuffles minibatches.
            each: called with the `Adapted` after every step; if it returns an `Adapted`, the loop continues from that.
                It cannot be combined with checkpoints or an implicit gradient.
        """
        steps = self.steps if steps is None else check_steps(steps)
        if each is not None and (self.how.checkpoint is not None or self.how.implicit is not None):
            raise ValueError("each= needs every step, which checkpoint= and implicit= do not keep; leave them out")
        check_generator(generator)
        if (support is None) == (batch is None):
            raise ValueError("give the inner loop either support points or batch=, a function of the step")
        if support is not None:
            check_layout(support, "support")
        if batch is not None and num_tasks is None:
            raise ValueError("batch= needs the number of tasks; give num_tasks=")
        if torch.is_inference_mode_enabled():  # in which torch computes no gradient, not even an inner one
            with torch.inference_mode(False), torch.no_grad():
                given: Any = {"batch": batch, "num_tasks": num_tasks, "outer": outer, "generator": generator}
                return self(support, steps=steps, create_graph=False, each=each, **given)
        support, outer = usable(support), None if outer is None else usable(outer)
        if support is not None and support.num_points == 0:
            steps = 0
        wanted = Wanted(steps, outer if create_graph or outer is None else detached(outer), create_graph)
        if support is not None:
            start, source, fixed = self._on_points(support, wanted, generator)
        else:
            assert batch is not None and num_tasks is not None
            start, source, fixed = self._on_batches(batch, num_tasks, wanted)
        return unroll(start, source, steps, self.how, create_graph=create_graph, fixed=fixed, each=each)

    def point_loss(self, model: Callable[..., Any], examples: Examples, outer: Any = None) -> Tensor:
        """The mean loss over one task's real points."""
        return self.problem.point_loss(model, examples, outer)

    def adapted_names(self) -> list[str]:
        """The names of the parameters and extra inputs that adapt."""
        return self.problem.adapted_names()

    def known_engine(self) -> str:
        """The engine as far as it is known without data: "auto" gives "loop" if torch has no batching rule."""
        if self.engine != "auto":
            return self.engine
        return "batched" if unvectorised(self.network) is None else "loop"

    def verify_again(self) -> None:
        """Make the next call check again that the engine agrees with plain PyTorch."""
        self.choice.trust.again = self.verify

    def plan(self, data: Any, num_tasks: int, steps: int, outer: Any = None) -> Plan:
        """The plan for passes over `data`."""
        return self.choice.plan(data, num_tasks, steps, outer)

    def first_points(self, share: Examples) -> Examples:
        """The points of the first step: all of them, or a minibatch."""
        if self.minibatch is None or not share.num_points:
            return share
        return minibatches(share, self.minibatch)(0, None)

    def tasks_at_once(self, tasks: Tasks) -> int | None:
        """The number of tasks for one compiled pass over `tasks`; None for all of them."""
        support = tasks.support
        if not support.num_points:
            return None
        plan = self.plan(self.first_points(support.clean()), tasks.num_tasks, self.steps)
        if not plan.vectorised:
            return None
        return cost.tasks_at_once(plan.calls, tasks.num_tasks, tasks.query.num_points / support.num_points)

    @contextmanager
    def replaying(self, parts: int) -> Iterator[Callable[[], None]]:
        """Gives a function to call before each part; if tasks share random numbers, it resets torch's generators."""
        with replaying(self.problem.randomness, parts) as again:
            yield again

    def _on_points(
        self, support: Examples, wanted: Wanted, generator: torch.Generator | None
    ) -> tuple[Adapted, Source, Any]:
        """The tasks before the first step, the data of every step, and the data as a tree."""
        support = without_trivial_mask(support)
        parts, shares, again = [], [], needs_support(self.network)
        for places, group in self.choice.groups(support) if wanted.steps or again else [(None, support.clean())]:
            new = self.choice.begin(places, group.num_tasks, self.first_points(group), wanted)
            own = [group] if len(new) == 1 else [group.select(i) for i in range(group.num_tasks)]
            parts += [p._replace(support=real_points(s) if again else None) for p, s in zip(new, own, strict=True)]
            shares += own
        start = self._start(tuple(parts), support.num_tasks, wanted)
        if self.minibatch is None:
            return start, lambda step, adapted: shares, shares
        size = self.minibatch
        draws = [
            minibatches(share, size, generator) if share.num_points else lambda s, a, e=share: e for share in shares
        ]
        return start, lambda step, adapted: [draw(step, adapted) for draw in draws], shares

    def _on_batches(self, batch: Batch, num_tasks: int, wanted: Wanted) -> tuple[Adapted, Source, Any]:
        """The same with data from `batch`; the last entry is None, since the data can differ between steps."""
        if needs_support(self.network):
            raise ValueError(
                "the network has layers that use each task's support set, as TaskNorm does, and with batch= there is "
                "none; give the inner loop support points, or use other layers"
            )
        before = self._start((self.choice.without_steps(None, num_tasks, wanted),), num_tasks, wanted)
        if not wanted.steps:
            return before, lambda step, adapted: [], None
        first = _clean(usable(batch(0, before)))
        check_batch(first, num_tasks)
        self._whole(first)
        if self.how.checkpoint is not None and any(_has_graph(t) for t in tree_leaves(first)):
            raise ValueError("with checkpoint=, data from batch= cannot carry a graph; pass such tensors as outer=")
        parts = self.choice.begin(None, num_tasks, first, wanted)
        held = [first]  # used for the first step, once; a segment that runs again calls batch again

        def source(step: int, adapted: Adapted) -> list[Any]:
            data = held.pop() if held and step == 0 else _clean(usable(batch(step, adapted)))
            check_batch(data, num_tasks)
            return [self._whole(part.take(data)) for part in adapted.parts]

        return self._start(tuple(parts), num_tasks, wanted), source, None

    def _start(self, parts: Any, num_tasks: int, wanted: Wanted) -> Adapted:
        return Adapted(self.problem, parts, num_tasks, self.choice.mixing, wanted.outer)

    def _whole(self, data: Any) -> Any:
        """`data`, or ValueError if they are padded and the network or the loss mixes points."""
        masked = isinstance(data, Examples) and data.mask is not None and values_are_readable(data.x)
        if masked and not self.choice.plainly and self.choice.mixing(self.problem, data):
            raise ValueError(
                "batch= gave masked points to a network, or a loss, that mixes points; give every task the same number "
                "of points, without a mask"
            )
        return data


def inner_loop(
    network: nn.Module,
    *,
    loss: Callable[[Tensor, Tensor], Tensor] | None = None,
    inner_loss: Callable[[Tensor, Tensor], Tensor] | None = None,
    objective: Callable[..., Any] | None = None,
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
    verify: bool = True,
) -> InnerLoop:
    """An inner loop over `network`: theta' = rule(theta, grad L(theta; data)), `steps` times, for all tasks at once.

    Every engine computes the exact meta-gradient: `loop` (one task after another, in plain PyTorch), `batched`
    (parameters stacked over tasks), `lowrank` (the change of linear layers' weights as sums of outer products), or
    `auto`, which chooses for each layer.

    Args:
        network: any module.
        loss: `(output [N, do], y) -> [N]`; by default squared error, or cross-entropy for integer y. It can be a module
            with parameters of its own.
        inner_loss: the loss of the inner steps, if it is not `loss`, which then applies to query points only.
        objective: `(model, batch of one task, outer) -> scalar`, in place of `loss`, for data other than `Examples`. It
            can also return a tuple whose first entry is the scalar.
        lr, rule: a rate for gradient descent, or another rule from `quickstudy.optimizers`.
        steps: number of inner steps; a call can take another number.
        adapt: patterns for the names of the parameters that adapt; by default all with `requires_grad`, and all inputs.
        inputs: `{name: tensor}`: extra inputs of the network, `network(x, name=...)`, which adapt to each task.
        minibatch: number of support points used in a step; all by default.
        engine: "auto", "loop", "batched" or "lowrank", see above.
        first_order: treat inner gradients as constants.
        checkpoint: keep only some states in memory, and run the steps between them again in the backward pass: "every"
            step, "sqrt" (segments of sqrt(steps)), or the number of steps in a segment.
        mixed_mode: combine forward and reverse mode, so that no graph of the inner backward pass is kept in memory.
        truncate: number of last steps with second derivatives; earlier steps are first order.
        implicit: differentiate the solution instead of the steps; see `Implicit`.
        proximal: lambda of a penalty `lambda/2 |theta' - theta|^2` in the inner loss.
        randomness: whether tasks draw "different" dropout masks or the "same".
        verify: for each layout of the data, check first on two tasks that the engine gives the same adapted parameters
            and meta-gradient as plain PyTorch. If not, "auto" warns and uses the loop, and other engines raise.

    >>> import quickstudy as qs
    >>> tasks = qs.tasks.Sinusoid().sample(4, support=10, query=10)
    >>> loop = inner_loop(qs.nets.MLP(1, [8], 1), lr=0.01, steps=3)
    >>> loop(tasks.support).losses(tasks.query).mean().backward()
    """
    moving = rule_of(lr, rule)
    check_problem(
        network, loss=loss, inner_loss=inner_loss, objective=objective, inputs=inputs, rule=moving, engine=engine
    )
    how = Unrolling(first_order, checkpoint, mixed_mode, truncate, implicit)
    check_settings(
        engine=engine,
        randomness=randomness,
        minibatch=minibatch,
        proximal=proximal,
        verify=verify,
        how=how,
        network=network,
    )
    known = dict(network.named_parameters())
    given: Any = inputs if isinstance(inputs, nn.ParameterDict) else dict(inputs or {})
    if adapt is not None:
        matching([*known, *given], adapt)
    problem = Problem(
        network,
        loss or default_loss,
        moving,
        inner_loss=inner_loss,
        objective=objective,
        adapt=adapt,
        inputs=given,
        proximal=proximal,
        randomness=randomness,
        known=known,
    )
    return InnerLoop(problem, how, steps=check_steps(steps), minibatch=minibatch, engine=engine, verify=verify)


def _has_graph(value: Any) -> bool:
    return isinstance(value, Tensor) and value.requires_grad


def _clean(data: Any) -> Any:
    return without_trivial_mask(data).clean() if isinstance(data, Examples) else data
