"""Chooses how the tasks of a batch run: which tasks together, on which engine, after which verification."""

from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from quickstudy.checks import values_are_readable
from quickstudy.data import Examples, by_size
from quickstudy.inner.evidence import STEPS, evidence, rounded, two_of
from quickstudy.inner.fast import cost
from quickstudy.inner.fast.engine import Fast
from quickstudy.inner.fast.plan import Plan
from quickstudy.inner.fast.trying import trial_of, try_pass, try_vectorised
from quickstudy.inner.fast.vectorise import unvectorised
from quickstudy.inner.modules.mixing import Mixing
from quickstudy.inner.modules.purity import HIDDEN
from quickstudy.inner.modules.settings import Settings
from quickstudy.inner.modules.tree import tensors_of
from quickstudy.inner.plain import Plain
from quickstudy.inner.problem import Problem
from quickstudy.inner.rates import one_rate
from quickstudy.inner.state import Engine, Part, beginning
from quickstudy.inner.transforms import in_transform
from quickstudy.inner.trees import layout_of, num_tasks, whole_layout_of
from quickstudy.inner.trust import Evidence, Trust
from quickstudy.inner.trusted import Trusted
from quickstudy.inner.unroll import Unrolling
from quickstudy.tracing import is_for_graph


class Plans(dict[Any, Plan]):
    """An inner loop's plans by the layout of the data. A copy of the loop starts without any."""

    MOST = 512

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return Plans, ()


class Wanted(NamedTuple):
    """The arguments of one call: number of steps, tensors for the objective, whether to keep a graph."""

    steps: int
    outer: Any
    create_graph: bool


@dataclass
class Choice:
    """Chooses how tasks run, for one inner loop.

    Args:
        problem: the inner problem.
        engine: the engine given by the user.
        how: the options for differentiating steps.
        trust: the results of verification.
    """

    problem: Problem
    engine: str
    how: Unrolling
    trust: Trust
    plans: Plans = field(default_factory=Plans)
    mixing: Mixing = field(default_factory=Mixing)
    settings: Settings = field(default_factory=Settings)

    @property
    def plainly(self) -> bool:
        """Whether the user chose plain PyTorch."""
        return self.engine == "loop" and not self.how.mixed_mode

    def plan(self, data: Any, num_tasks: int, steps: int, outer: Any = None, key: Any = None) -> Plan:
        """The plan for passes over `data`, made at the first call for its layout.

        Inside transforms and compilers no trial can run; without an earlier plan, tasks then run one by one.
        """
        key = key or self._key(data, num_tasks, steps, outer)
        if key in self.plans:
            return self.plans[key]
        if not _can_try(data):
            return Plan(False, mixed=self.how.mixed_mode, reasons=("no trial can run inside a transform",))
        if len(self.plans) >= Plans.MOST:
            self.plans.clear()
        plan = self.plans[key] = self._made(data, num_tasks, steps, outer)
        return plan

    def groups(self, support: Examples) -> list[tuple[Tensor | None, Examples]]:
        """`(places, points)` of all tasks together, or of groups of equal size if the network mixes points.

        Tasks without points are a group of their own, since they take no step.
        """
        if support.mask is None or not values_are_readable(support.x):
            return [(None, support.clean())]
        empty = support.sizes() == 0
        if bool(empty.any()):
            some, none = (~empty).nonzero().squeeze(1), empty.nonzero().squeeze(1)
            others = self.groups(support.select(some)) if len(some) else []
            found = [(some if places is None else some[places], points) for places, points in others]
            return [*found, (none if len(some) else None, support.select(none).first(0))]
        if self.plainly or not self.mixing(self.problem, support):  # plain PyTorch drops padding anyway
            return [(None, support.clean())]
        return [(index, examples) for index, (examples,) in by_size(support)]

    def begin(self, places: Tensor | None, count: int, data: Any, wanted: Wanted) -> list[Part]:
        """The tasks at `places` before their first step, as one part or as a part each.

        Args:
            places: indices in the batch; None for the whole batch.
            count: number of tasks.
            data: of the first step, `[T, ...]`.
            wanted: the arguments of the call.
        """
        if not wanted.steps or (isinstance(data, Examples) and not data.num_points):
            return [self.without_steps(places, count, wanted)]
        tensors = tensors_of(self.problem.network)
        names = self.problem.adapted_names(tensors[0])
        key = self._key(data, count, wanted.steps, wanted.outer, names)
        # engine='loop' on a network in which everything adapts needs no trial
        plan = Plan(False) if self._untried else self.plan(data, count, wanted.steps, wanted.outer, key)
        engine: Engine = Plain(set(plan.sparse))
        if plan.vectorised or plan.mixed:
            why = plan.reasons[0] if plan.plainly else self.objection(plan, data, count, wanted, key)
            if why is None:
                problem = self.problem
                size, (params, buffers) = count if plan.vectorised else 1, tensors
                fast = Fast(plan, size, {**params, **buffers}, names)
                shown = problem.point_loss if problem.objective is None else problem.objective
                engine = Trusted(fast, self.trust, shown, layout_of(data))
            else:
                self.trust.fall_back(why)
        if plan.vectorised and isinstance(engine, Trusted):
            start = beginning(self.problem, count, wanted.create_graph, tensors=tensors)
            return [Part(places, count, engine, start)]
        alone = torch.arange(count) if places is None else places
        starts = [beginning(self.problem, 1, wanted.create_graph, plan.written, tensors) for _ in range(count)]
        return [Part(alone[i : i + 1], 1, engine, starts[i]) for i in range(count)]

    @property
    def _untried(self) -> bool:
        if not self.plainly or self.how.runs_again:
            return False
        return set(tensors_of(self.problem.network)[0]) <= set(self.problem.adapted_names())

    def without_steps(self, places: Tensor | None, count: int, wanted: Wanted) -> Part:
        """Tasks that take no step, as one part that runs in one pass if possible."""
        apart = self.engine == "loop" or (self.engine == "auto" and unvectorised(self.problem.network) is not None)
        engine = Trusted(Fast(Plan(True), count), self.trust, apart=apart)
        return Part(places, count, engine, beginning(self.problem, count, wanted.create_graph))

    def _key(self, data: Any, num_tasks: int, steps: int, outer: Any, names: list[str] | None = None) -> Any:
        """`(settings, layout)`: everything that a plan and a verification depend on."""
        problem = self.problem
        names = problem.adapted_names() if names is None else names
        own = self.settings(problem.network, *problem.functions(), outer, rule=problem.rule)
        settings = own, whole_layout_of(outer), len(tree_leaves(data))  # with a mask, or without
        return (is_for_graph(), tuple(names), settings), (num_tasks, steps, whole_layout_of(data))

    def _made(self, data: Any, num_tasks: int, steps: int, outer: Any) -> Plan:
        """A new plan for data with this layout.

        Raises:
            ValueError: if the loss depends on tensors that checkpoint= or mixed_mode= cannot differentiate.
        """
        trial = trial_of(self.problem, data, outer)
        tried = replace(try_pass(trial), mixed=self.how.mixed_mode)
        if tried.hidden and self.how.runs_again:
            raise ValueError(HIDDEN.format("mixed_mode and checkpoint"))
        why = "engine='loop' was chosen" if self.engine == "loop" else unvectorised(self.problem.network)
        if why is None and num_tasks == 1 and self.engine == "auto":
            why = "there is one task"
        if why is None:
            why = try_vectorised(trial) if tried.vectorised else tried.reasons[0]
            if why is not None:
                self.trust.fall_back(why)
        if why is not None:
            return replace(tried, vectorised=False, calls=(), reasons=(why,))
        rule, lowrank = self.problem.rule, []
        if rule.linear and one_rate(rule.lr) and self.engine in ("auto", "lowrank"):
            lowrank = cost.lowrank_layers(tried.calls, steps, num_tasks, forced=self.engine == "lowrank")
        return replace(tried, lowrank=frozenset(lowrank))

    def objection(self, plan: Plan, data: Any, count: int, wanted: Wanted, key: Any = None) -> str | None:
        """The reason not to use the fast path for data with this layout; None if it agrees with plain PyTorch."""
        graph = wanted.create_graph and torch.is_grad_enabled()
        settings, layout = key or self._key(data, count, wanted.steps, wanted.outer)
        if self.trust.settled(("steps", graph, settings), layout):
            return self.trust.verdicts[("steps", graph, settings), layout]
        if not self.trust.verify or not _can_try(data):
            return None
        steps, pair = min(wanted.steps, STEPS), two_of(data)

        fast, plain = Fast(plan, num_tasks(pair) if plan.vectorised else 1), Plain(set(plan.sparse))

        def show(engine: Engine, problem: Problem) -> Evidence:
            options: Any = {"how": self.how, "steps": steps, "graph": graph}
            return evidence(problem, engine, pair, wanted.outer, self.mixing, **options)

        return self.trust.objection(
            ("steps", graph, settings),
            layout,
            fast=lambda: show(fast, self.problem),
            plain=lambda: show(plain, self.problem),
            rounded=lambda seed: show(plain, rounded(self.problem, plan.precision, seed)),
            precision=plan.precision,
        )


def _can_try(data: Any) -> bool:
    """Whether the values of `data` can be read, which is not so in transforms and compilers."""
    tensors = [t for t in tree_leaves(data) if isinstance(t, Tensor)]
    return bool(tensors) and not in_transform() and all(values_are_readable(t) for t in tensors)
