"""The result of an inner loop: networks adapted to every task."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from quickstudy.checks import check_layout, values_are_readable
from quickstudy.data import Examples, by_size
from quickstudy.inner.modules.copies import copy_with, without_past
from quickstudy.inner.modules.mixing import Mixing
from quickstudy.inner.modules.outputs import concatenated
from quickstudy.inner.modules.purity import replaying
from quickstudy.inner.modules.support import FilledIn, WithSupport, needs_support, supported
from quickstudy.inner.points import check_batch, usable, without_trivial_mask
from quickstudy.inner.problem import Problem
from quickstudy.inner.state import Part, State
from quickstudy.inner.transforms import exact_kernels
from quickstudy.learner import check_task
from quickstudy.nets.clock import settle


@dataclass(frozen=True)
class Adapted:
    """Networks adapted to `T` tasks by `inner_loop`. Results are differentiable with respect to the initial parameters.

    Args:
        problem: the inner problem.
        parts: the tasks, in the parts that ran together.
        num_tasks: `T`.
        mixing: knows whether the network mixes points.
        outer: the loop's argument `outer`.
        steps: number of steps taken.
    """

    problem: Problem
    parts: tuple[Part, ...]
    num_tasks: int
    mixing: Mixing
    outer: Any = None
    steps: int = 0

    def __call__(self, x: Tensor) -> Any:
        """The adapted networks' outputs `[T, M, do]` at `x [T, M, *dx]`, in the structure that the network returns."""
        check_batch(x, self.num_tasks, "x=")
        return self.run(outputs, x)[0]

    def losses(self, examples: Examples) -> Tensor:
        """Each task's mean loss over its real points, `[T]`."""
        check_layout(examples)
        if examples.num_tasks != self.num_tasks:
            raise ValueError(
                f"the examples hold {examples.num_tasks} tasks, and the networks were adapted to {self.num_tasks}; "
                "give points of the same tasks"
            )
        return self.run(self.problem.point_loss, examples)[0]

    def evaluate(self, objective: Callable[..., Any], batch: Any, outer: Any = None) -> Any:
        """`objective(model, batch_of_one_task, outer)` for every task, stacked `[T, ...]`.

        Args:
            objective: gets the task's adapted network as `model(x)`, and returns tensors in any structure.
            batch: any tree of tensors `[T, ...]`.
            outer: passed to the objective; by default the loop's own `outer`.
        """
        check_batch(batch, self.num_tasks)
        return self.run(objective, batch, self.outer if outer is None else outer)[0]

    @property
    def params(self) -> dict[str, Tensor]:
        """Every parameter and extra input of every task, `[T, *shape]`."""
        names = [*dict(self.problem.network.named_parameters()), *self.problem.inputs]
        own = [{**part.state.dense(part.size), **part.state.buffers} for part in self.parts]
        return self._gather([{k: tensors[k] for k in names if k in tensors} for tensors in own])

    @property
    def buffers(self) -> dict[str, Tensor]:
        """Every buffer of every task, `[T, *shape]`."""
        return self._gather([part.state.buffers for part in self.parts])

    def detach(self) -> "Adapted":
        """The same networks without their autograd graph; parameters that do not adapt keep theirs."""
        moving = set(self.problem.adapted_names())

        def alone(state: State) -> State:
            cut = state.detach()
            shared = {k: cut.shared[k] if k in moving else v for k, v in state.shared.items()}
            return cut._replace(shared=shared)

        return replace(self, parts=tuple(p._replace(state=alone(p.state)) for p in self.parts))

    def module(self, i: int) -> nn.Module:
        """Task `i`'s network as a separate plain module `[M, *dx] -> [M, dy]`, with its extra inputs filled in."""
        i, state = check_task(i, self.num_tasks), {**self.params, **self.buffers}
        own: dict[str, Tensor] = {}
        for name, p in self.problem.network.named_parameters():
            value = state[name][i].detach().clone() if name in state else p.detach()
            own[name] = nn.Parameter(value, requires_grad=p.requires_grad)
        for name, buffer in self.problem.network.named_buffers():
            own[name] = state[name][i].detach().clone() if name in state else buffer
        memo: dict[int, Any] = {id(t): t for t in own.values() if t.layout != torch.strided}  # no copies of sparse ones
        network = copy.deepcopy(without_past(copy_with(self.problem.network, own)), memo)
        settle(network, self.steps)
        inputs = {k: nn.Parameter(state[k][i].detach().clone()) for k in self.problem.inputs}
        whole = FilledIn(network, inputs) if inputs else network
        return WithSupport(whole, self._support(i)) if needs_support(self.problem.network) else whole

    def run(self, function: Callable[..., Any], data: Any, outer: Any = None) -> tuple[Any, list[dict[str, Tensor]]]:
        """`function(model, data_of_one_task, outer)` for every task, and the buffers after the pass, part by part."""
        values: list[Any] = []
        data, left, places = usable(data), [], []
        with exact_kernels(), replaying(self.problem.randomness, len(self.parts)) as again:
            for part in self.parts:
                again()
                for index, state, share, support in self._shares(part, data, function):
                    judged, given = supported(self.problem.network, function, share, support)
                    value, buffers = part.engine.evaluate(self.problem, state, judged, given, outer, self.steps)
                    values.append(value)
                    left.append(buffers)
                    places.append((part.places, index))
        order = None if len(values) == 1 else torch.cat([self._places(*p) for p in places]).argsort()
        return concatenated(values, order), left

    def _places(self, of_part: Tensor | None, index: Tensor | None) -> Tensor:
        """The indices in the batch of a part's tasks at `index`."""
        places = torch.arange(self.num_tasks) if of_part is None else of_part.cpu()
        return places if index is None else places[index.cpu()]

    def _shares(
        self, part: Part, data: Any, function: Callable[..., Any]
    ) -> list[tuple[Tensor | None, State, Any, Examples | None]]:
        """One part's data without padding or with zeros in it, in groups of equal size if the network mixes points."""
        share = part.take(data)
        if not isinstance(share, Examples):
            return [(None, part.state, share, part.support)]
        share = without_trivial_mask(share)
        whole = share.mask is None or not values_are_readable(share.x)
        judged = getattr(function, "wraps", function) == self.problem.point_loss
        if whole or not ((judged and part.size == 1) or self.mixing(self.problem, share, judged=judged)):
            return [(None, part.state, share.clean(), part.support)]
        return [
            (index, part.state.select(index), examples, part.support and part.support.select(index))
            for index, (examples,) in by_size(share)
        ]

    def _support(self, i: int) -> Tensor | None:
        for part in self.parts:
            places = list(range(self.num_tasks)) if part.places is None else part.places.tolist()
            if i in places and part.support is not None:
                points = part.support.select(places.index(i))
                return points.x[points.real()]
        return None

    def _gather(self, parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        if len(parts) == 1:
            return parts[0]
        order = torch.cat([part.places for part in self.parts if part.places is not None]).argsort()
        return {k: torch.cat([part[k] for part in parts])[order] for k in parts[0]}


def outputs(model: Callable[..., Any], points: Any, outer: Any) -> Any:
    """The network's outputs at the points of one task."""
    del outer
    return model(points)
