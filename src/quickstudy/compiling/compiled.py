"""The gradient of a learner's meta-loss, eager or as one compiled graph.

Compiling the loss alone can silently drop the second-order term. So the whole meta-gradient is compiled, as
`quickstudy.compiling.graph` records it. `fit` compares it with the eager one on the first batch.
"""

import os
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from quickstudy.compiling.graph import Backend, Untraceable, compile_graph
from quickstudy.data import Examples, Tasks
from quickstudy.inner.fast.capture import catching
from quickstudy.inner.modules.settings import settings_of
from quickstudy.inner.transforms import exact_kernels
from quickstudy.substitute import substituted
from quickstudy.tracing import rehearsing

Gradient = Callable[[Tasks], tuple[Tensor, list[Tensor]]]

WORTH_COMPILING = 16_000  # forward passes in total; a graph costs 20 s and saves 1.5 ms per pass on a small network
MOST_GRAPHS = 8  # per learner; every batch shape needs its own graph
_PLAIN = frozenset((bool, int, float, str, tuple))
TOLERANCE = 1e-3  # relative; float32 sums in another order differ by 1e-6, a lost second-order term by 1e-2 and more
SMALL_NETWORK = 100_000  # parameters; larger networks spend their time on arithmetic, not on dispatch


def meta_gradient(learner: nn.Module, *, compile: bool, backend: Backend = "inductor") -> Gradient:
    """A function of `tasks` giving `(loss, gradients)`, in the order of the parameters that require grad.

    Args:
        learner: `forward(tasks)` is its meta-loss.
        compile: compile the whole meta-gradient at the first call for each layout of a batch. The graph keeps the
            learner's settings and parameter tensors of that call; the values of the parameters may change.
        backend: of `quickstudy.compiling.graph`.
    """
    if not compile:

        def eager(tasks: Tasks, share: float) -> tuple[Tensor, list[Tensor]]:
            params = [p for p in learner.parameters() if p.requires_grad]
            loss = learner(tasks)
            # scaled before the backward pass, as hooks need not be linear
            scaled = loss if share == 1 else loss * share
            grads = torch.autograd.grad(scaled, params, allow_unused=True)
            found = [torch.zeros_like(p) if g is None else g for g, p in zip(grads, params, strict=True)]
            return loss.detach(), found if share == 1 else list(torch._foreach_div(found, share))

        def in_chunks(tasks: Tasks) -> tuple[Tensor, list[Tensor]]:
            count, chunk = tasks.num_tasks, getattr(learner, "chunk", None)
            return _summed(lambda size: partial(eager, share=size / count), chunk, tasks, learner)

        return in_chunks
    graphs, params = Graphs(), list(learner.parameters())

    def compiled(tasks: Tasks) -> tuple[Tensor, list[Tensor]]:
        layout = _layout(tasks, params)
        if layout not in graphs:
            graphs[layout] = _graphs(learner, tasks, backend)
        return graphs[layout](tasks)

    return compiled


def _summed(
    gradient: Callable[[int], Gradient], size: int | None, tasks: Tasks, learner: nn.Module | None = None
) -> tuple[Tensor, list[Tensor]]:
    """Loss and gradients of all tasks, computed `size` tasks at a time and averaged.

    Args:
        gradient: gives, for a number of tasks, the function that computes their loss and gradients.
        size: tasks at a time; None for all.
        tasks: the whole batch.
        learner: if given, its random numbers and running statistics are those of one batch.
    """
    count = tasks.num_tasks
    if size is None or size >= count:
        return gradient(count)(tasks)
    total, sums = None, None
    for first, last in _chunks(learner, count, size):
        loss, grads = gradient(last - first)(tasks.select(slice(first, last)))
        share = (last - first) / count
        if total is None or sums is None:
            total, sums = loss * share, torch._foreach_mul(grads, share)
        else:
            total, sums = total + loss * share, torch._foreach_add(sums, grads, alpha=share)
    assert total is not None and sums is not None
    return total, list(sums)


def _chunks(learner: nn.Module | None, count: int, size: int) -> Iterator[tuple[int, int]]:
    """`(first, last)` of every chunk. In the end, buffers are means over tasks; shared dropout masks stay shared."""
    starts = range(0, count, size)
    inner = getattr(learner, "inner", None)
    buffers = [] if learner is None or not learner.training else list(learner.buffers())
    before, left = [b.clone() for b in buffers], [b.clone().zero_() for b in buffers]
    with nullcontext(lambda: None) if inner is None else inner.replaying(len(starts)) as again:
        for first in starts:
            again()
            last = min(first + size, count)
            yield first, last
            for b, old, total in zip(buffers, before, left, strict=True):
                if b.is_floating_point():
                    total.add_(b, alpha=(last - first) / count)
                elif first == 0:
                    total.copy_(b)
                b.copy_(old)
    for b, total in zip(buffers, left, strict=True):
        b.copy_(total)


def _graphs(learner: nn.Module, tasks: Tasks, backend: Backend) -> Gradient:
    """The compiled meta-gradient for batches with the layout of `tasks`: one graph, or one for each chunk size."""
    inner = getattr(learner, "inner", None)
    size = getattr(learner, "chunk", None)
    if size is None and inner is not None:
        with rehearsing():
            size = inner.tasks_at_once(tasks)
    made: dict[int, Gradient] = {}

    def graph(count: int) -> Gradient:
        if count not in made:
            made[count] = _one_graph(
                learner, tasks if count == tasks.num_tasks else tasks.select(slice(count)), backend
            )
        return made[count]

    return lambda tasks: _summed(graph, size, tasks)


def _one_graph(learner: nn.Module, tasks: Tasks, backend: Backend) -> Gradient:
    """The compiled meta-gradient for batches with the layout of `tasks`, and for the learner's present settings."""
    state = {**dict(learner.named_parameters()), **dict(learner.named_buffers())}
    trained = [k for k, t in state.items() if t.requires_grad]
    masks = [part.mask is not None for part in (tasks.support, tasks.query)]

    def loss_and_gradients(*tensors: Tensor) -> tuple[Tensor, ...]:
        given = iter(tensors)
        own = {k: next(given).detach() for k in state}
        support, query = (Examples(next(given), next(given), next(given) if masked else None) for masked in masks)
        params = [own[k].requires_grad_() for k in trained]
        with substituted(learner, own):
            loss = learner(Tasks(support, query, {}))
        grads = torch.autograd.grad(loss, params, allow_unused=True)
        return loss.detach(), *(torch.zeros_like(p) if g is None else g for g, p in zip(grads, params, strict=True))

    before = list(_switches(learner))
    values = list(state.values())
    example = [t.detach() for t in (*values, *_tensors(tasks))]
    with rehearsing(), exact_kernels(), catching():
        with torch.no_grad():  # an inner loop plans by trial runs, which read values
            learner(tasks)
        with torch.enable_grad():
            graph = compile_graph(loss_and_gradients, example, backend)
    if list(_switches(learner)) != before:
        raise Untraceable("each pass of the network changes a count or a switch, which a graph would fix")

    def gradient(tasks: Tasks) -> tuple[Tensor, list[Tensor]]:
        with torch.no_grad():
            loss, *grads = graph(*values, *_tensors(tasks))
        return loss, grads

    return gradient


def _tensors(tasks: Tasks) -> list[Tensor]:
    """The tensors of support and query; without `info`, whose shapes must not cause a recompilation."""
    return [t for part in (tasks.support, tasks.query) for t in part if t is not None]


def _layout(tasks: Tasks, params: Iterable[Tensor]) -> tuple[Any, ...]:
    """The properties of a batch that a graph depends on, and which parameters are trained."""
    return *[(t.shape, t.stride(), t.dtype, t.device) for t in _tensors(tasks)], *[p.requires_grad for p in params]


def _settings(learner: nn.Module) -> tuple[Any, ...]:
    """What else a graph depends on: the learner's tensors, by identity, and plain values such as `steps`."""
    found: list[Any] = []
    for module in learner.modules():
        found += map(id, (*module._parameters.values(), *module._buffers.values()))
        found += _plain(module.__dict__)
    inner = getattr(learner, "inner", None)
    return *found, *([] if inner is None else [*_plain(vars(inner)), inner.how]), *_switches(learner)


def _switches(learner: nn.Module) -> Iterator[Any]:
    """What networks and losses depend on besides tensors, including values in lists, closures and globals."""
    inner = getattr(learner, "inner", None)
    functions = () if inner is None else inner.problem.functions()
    for part in learner.children():
        yield settings_of(part, *functions, tensors=True)


def _plain(attributes: dict[str, Any]) -> Iterator[Any]:
    for name, value in attributes.items():
        kind = type(value)
        if kind in _PLAIN:
            yield value
        elif kind is Tensor:
            yield from (id(value), value._version)
        elif kind in (list, dict) and name[0] != "_":  # rates by step or name; torch's own lists have underscores
            yield repr(value)


def should_compile(learner: nn.Module, steps: int, tasks: Tasks, *, fixed_sizes: bool = True) -> bool:
    """Whether a training of `steps` meta-steps on batches like `tasks` is faster when compiled.

    The decision depends on shapes, the number of steps and the kind of learner, so that it is the same in every run.
    """
    if not compilable(learner) or not fixed_sizes:
        return False
    if tasks.support.mask is not None or tasks.query.mask is not None:
        return False
    small = sum(p.numel() for p in learner.parameters()) <= SMALL_NETWORK
    return small and steps * getattr(learner, "passes", 0) >= WORTH_COMPILING


def compilable(learner: nn.Module) -> bool:
    """Whether the meta-gradient can be one graph: no state is written, nothing random, a compiler there."""
    inputs = getattr(learner, "inputs", None)  # extra inputs that are not learned: no pass writes into them
    kept = set(map(id, inputs.buffers())) if isinstance(inputs, nn.Module) else set()
    writes = learner.training and any(id(b) not in kept for b in learner.buffers())
    random = any(isinstance(m, nn.modules.dropout._DropoutNd) and m.p > 0 for m in learner.modules())
    looped = any(isinstance(m, nn.RNNBase) for m in learner.modules())
    device = next((p.device.type for p in learner.parameters()), "cpu")
    builder = device != "cpu" or any(shutil.which(c) for c in (os.environ.get("CXX", "g++"), "g++", "clang++"))
    inner = getattr(learner, "inner", None)
    staged = inner is not None and (inner.how.runs_again or inner.implicit is not None)
    eager = writes or random or looped or staged or hasattr(learner, "anneal")  # annealing changes the computation
    return bool(getattr(learner, "deterministic", True)) and not eager and bool(builder)


def loss_with_ready_gradients(learner: nn.Module, tasks: Tasks) -> Tensor:
    """The meta-loss, computed together with its gradient, compiled or in chunks; `backward` returns that gradient.

    Falls back to the eager loss, with a RuntimeWarning, if something other than the learner's parameters requires grad,
    if the learner cannot be compiled, or if a second derivative is asked for.
    """
    params = list(learner.parameters())
    if any(t.requires_grad for t in _tensors(tasks)):
        return _fall_back(
            learner, tasks, "the tasks require grad, and the compiled loss holds the parameters' gradients only"
        )
    trained = [p for p in params if p.requires_grad]
    if not getattr(learner, "compile_gradient", False):  # in chunks
        return _ReadyGradients.apply(learner, tasks, *meta_gradient(learner, compile=False)(tasks), *trained)
    if not compilable(learner):
        why = "buffers, dropout, recurrent layers, checkpoints, mixed mode or implicit gradients, or no C++ compiler"
        return _fall_back(learner, tasks, f"one graph cannot hold this learner: {why}")
    if any(part.mask is not None for part in (tasks.support, tasks.query)):
        return _fall_back(learner, tasks, "the tasks are masked")
    graphs: Graphs = learner.compiled_graphs  # type: ignore[assignment]
    key = _layout(tasks, params), *_settings(learner)
    if key not in graphs and len(graphs) == MOST_GRAPHS:
        return _fall_back(learner, tasks, f"{MOST_GRAPHS} batch shapes are compiled already, and this is another")
    try:
        if key not in graphs:
            graphs[key] = _shown(learner, tasks, _graphs(learner, tasks, "inductor"))
        ready = graphs[key](tasks)
    except Untraceable as error:
        return _fall_back(learner, tasks, str(error))
    return _ReadyGradients.apply(learner, tasks, *ready, *trained)


def difference(exact: tuple[Tensor, list[Tensor]], found: tuple[Tensor, list[Tensor]]) -> str | None:
    """How a loss and its gradients differ from the exact ones, in words; None if only by rounding."""
    (loss, grads), (other_loss, others) = exact, found
    size = torch.nn.utils.get_total_norm(grads).item()
    apart = torch.nn.utils.get_total_norm([a - b for a, b in zip(grads, others, strict=True)]).item()
    loss_apart = abs(loss.item() - other_loss.item())
    each_right = all(  # a small part of the gradient may be all wrong and hardly change the norm of the whole
        (a - b).norm() <= 10 * TOLERANCE * a.norm() + TOLERANCE / 100 * size + 1e-8
        for a, b in zip(grads, others, strict=True)
    )
    if each_right and apart <= TOLERANCE * size + 1e-8 and loss_apart <= TOLERANCE * abs(loss.item()) + 1e-8:
        return None
    return f"its error is {apart:.1e} beside a norm of {size:.1e} (the loss's: {loss_apart:.1e})"


def _shown(learner: nn.Module, tasks: Tasks, gradient: Gradient) -> Gradient:
    """`gradient` if it agrees with the eager one on these tasks; otherwise a function that raises Untraceable."""
    exact, found = meta_gradient(learner, compile=False)(tasks), gradient(tasks)
    why = difference(exact, found)
    if why is None or not bool(exact[0].isfinite()):
        return gradient

    def wrong(tasks: Tasks) -> tuple[Tensor, list[Tensor]]:
        raise Untraceable(f"the compiled meta-gradient is wrong here: {why}")

    return wrong


class Graphs(dict[Any, Gradient]):
    """A learner's compiled meta-gradients by what they depend on. A copy of the learner starts without any."""

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
        if torch.is_grad_enabled():  # create_graph=True: compute the gradient again, eagerly
            loss = _fall_back(ctx.learner, ctx.tasks, "a second derivative is asked for")
            grads = torch.autograd.grad(loss, params, create_graph=True, allow_unused=True)
            return (None, None, None, None, *(None if g is None else upstream * g for g in grads))
        return (None, None, None, None, *torch._foreach_mul(grads, upstream))


def _fall_back(learner: nn.Module, tasks: Tasks, why: str) -> Tensor:
    warnings.warn(f"meta_loss runs uncompiled: {why}", RuntimeWarning, stacklevel=3)
    return learner(tasks)
