"""Where the tasks of an inner loop stand, and who runs together."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from quickstudy.inner.modules.tree import named_tensors, tensors_of
from quickstudy.inner.problem import Problem
from quickstudy.inner.trees import taken


class Weights(Protocol):
    """One parameter of `T` tasks that is no tensor: kept as a sum that can be built."""

    def dense(self) -> Tensor:
        """`[T, *shape]`."""

    def map(self, function: Callable[[Tensor], Tensor], *, base: bool = True) -> Any:
        """`function` of what has a task axis."""

    def detach(self) -> Any:
        """Without a graph."""


class State(NamedTuple):
    """Where `T` tasks stand.

    Args:
        shared: parameters that are still the same for all tasks, `[*shape]`.
        moved: those that are not, and the extra inputs: `[T, *shape]`, or `Weights`.
        buffers: what the network's passes write into: its buffers, and frozen parameters that it moves; `[T, *shape]`.
        slots: what the rule keeps for each parameter: velocity, moments.
        network: of one task that runs alone, as its last pass left it, attributes included; None where tasks run
            together.
    """

    shared: dict[str, Tensor]
    moved: dict[str, Any]
    buffers: dict[str, Tensor]
    slots: dict[str, Any]
    network: nn.Module | None = None

    def select(self, index: Tensor) -> "State":
        """The tasks at `index`."""

        def each(value: Any) -> Any:
            if isinstance(value, Tensor):
                return value[index] if value.dim() else value
            return value.map(lambda t: t[index], base=False) if _is_weights(value) else value

        moved, slots = (tree_map(each, part, is_leaf=_is_weights) for part in (self.moved, self.slots))
        return self._replace(moved=moved, slots=slots, buffers={k: b[index] for k, b in self.buffers.items()})

    def weights(self) -> dict[str, Tensor]:
        """Of one task alone, without the axis of tasks."""
        return {**self.shared, **{k: v.squeeze(0) for k, v in self.moved.items()}}

    def left_in(self, network: nn.Module) -> dict[str, Tensor]:
        """The buffers as a pass of one task left them in its network."""
        tensors = named_tensors(network)
        return {k: tensors[k].detach().unsqueeze(0) for k in self.buffers}

    def shifted(self, by: dict[str, Tensor]) -> "State":
        """The same, with parameters moved by constants `[T, *shape]`."""
        if not by:
            return self
        moved = {k: (self.moved[k] if k in self.moved else self.shared[k]) + shift for k, shift in by.items()}
        shared = {k: p for k, p in self.shared.items() if k not in by}
        return self._replace(shared=shared, moved={**self.moved, **moved})

    def built(self) -> "State":
        """The same, with every parameter a tensor."""
        moved, slots = (tree_map(_dense, part, is_leaf=_is_weights) for part in (self.moved, self.slots))
        return self._replace(moved=moved, slots=slots)

    def dense(self, num_tasks: int) -> dict[str, Tensor]:
        """Every parameter as `[T, *shape]`."""
        found = {k: p.expand(num_tasks, *p.shape) for k, p in self.shared.items() if p.layout == torch.strided}
        return found | {k: _dense(v) for k, v in self.moved.items()}

    def detach(self) -> "State":
        """The same, without a past."""
        parts = (self.shared, self.moved, self.buffers, self.slots)
        shared, moved, buffers, slots = (tree_map(_detached, part, is_leaf=_is_weights) for part in parts)
        return State(shared, moved, buffers, slots, self.network)

    def joined(self, others: "list[State]") -> "State":
        """These tasks and those of `others`, in this order."""
        states = [s.built() for s in (self, *others)]
        moved = {k: torch.cat([s.moved[k] for s in states]) for k in states[0].moved}
        slots = {k: tree_map(_cat, *(s.slots[k] for s in states)) for k in states[0].slots}
        return State(
            states[0].shared, moved, {k: torch.cat([s.buffers[k] for s in states]) for k in self.buffers}, slots
        )


class Engine(Protocol):
    """How the tasks of a part run; all of them give the same numbers."""

    @property
    def together(self) -> bool:
        """Whether all tasks run in one pass."""

    def step(
        self, problem: Problem, state: State, start: State, data: Any, outer: Any, step: int, *, second_order: bool
    ) -> State:
        """Where the tasks stand after one more step of the rule.

        Args:
            problem: what is solved.
            state: where they stand.
            start: where they began.
            data: of this step, `[T, ...]`.
            outer: handed to the objective.
            step: how many came before.
            second_order: keep the graph of the inner gradient.
        """

    def gradient(
        self, problem: Problem, state: State, data: Any, outer: Any, step: int, *, second_order: bool
    ) -> tuple[dict[str, Any], State]:
        """Every task's gradient by name, of what a step descends, and the state as its pass leaves it."""

    def evaluate(
        self, problem: Problem, state: State, function: Callable[..., Any], data: Any, outer: Any, step: int
    ) -> tuple[Any, dict[str, Tensor]]:
        """`function(model, data of one task, outer)` of every task, `[T, ...]`, and the buffers that it left."""


class Part(NamedTuple):
    """Tasks that run together.

    Args:
        places: indices of the tasks in the batch; None for all of it.
        size: how many they are.
        engine: how they run.
        state: where they stand.
        support: what they adapted to, for layers that need it again; None where that is not one set of points.
    """

    places: Tensor | None
    size: int
    engine: Engine
    state: State
    support: Any = None

    def take(self, data: Any) -> Any:
        """Their share of a tree of tensors `[T, ...]`."""
        return data if self.places is None else taken(data, self.places)


def beginning(
    problem: Problem,
    count: int,
    create_graph: bool,
    written: frozenset[str] = frozenset(),
    tensors: tuple[dict[str, Tensor], dict[str, Tensor]] | None = None,
) -> State:
    """The state of `count` tasks before the first step.

    Args:
        written: parameters that the network's own passes write into. Those that adapt are every task's own anyway.
        tensors: the network's parameters and buffers, where they are known.
    """
    params, own = tensors_of(problem.network) if tensors is None else tensors
    shared: dict[str, Tensor] = {k: _usable(p) for k, p in params.items()}
    moved: dict[str, Any] = {k: _usable(v).expand(count, *v.shape) for k, v in problem.inputs.items()}
    if not create_graph:
        shared, moved = tree_map(torch.Tensor.detach, (shared, moved))
    buffers = {k: _usable(b) for k, b in own.items() if b.layout == torch.strided}
    kept = written.difference(problem.adapted_names()) if written else written
    buffers |= {k: shared.pop(k).detach() for k in kept if k in shared}
    if problem.network.training or written:  # the network's own may be written into before the way back
        buffers = {k: b.clone() for k, b in buffers.items()}
    return State(shared, moved, {k: b.expand(count, *b.shape) for k, b in buffers.items()}, {})


def _usable(tensor: Tensor) -> Tensor:
    """A clone of a tensor that was made in inference mode, which autograd cannot take."""
    return tensor.clone() if tensor.is_inference() else tensor


def _is_weights(value: Any) -> bool:
    return hasattr(value, "dense")


def _dense(value: Any) -> Any:
    return value.dense() if _is_weights(value) else value


def _detached(value: Any) -> Any:
    return value.detach() if isinstance(value, Tensor) or _is_weights(value) else value


def _cat(*values: Any) -> Any:
    tensors = isinstance(values[0], Tensor) and values[0].dim()
    return torch.cat(values) if tensors else values[0]
