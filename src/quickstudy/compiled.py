"""The gradient of a learner's meta-loss, eager or compiled whole.

Compiling the loss alone can silently drop the second-order term, so what is compiled is the whole meta-gradient, with
`torch.func.grad` inside the compiled region. `fit` compares it with the eager one on the first batch.
"""

import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value

from quickstudy.data import Tasks
from quickstudy.gradient.engines import prepared

Gradient = Callable[[Tasks], tuple[Tensor, list[Tensor]]]

WORTH_COMPILING = 24_000  # forward passes in all; a graph costs 20 s, and saves 0.9 ms a pass on a small network
MOST_GRAPHS = 8  # per learner, one for each shape of a batch
SMALL_NETWORK = 100_000  # parameters; in larger ones arithmetic, not dispatch, takes the time


def meta_gradient(learner: nn.Module, *, compile: bool, backend: str = "inductor") -> Gradient:
    """A function of `tasks` giving `(loss, gradients)`, in the order of the parameters that require grad.

    Args:
        learner: `forward(tasks)` is its meta-loss.
        compile: compile the whole meta-gradient at the first call. `tasks.info` is not passed on, so that a
            family's extra tensors cause no recompilation.
        backend: of `torch.compile`.
    """
    if not compile:

        def eager(tasks: Tasks) -> tuple[Tensor, list[Tensor]]:
            params = [p for p in learner.parameters() if p.requires_grad]
            total, sums = torch.zeros(()), [torch.zeros_like(p) for p in params]
            for part, share in _chunks(learner, tasks):
                loss = learner(part) if share == 1 else learner(part) * share
                found = torch.autograd.grad(loss, params, allow_unused=True)
                sums = [s if g is None else g if share == 1 else s + g for s, g in zip(sums, found, strict=True)]
                total = total.to(loss) + loss.detach()
            return total, sums

        return eager

    def loss_of(params: dict[str, Tensor], tasks: Tasks) -> Tensor:
        return functional_call(learner, params, (tasks,))

    def gradient_and_loss(params: dict[str, Tensor], tasks: Tasks) -> tuple[dict[str, Tensor], Tensor]:
        return grad_and_value(loss_of)(params, tasks)

    whole = torch.compile(_own_code(gradient_and_loss), fullgraph=True, dynamic=False, backend=backend)

    tried: list[bool] = []

    def compiled(tasks: Tasks) -> tuple[Tensor, list[Tensor]]:
        if not tried:  # an inner loop makes its plans by trying, which a compiler cannot
            with torch.no_grad():
                learner(tasks)
            tried.append(True)
        params = {k: p.detach() for k, p in learner.named_parameters() if p.requires_grad}
        with prepared():
            grads, loss = whole(params, Tasks(tasks.support, tasks.query, {}))
        return loss, [grads[k] for k in params]

    return compiled


def should_compile(learner: nn.Module, steps: int, tasks: Tasks, *, fixed_sizes: bool = True) -> bool:
    """Whether a training of `steps` meta-steps on batches like `tasks` is faster compiled.

    Decided from shapes and step count alone (and from what cannot be compiled), so that it never changes between runs.
    """
    if not compilable(learner) or not fixed_sizes:
        return False
    if tasks.support.mask is not None or tasks.query.mask is not None:
        return False
    small = sum(p.numel() for p in learner.parameters()) <= SMALL_NETWORK
    return small and steps * getattr(learner, "passes", 0) >= WORTH_COMPILING


def compilable(learner: nn.Module) -> bool:
    """Whether the whole meta-gradient can be one graph: no state written, no random numbers, and a compiler at hand."""
    writes = any(True for _ in learner.buffers()) and learner.training
    random = any(isinstance(m, nn.modules.dropout._DropoutNd) and m.p > 0 for m in learner.modules())
    looped = any(isinstance(m, nn.RNNBase) for m in learner.modules())
    device = next((p.device.type for p in learner.parameters()), "cpu")
    builder = device != "cpu" or any(shutil.which(c) for c in (os.environ.get("CXX", "g++"), "g++", "clang++"))
    inner = getattr(learner, "inner", None)
    staged = inner is not None and (inner.mixed_mode or inner.checkpoint is not None or inner.implicit is not None)
    eager = writes or random or looped or staged or getattr(learner, "chunk", None) is not None
    return bool(getattr(learner, "deterministic", True)) and not eager and bool(builder)


def loss_with_ready_gradients(learner: nn.Module, tasks: Tasks) -> Tensor:
    """The meta-loss from the whole meta-gradient, compiled or chunk by chunk; `backward` hands out what is there.

    Falls back to eager with a RuntimeWarning where the compiled graph cannot serve: when something other than the
    learner's parameters requires grad, when the learner cannot be compiled, and when a second derivative is asked for.
    """
    params = [p for p in learner.parameters() if p.requires_grad]
    inputs = [t for part in (tasks.support, tasks.query) for t in part if t is not None]
    if any(t.requires_grad for t in inputs):
        return _fall_back(
            learner, tasks, "the tasks require grad, and the compiled loss holds the parameters' gradients only"
        )
    if getattr(learner, "chunk", None) is not None:
        return _ReadyGradients.apply(learner, tasks, *meta_gradient(learner, compile=False)(tasks), *params)
    if not compilable(learner):
        why = "buffers, dropout, recurrent layers, checkpoints, mixed mode or implicit gradients, or no C++ compiler"
        return _fall_back(learner, tasks, f"one graph cannot hold this learner: {why}")
    if any(part.mask is not None for part in (tasks.support, tasks.query)):
        return _fall_back(learner, tasks, "the tasks are masked")
    graphs: Graphs = learner.compiled_graphs  # type: ignore[assignment]
    shapes = tuple((t.shape, t.dtype, t.device) for t in inputs)
    if shapes not in graphs and len(graphs) == MOST_GRAPHS:
        return _fall_back(learner, tasks, f"{MOST_GRAPHS} batch shapes are compiled already, and this is another")
    if shapes not in graphs:
        graphs[shapes] = meta_gradient(learner, compile=True)
    loss, grads = graphs[shapes](tasks)
    return _ReadyGradients.apply(learner, tasks, loss, grads, *params)


def _chunks(learner: nn.Module, tasks: Tasks) -> Iterator[tuple[Tasks, float]]:
    """The tasks `learner.chunk` at a time, each with its share of the mean."""
    size = getattr(learner, "chunk", None) or tasks.num_tasks
    for first in range(0, tasks.num_tasks, size):
        last = min(first + size, tasks.num_tasks)
        part = tasks if size >= tasks.num_tasks else tasks.select(slice(first, last))
        yield part, (last - first) / tasks.num_tasks


class Graphs(dict[Any, Gradient]):
    """A learner's compiled meta-gradients, by the shapes of a batch. A copy of the learner compiles its own."""

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return Graphs, ()


class _ReadyGradients(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, learner: nn.Module, tasks: Tasks, loss: Tensor, grads: list[Tensor], *params: Tensor
    ) -> Tensor:
        ctx.learner, ctx.tasks, ctx.grads = learner, tasks, grads
        ctx.save_for_backward(*params)
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        params = ctx.saved_tensors
        grads = ctx.grads
        if torch.is_grad_enabled():  # a graph of the gradient is asked for: compute it where there is one
            loss = _fall_back(ctx.learner, ctx.tasks, "a second derivative is asked for")
            grads = torch.autograd.grad(loss, params, create_graph=True, allow_unused=True)
        return (None, None, None, None, *(None if g is None else upstream * g for g in grads))


def _own_code(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` with a code object of its own: torch counts recompilations per code object, over all learners."""
    assert isinstance(function, FunctionType)
    code = function.__code__.replace()
    return FunctionType(code, function.__globals__, function.__name__, function.__defaults__, function.__closure__)


def _fall_back(learner: nn.Module, tasks: Tasks, why: str) -> Tensor:
    warnings.warn(f"meta_loss runs uncompiled: {why}", RuntimeWarning, stacklevel=3)
    return learner(tasks)
