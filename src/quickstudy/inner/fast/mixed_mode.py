"""The differentiable inner gradient: reverse over reverse, or mixed mode, which keeps no graph of it.

Reverse over reverse keeps the graph of every inner backward pass. Mixed mode (MixFlow-MG, Kemaev et al. 2025, arXiv
2505.00793) keeps only the inputs. In the outer backward pass there is a vector v for g = dL/dw. By the symmetry of
second derivatives, v^T dg/dz is the derivative of dL/dz along v, which is the gradient of a directional derivative:

    v^T d(dL/dw)/dz  =  d/de  dL/dz (w + e v)  =  d/dz  d/de L (w + e v)    at e = 0,

for z the weights and everything else that the loss depends on. The right-hand side, reverse over forward, takes 0.6 of
the time of the middle, forward over reverse. But the directional derivative must itself be differentiable; through
torch's normalising operations its derivative is not exact, and through softmax it has none. So the right-hand side is
used if every operation of the pass is known to allow it (`graphs.SMOOTH_TANGENTS`), and the middle otherwise.
If the network draws random numbers, has derivatives of its own (a hook, an `autograd.Function`), or uses an operation
without a forward derivative, the step runs again and is differentiated in reverse, which keeps no graph either.
Forward derivatives are switched off wherever the network switches reverse ones off.
"""

import threading
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils._pytree import tree_flatten, tree_unflatten

from quickstudy.inner.fast.capture import catching
from quickstudy.inner.fast.graphs import hidden_ends, nodes_of, smooth, written_in_python
from quickstudy.inner.fast.watch import Watch
from quickstudy.inner.modules.purity import HIDDEN, NOT_THE_SAME, has_drawn, random_state, replayed, same_again
from quickstudy.inner.transforms import exact_kernels, in_transform, own_leaf
from quickstudy.inner.trees import detached

_FORWARD_MODE = threading.RLock()  # torch has one level of forward mode for all threads

Total = Callable[[list[Tensor], Any], tuple[Tensor, tuple[list[Tensor], list[Tensor]]]]


def gradients(
    total: Total,
    leaves: list[Tensor],
    rest: Any,
    *,
    second_order: bool,
    mixed: bool = False,
) -> tuple[list[Tensor | None], list[Tensor], list[Tensor]]:
    """The gradient of `total` with respect to `leaves`, and its other results.

    Args:
        total: `(leaves, rest) -> (scalar, (values, records))`: the sum of the task losses, tensors with a graph, and
            tensors without one.
        leaves: the tensors to differentiate by.
        rest: a tree of everything else that `total` reads.
        second_order: keep the gradient differentiable; otherwise gradient and values are constants.
        mixed: use mixed mode, see above; the result can be differentiated once.

    Returns:
        A gradient for every leaf (None if the loss does not depend on it), the values and the records.
    """
    second_order = second_order and torch.is_grad_enabled()  # an expanded parameter claims to have a graph even without
    if not second_order:
        leaves, rest = detached(leaves), detached(rest)
    if not leaves:  # nothing adapts, but values and records are needed
        _, (values, records) = total(leaves, rest)
        return [], values if second_order else detached(values), records
    if mixed and second_order and not in_transform():
        return _mixed(total, leaves, rest)
    if in_transform():
        grads, (values, records) = torch.func.grad(total, has_aux=True)(leaves, rest)
        return (grads, values, records) if second_order else (detached(grads), detached(values), records)
    with torch.enable_grad():
        # views, so that data computed from the same tensors count as constants
        leaves = [leaf.view_as(leaf) if leaf.requires_grad else own_leaf(leaf) for leaf in leaves]
        value, (values, records) = total(leaves, rest)
        found: Any = [None] * len(leaves)
        if value.requires_grad:
            found = torch.autograd.grad(value, leaves, create_graph=second_order, allow_unused=True)
    return list(found), values if second_order else detached(values), records


def _mixed(total: Total, leaves: list[Tensor], rest: Any) -> tuple[list[Tensor | None], list[Tensor], list[Tensor]]:
    tensors, spec = tree_flatten((leaves, rest))
    where = [i for i, t in enumerate(tensors) if isinstance(t, Tensor)]
    static = [None if isinstance(t, Tensor) else t for t in tensors]
    shape: list[int] = []
    flat = _Mixed.apply(total, (static, spec, where), len(leaves), shape, *(tensors[i] for i in where))
    a, b = shape
    return list(flat[:a]), list(flat[a:b]), list(flat[b:])


class _Mixed(torch.autograd.Function):
    """Computes g and the values, and keeps only the inputs; the backward pass uses forward and reverse mode."""

    @staticmethod
    def forward(ctx: Any, total: Total, tree: Any, leaves: int, shape: list[int], *tensors: Tensor) -> Any:
        ctx.total, ctx.tree, ctx.leaves = total, tree, leaves
        ctx.random = random_state(tensors)
        ctx.save_for_backward(*tensors)
        ctx.set_materialize_grads(False)
        inputs, rest = _rebuild(tree, [t.detach() for t in tensors])
        with torch.enable_grad(), Watch() as watch:
            inputs = [t.detach().requires_grad_() for t in inputs]
            value, (values, records) = total(inputs, rest)
            nodes = nodes_of([value]) if value.requires_grad else set()
            grads: Any = (None,) * leaves
            if value.requires_grad:
                grads = torch.autograd.grad(value, inputs, allow_unused=True)
        if hidden_ends(nodes, inputs):
            raise RuntimeError(HIDDEN.format("mixed_mode"))
        ctx.value, ctx.smooth = value.detach(), smooth(nodes)
        ctx.in_reverse = has_drawn(ctx.random) or watch.hooked or written_in_python(nodes)
        ctx.mark_non_differentiable(*records)
        shape += [leaves, leaves + len(values)]
        ctx.values = len(values)
        return (*grads, *(v.detach() for v in values), *records)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> Any:
        tensors, (grads, values) = ctx.saved_tensors, (cotangents[: ctx.leaves], cotangents[ctx.leaves :])
        values = values[: ctx.values]
        with exact_kernels(), catching(), replayed(ctx.random):
            if torch.is_grad_enabled():
                warnings.warn(
                    "mixed_mode allows one outer derivative, and a second one is asked for: it is computed by reverse "
                    "mode, which needs more memory",
                    RuntimeWarning,
                    stacklevel=2,
                )
                found = _reverse_over_reverse(ctx, tensors, grads, values, create_graph=True)
            elif ctx.in_reverse:  # forward mode draws other dropout masks
                found = _again_in_reverse(ctx, tensors, grads, values)
            else:
                way = _reverse_over_forward if ctx.smooth else _forward_over_reverse
                try:
                    with _FORWARD_MODE, torch.enable_grad(), Watch(tangents=True):
                        found = way(ctx, tensors, grads, values)
                except (RuntimeError, NotImplementedError) as error:
                    if not any(word in str(error).lower() for word in ("forward", "jvp", "functorch")):
                        raise
                    found = _again_in_reverse(ctx, tensors, grads, values)  # torch lacks a forward derivative
        return (None, None, None, None, *found)


def _same(ctx: Any, value: Tensor) -> None:
    """Raise RuntimeError unless the second run gave the value of the first."""
    if not same_again(ctx.value, value.detach()):
        raise RuntimeError(NOT_THE_SAME.format("mixed_mode=True"))


def _reverse_over_forward(ctx: Any, tensors: Any, grads: Any, values: Any) -> list[Tensor | None]:
    wanted = [i for i, needed in enumerate(ctx.needs_input_grad[4:]) if needed and tensors[i].is_floating_point()]
    with torch.enable_grad(), forward_ad.dual_level():
        # forward mode refuses tensors whose elements share memory
        inputs = [t.detach().contiguous() if i < ctx.leaves else t.detach() for i, t in enumerate(tensors)]
        inputs = [t.requires_grad_() if i in wanted else t for i, t in enumerate(inputs)]
        moving = list(inputs)
        for i, g in enumerate(grads):
            if g is not None:
                moving[i] = forward_ad.make_dual(inputs[i], g.contiguous())
        value, (seen, _) = ctx.total(*_rebuild(ctx.tree, moving))
        _same(ctx, forward_ad.unpack_dual(value).primal)
        slope = forward_ad.unpack_dual(value).tangent
        seen = [forward_ad.unpack_dual(s).primal for s in seen]
    found: list[Tensor | None] = [None] * len(tensors)
    pairs = [(slope, None if slope is None else torch.ones_like(slope)), *zip(seen, values, strict=True)]
    _add(found, wanted, _pull(pairs, [inputs[i] for i in wanted]))
    return found


def _forward_over_reverse(ctx: Any, tensors: Any, grads: Any, values: Any) -> list[Tensor | None]:
    wanted = [i for i, needed in enumerate(ctx.needs_input_grad[4:]) if needed and tensors[i].is_floating_point()]
    fixed = [t.detach() for t in tensors]  # forward mode refuses tensors whose elements share memory
    leaves = [t.contiguous() for t in fixed[: ctx.leaves]]
    others = [i for i in wanted if i >= ctx.leaves]

    def loss(leaves: list[Tensor], rest: list[Tensor]) -> tuple[Tensor, Tensor]:
        filled = [*leaves, *fixed[ctx.leaves :]]
        for i, value in zip(others, rest, strict=True):
            filled[i] = value
        total = ctx.total(*_rebuild(ctx.tree, filled))[0]
        return total, total

    found: list[Tensor | None] = [None] * len(tensors)
    if any(g is not None for g in grads):
        along = [torch.zeros_like(t) if g is None else g.contiguous() for g, t in zip(grads, leaves, strict=True)]
        rest = [fixed[i].contiguous() for i in others]
        _, (moved, drawn), value = torch.func.jvp(  # type: ignore[misc]
            lambda leaves: torch.func.grad(loss, argnums=(0, 1), has_aux=True)(leaves, rest),
            (leaves,),
            (along,),
            has_aux=True,
        )
        _same(ctx, value)
        for i, value in [*enumerate(moved), *zip(others, drawn, strict=True)]:
            found[i] = value if i in wanted else None
    if any(v is not None for v in values):
        with torch.enable_grad():
            inputs = [t.requires_grad_() if i in wanted else t for i, t in enumerate(t.detach() for t in tensors)]
            _, (seen, _) = ctx.total(*_rebuild(ctx.tree, inputs))
            _add(found, wanted, _pull([(s, v) for s, v in zip(seen, values, strict=True)], [inputs[i] for i in wanted]))
    return found


def _again_in_reverse(ctx: Any, tensors: Any, grads: Any, values: Any) -> list[Tensor | None]:
    with torch.enable_grad():
        wanted = ctx.needs_input_grad[4:]
        alone = [t.detach().requires_grad_(needed) for t, needed in zip(tensors, wanted, strict=True)]
        return _reverse_over_reverse(ctx, alone, grads, values, create_graph=False)


def _reverse_over_reverse(
    ctx: Any, tensors: Any, grads: Any, values: Any, *, create_graph: bool
) -> list[Tensor | None]:
    wanted = [i for i, needed in enumerate(ctx.needs_input_grad[4:]) if needed]
    if create_graph:  # inputs can depend on each other, and must be differentiated separately
        tensors = [t.view_as(t) for t in tensors]
    inputs, rest = _rebuild(ctx.tree, list(tensors))
    again, seen, _ = gradients(_checked(ctx), inputs, rest, second_order=True)
    pairs = [(out, v) for out, v in zip([*again, *seen], [*grads, *values], strict=True)]
    found: list[Tensor | None] = [None] * len(tensors)
    _add(found, wanted, _pull(pairs, [tensors[i] for i in wanted], create_graph=create_graph))
    return found


def _checked(ctx: Any) -> Total:
    def total(leaves: list[Tensor], rest: Any) -> Any:
        found = ctx.total(leaves, rest)
        _same(ctx, found[0])
        return found

    return total


def _pull(pairs: Sequence[tuple[Any, Any]], inputs: list[Tensor], *, create_graph: bool = False) -> Any:
    pairs = [(out, v) for out, v in pairs if out is not None and v is not None and out.requires_grad]
    if not pairs or not inputs:
        return [None] * len(inputs)
    outs, vectors = zip(*pairs, strict=True)
    return torch.autograd.grad(outs, inputs, vectors, create_graph=create_graph, allow_unused=True)


def _add(found: list[Tensor | None], where: list[int], more: Any) -> None:
    for i, value in zip(where, more, strict=True):
        before = found[i]
        found[i] = value if before is None else before if value is None else before + value


def _rebuild(tree: Any, tensors: list[Tensor]) -> tuple[list[Tensor], Any]:
    everything, spec, where = tree
    filled = list(everything)
    for i, tensor in zip(where, tensors, strict=True):
        filled[i] = tensor
    return tree_unflatten(filled, spec)
