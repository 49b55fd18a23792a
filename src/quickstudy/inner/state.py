"""The state of the tasks in an inner loop, and the parts of a batch that run together."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from quickstudy.inner.modules.tree import named_tensors, tensors_of
from quickstudy.inner.problem import Problem
from quickstudy.inner.trees import taken


class Weights(Protocol):
    """One parameter of `T` tasks that is not stored as a tensor, such as a low-rank sum."""

    def dense(self) -> Tensor:
        """`[T, *shape]`."""

    def map(self, function: Callable[[Tensor], Tensor], *, base: bool = True) -> Any:
        """The same with `function` applied to the tensors that have a task axis."""

    def detach(self) -> Any:
        """Without a graph."""


class State(NamedTuple):
    """The state of `T` tasks between two steps.

    Args:
        shared: parameters that are still the same for all tasks, `[*shape]`.
        moved: parameters that differ between tasks, and the extra inputs: `[T, *shape]`, or `Weights`.
        buffers: tensors that forward passes write into: buffers, and frozen parameters that they change; `[T, *shape]`.
        slots: the rule's memory for each parameter, such as velocity or moments.
        network: the network of a task that runs alone, with all attributes as its last pass left them; None if tasks
            run together.
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
        """The parameters of a state with one task, without the task axis."""
        return {**self.shared, **{k: v.squeeze(0) for k, v in self.moved.items()}}

    def left_in(self, network: nn.Module) -> dict[str, Tensor]:
        """The buffers in the network of one task after a pass."""
        tensors = named_tensors(network)
        return {k: tensors[k].detach().unsqueeze(0) for k in self.buffers}

    def shifted(self, by: dict[str, Tensor]) -> "State":
        """The state with constants `[T, *shape]` added to parameters."""
        if not by:
            return self
        moved = {k: (self.moved[k] if k in self.moved else self.shared[k]) + shift for k, shift in by.items()}
        shared = {k: p for k, p in self.shared.items() if k not in by}
        return self._replace(shared=shared, moved={**self.moved, **moved})

    def built(self) -> "State":
        """The state with every parameter as a tensor."""
        moved, slots = (tree_map(_dense, part, is_leaf=_is_weights) for part in (self.moved, self.slots))
        return self._replace(moved=moved, slots=slots)

    def dense(self, num_tasks: int) -> dict[str, Tensor]:
        """Every parameter as `[T, *shape]`."""
        found = {k: p.expand(num_tasks, *p.shape) for k, p in self.shared.items() if p.layout == torch.strided}
        return found | {k: _dense(v) for k, v in self.moved.items()}

    def detach(self) -> "State":
        """The state without an autograd graph."""
        parts = (self.shared, self.moved, self.buffers, self.slots)
        shared, moved, buffers, slots = (tree_map(_detached, part, is_leaf=_is_weights) for part in parts)
        return State(shared, moved, buffers, slots, self.network)

    def joined(self, others: "list[State]") -> "State":
        """The state of these tasks followed by those of `others`."""
        states = [s.built() for s in (self, *others)]
        moved = {k: torch.cat([s.moved[k] for s in states]) for k in states[0].moved}
        slots = {k: tree_map(_cat, *(s.slots[k] for s in states)) for k in states[0].slots}
        return State(
            states[0].shared, moved, {k: torch.cat([s.buffers[k] for s in states]) for k in self.buffers}, slots
        )


class Engine(Protocol):
    """Runs the tasks of a part. All engines give the same numbers, up to rounding."""

    @property
    def together(self) -> bool:
        """Whether all tasks run in one pass."""

    def step(
        self, problem: Problem, state: State, start: State, data: Any, outer: Any, step: int, *, second_order: bool
    ) -> State:
        """The state after one more step of the rule.

        Args:
            problem: the inner problem.
            state: before the step.
            start: before the first step.
            data: of this step, `[T, ...]`.
            outer: passed to the objective.
            step: the number of steps before this one.
            second_order: keep the graph of the inner gradient.
        """

    def gradient(
        self, problem: Problem, state: State, data: Any, outer: Any, step: int, *, second_order: bool
    ) -> tuple[dict[str, Any], State]:
        """Every task's gradient of the inner loss by name, and the state after the forward pass."""

    def evaluate(
        self, problem: Problem, state: State, function: Callable[..., Any], data: Any, outer: Any, step: int
    ) -> tuple[Any, dict[str, Tensor]]:
        """`function(model, data of one task, outer)` for every task, `[T, ...]`, and the buffers after the pass."""


class Part(NamedTuple):
    """Tasks that run together.

    Args:
        places: indices of the tasks in the batch; None for the whole batch.
        size: number of tasks.
        engine: runs them.
        state: of the tasks.
        support: the support set, for layers that need it again; None if steps take other data.
    """

    places: Tensor | None
    size: int
    engine: Engine
    state: State
    support: Any = None

    def take(self, data: Any) -> Any:
        """The part's tasks in a tree of tensors `[T, ...]`."""
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
        problem: the inner problem.
        count: number of tasks.
        create_graph: keep the graph to the initial parameters.
        written: parameters that forward passes write into; each task gets its own copy of those that do not adapt.
        tensors: the network's parameters and buffers, if known already.
    """
    params, own = tensors_of(problem.network) if tensors is None else tensors
    shared: dict[str, Tensor] = {k: _usable(p) for k, p in params.items()}
    moved: dict[str, Any] = {k: _usable(v).expand(count, *v.shape) for k, v in problem.inputs.items()}
    if not create_graph:
        shared, moved = tree_map(torch.Tensor.detach, (shared, moved))
    buffers = {k: _usable(b) for k, b in own.items() if b.layout == torch.strided}
    kept = written.difference(problem.adapted_names()) if written else written
    buffers |= {k: shared.pop(k).detach() for k in kept if k in shared}
    if problem.network.training or written:  # later passes may write into the network's own before the backward pass
        buffers = {k: b.clone() for k, b in buffers.items()}
    return State(shared, moved, {k: b.expand(count, *b.shape) for k, b in buffers.items()}, {})


def _usable(tensor: Tensor) -> Tensor:
    """The tensor, cloned if it was created in inference mode, since autograd does not accept such tensors."""
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
