"""What an inner loop leaves behind: every task's own weights, ready to be used."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from quickstudy.checks import check_layout, values_are_readable
from quickstudy.data import Examples, by_size
from quickstudy.inner.fast.lowrank import LowRank
from quickstudy.inner.fast.plan import Plan
from quickstudy.inner.points import without_trivial_mask
from quickstudy.learner import check_task
from quickstudy.nets.clock import settle

if TYPE_CHECKING:
    from quickstudy.inner.loop import InnerLoop


class State(NamedTuple):
    """Where `T` tasks stand.

    Args:
        shared: parameters that are still the same for all tasks, `[*shape]`.
        moved: those that are not, and the extra inputs: `[T, *shape]`, or low-rank.
        buffers: of the network, `[T, *shape]`.
        slots: what the rule keeps for each parameter: velocity, moments.
    """

    shared: dict[str, Tensor]
    moved: dict[str, Tensor | LowRank]
    buffers: dict[str, Tensor]
    slots: dict[str, Any]

    def select(self, index: Tensor) -> "State":
        """The tasks at `index`."""

        def each(value: Any) -> Any:
            if isinstance(value, LowRank):
                return value.map(lambda t: t[index], base=False)
            return value[index] if isinstance(value, Tensor) and value.dim() else value

        moved, slots = (
            tree_map(each, part, is_leaf=lambda v: isinstance(v, LowRank)) for part in (self.moved, self.slots)
        )
        return State(self.shared, moved, {k: b[index] for k, b in self.buffers.items()}, slots)

    def dense(self, num_tasks: int) -> dict[str, Tensor]:
        """Every parameter as `[T, *shape]`."""
        found = {k: p.expand(num_tasks, *p.shape) for k, p in self.shared.items()}
        return found | {k: v.dense() if isinstance(v, LowRank) else v for k, v in self.moved.items()}


class Part(NamedTuple):
    """Tasks that run together.

    Args:
        places: theirs in the batch; None for all of it.
        size: how many they are.
        plan: how they run.
        state: where they stand.
    """

    places: Tensor | None
    size: int
    plan: Plan
    state: State

    def take(self, data: Any) -> Any:
        """Their share of a tree of tensors `[T, ...]`."""
        if self.places is None:
            return data
        return tree_map(lambda a: a[self.places] if isinstance(a, Tensor) else a, data)


class FilledIn(nn.Module):
    """A network whose extra inputs are there already.

    Args:
        network: `(x, name=tensor, ...) -> output`.
        inputs: by name; they become parameters.
    """

    def __init__(self, network: nn.Module, inputs: dict[str, nn.Parameter]):
        super().__init__()
        self.network, self.inputs = network, nn.ParameterDict(inputs)

    def forward(self, x: Tensor) -> Tensor:
        """The output at `x [M, *dx]`."""
        return self.network(x, **self.inputs)


@dataclass(frozen=True)
class Adapted:
    """Networks adapted to `T` tasks, by `inner_loop`. Everything is differentiable back to where the loop began.

    Args:
        loop: that adapted them.
        parts: the tasks, as they ran.
        num_tasks: `T`.
        outer: what the loop was given as `outer`.
        steps: how many were taken.
    """

    loop: "InnerLoop"
    parts: tuple[Part, ...]
    num_tasks: int
    outer: Any = None
    steps: int = 0

    def __call__(self, x: Tensor) -> Tensor:
        """The adapted networks' outputs `[T, M, do]` at `x [T, M, *dx]`."""
        return self.run(lambda model, points, outer: model(points), x)[0]

    def losses(self, examples: Examples) -> Tensor:
        """Each task's mean loss over its real points, `[T]`."""
        check_layout(examples)
        if examples.num_tasks != self.num_tasks:
            raise ValueError(
                f"examples of {examples.num_tasks} tasks for networks adapted to {self.num_tasks}; give one set a task"
            )
        return self.run(self.loop.point_loss, examples)[0]

    def evaluate(self, objective: Callable[..., Tensor], batch: Any, outer: Any = None) -> Tensor:
        """`objective(model, batch_of_one_task, outer)` of every task, stacked `[T, ...]`.

        Args:
            objective: `model(x)` is the task's adapted network.
            batch: any tree of tensors `[T, ...]`.
            outer: handed on as it is; by default what the loop was given.
        """
        return self.run(objective, batch, self.outer if outer is None else outer)[0]

    @property
    def params(self) -> dict[str, Tensor]:
        """Every parameter and extra input of every task, `[T, *shape]`."""
        return self._gather([part.state.dense(part.size) for part in self.parts])

    @property
    def buffers(self) -> dict[str, Tensor]:
        """Every buffer of every task, `[T, *shape]`."""
        return self._gather([part.state.buffers for part in self.parts])

    def detach(self) -> "Adapted":
        """The same networks, without a past; parameters that do not move keep theirs."""
        moving = set(self.loop.adapted_names())

        def cut(tree: dict[str, Any]) -> dict[str, Any]:
            return {k: tree_map(_detached, v) if k in moving else v for k, v in tree.items()}

        def alone(state: State) -> State:
            return state._replace(shared=cut(state.shared), moved=cut(state.moved), slots=cut(state.slots))

        return replace(self, parts=tuple(p._replace(state=alone(p.state)) for p in self.parts))

    def module(self, i: int) -> nn.Module:
        """Task `i`'s network as a plain module of its own, `[M, *dx] -> [M, dy]`, its extra inputs filled in."""
        i = check_task(i, self.num_tasks)
        network = copy.deepcopy(self.loop.network)
        state = {**self.params, **self.buffers}
        with torch.no_grad():
            for name, tensor in (*network.named_parameters(), *network.named_buffers()):
                tensor.copy_(state[name][i])
        settle(network, self.steps)
        inputs = {k: nn.Parameter(state[k][i].detach().clone()) for k in self.loop.inputs}
        return FilledIn(network, inputs) if inputs else network

    def run(self, function: Callable[..., Tensor], data: Any, outer: Any = None) -> tuple[Tensor, list[dict]]:
        """`function(model, data_of_one_task, outer)` of every task, and the buffers it left, part by part."""
        values, left, places = [], [], []
        with self.loop.replaying(len(self.parts)) as again:
            for part in self.parts:
                again()
                for index, state, share in self._shares(part, data):
                    value, buffers = self.loop.evaluate(part.plan, state, function, share, outer, self.steps)
                    values.append(value)
                    left.append(buffers)
                    everything = torch.arange(self.num_tasks) if part.places is None else part.places.cpu()
                    places.append(everything if index is None else everything[index.cpu()])
        if len(values) == 1:
            return values[0], left
        return torch.cat(values)[torch.cat(places).argsort().to(values[0].device)], left

    def _shares(self, part: Part, data: Any) -> list[tuple[Tensor | None, State, Any]]:
        """One part's data, cleaned; in groups of equal size where the network mixes points and they are unequal."""
        share = part.take(data)
        if not isinstance(share, Examples):
            return [(None, part.state, share)]
        share = without_trivial_mask(share)
        if share.mask is None or not values_are_readable(share.x) or not self.loop.mixes(share):
            return [(None, part.state, share.clean())]
        return [(index, part.state.select(index), examples) for index, (examples,) in by_size(share)]

    def _gather(self, parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        if len(parts) == 1:
            return parts[0]
        order = torch.cat([part.places for part in self.parts if part.places is not None]).argsort()
        return {k: torch.cat([part[k] for part in parts])[order] for k in parts[0]}


def _detached(value: Any) -> Any:
    return value.detach() if isinstance(value, Tensor) else value
