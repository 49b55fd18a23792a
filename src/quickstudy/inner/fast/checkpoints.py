"""Segments of an inner loop that run again in the backward pass, so that only the states between them are kept.

With S steps in segments of sqrt(S), about 2 sqrt(S) states are in memory at a time (Chen et al. 2016, arXiv 1604.06174)
instead of the graph of S steps.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from quickstudy.inner.fast.graphs import hidden_ends, nodes_of
from quickstudy.inner.modules.purity import HIDDEN, NOT_THE_SAME, random_state, replayed, same_again

SAMPLED = 512  # entries of a tensor that are compared when it is computed again


def segment(checkpoint: str | int | None, steps: int) -> int | None:
    """The number of steps between two checkpoints; None without checkpoints."""
    if checkpoint is None or steps == 0:
        return None
    if isinstance(checkpoint, int):
        return checkpoint
    return 1 if checkpoint == "every" else math.ceil(math.sqrt(steps))


def run_again(run: Callable[..., Any], state: Any, also: Sequence[Tensor]) -> Any:
    """`run(state, True)`, without keeping its graph: the backward pass runs it again.

    Args:
        run: `(state, whether to build a graph) -> state`, which must give the same result each time; random numbers are
            repeated. It must hold no reference to its result, as that cycle would never be freed.
        state: a tree of tensors.
        also: other tensors that `run` reads and that need a gradient.
    """
    flat, spec = tree_flatten(state)
    where = [i for i, value in enumerate(flat) if isinstance(value, Tensor)]
    static = [None if isinstance(value, Tensor) else value for value in flat]
    tensors = [flat[i] for i in where]
    shape: dict[str, Any] = {}

    def rebuild(tensors: Sequence[Tensor]) -> Any:
        filled = list(static)
        for i, tensor in zip(where, tensors, strict=True):
            filled[i] = tensor
        return tree_unflatten(filled, spec)

    found = _Segment.apply(run, rebuild, shape, len(tensors), *tensors, *also)
    filled = list(shape["static"])
    for i, tensor in zip(shape["where"], found, strict=True):
        filled[i] = tensor
    return tree_unflatten(filled, shape["spec"])


class _Segment(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, run: Any, rebuild: Any, shape: dict[str, Any], count: int, *tensors: Tensor) -> Any:
        ctx.run, ctx.rebuild, ctx.count = run, rebuild, count
        ctx.random = random_state(tensors)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors)
        flat, shape["spec"] = tree_flatten(run(rebuild([t.detach() for t in tensors[:count]]), False))
        shape["where"] = [i for i, value in enumerate(flat) if isinstance(value, Tensor)]
        shape["static"] = [None if isinstance(value, Tensor) else value for value in flat]
        given = {id(t) for t in tensors}
        found = [flat[i].detach().clone() if id(flat[i]) in given else flat[i].detach() for i in shape["where"]]
        ctx.mark_non_differentiable(*(t for t in found if not t.is_floating_point()))
        ctx.left = [_sample(t) for t in found]
        return tuple(found)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> Any:
        tensors = ctx.saved_tensors
        if torch.is_grad_enabled():
            raise NotImplementedError(
                "a second outer derivative was asked for, and checkpoint= allows one; leave checkpoint= out"
            )
        wanted = [i for i, needed in enumerate(ctx.needs_input_grad[4:]) if needed]
        with replayed(ctx.random), torch.enable_grad():
            # the state is detached from earlier steps; the other tensors need no detaching
            state = [t.detach().requires_grad_(i in wanted) for i, t in enumerate(tensors[: ctx.count])]
            inputs = [*state, *tensors[ctx.count :]]
            flat, _ = tree_flatten(ctx.run(ctx.rebuild(inputs[: ctx.count]), True))
            outs = [value for value in flat if isinstance(value, Tensor)]
            if not all(same_again(a, _sample(b)) for a, b in zip(ctx.left, outs, strict=True)):
                raise RuntimeError(NOT_THE_SAME.format("checkpoint="))
            pairs = [(o, v) for o, v in zip(outs, cotangents, strict=True) if v is not None and o.requires_grad]
            if hidden_ends(nodes_of([o for o, _ in pairs], inputs), inputs):
                raise RuntimeError(HIDDEN.format("checkpoint="))
            found: list[Tensor | None] = [None] * len(tensors)
            if pairs:
                out, vectors = zip(*pairs, strict=True)
                grads = torch.autograd.grad(out, [inputs[i] for i in wanted], vectors, allow_unused=True)
                for i, gradient in zip(wanted, grads, strict=True):
                    found[i] = gradient
        return (None, None, None, None, *found)


def _sample(value: Tensor) -> Tensor:
    """Some entries of a tensor, for comparison."""
    flat = value.detach().reshape(-1) if value.is_contiguous() else value.detach().flatten()[:SAMPLED]
    return flat[:: max(1, len(flat) // SAMPLED)].clone()
