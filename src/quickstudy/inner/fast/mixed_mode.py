"""The inner gradient, differentiable: reverse over reverse, or by forward mode without a tape of it.

Reverse over reverse keeps the tape of every inner backward pass. Mixed mode (MixFlow-MG, Kemaev et al. 2025, arXiv
2505.00793) keeps only what went in. When the outer pass comes back with a vector v for g = dL/dw, symmetry of second
derivatives turns v^T dg/dz into the derivative of dL/dz along v, and that into the gradient of a slope:

    v^T d(dL/dw)/dz  =  d/de  dL/dz (w + e v)  =  d/dz  d/de L (w + e v)    at e = 0,

for z the weights and everything else the loss depends on. The right-hand side, reverse over forward, takes 0.6 of the
time of the middle, forward over reverse; but the slope must itself be differentiable, which it is not exactly through
torch's normalising operations, nor at all through softmax. So it serves where every operation of the pass is known to
allow it (`Plan.tangents`), and the middle elsewhere.
Where the network draws random numbers, or an operation has no forward derivative, the step is run again and
differentiated in reverse: no tape is kept either.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from quickstudy.inner.fast.engines import in_transform, prepared

Total = Callable[[list[Tensor], Any], tuple[Tensor, tuple[list[Tensor], list[Tensor]]]]


def gradients(
    total: Total,
    leaves: list[Tensor],
    rest: Any,
    *,
    second_order: bool,
    mixed: bool = False,
    tangents: bool = False,
) -> tuple[list[Tensor | None], list[Tensor], list[Tensor]]:
    """The gradient of `total` with respect to `leaves`, and what else it gave.

    Args:
        total: `(leaves, rest) -> (scalar, (values, records))`: the sum of the task losses; tensors that carry a graph;
            tensors that carry none.
        rest: a tree of everything else that `total` reads.
        second_order: keep the gradient differentiable; otherwise it and the values are constants.
        mixed: in mixed mode, as above; the result can be differentiated once.
        tangents: slopes of `total` are differentiable.

    Returns:
        A gradient for every leaf (None where the loss does not reach it; 0 in mixed mode), the values and the records.
    """
    second_order = second_order and torch.is_grad_enabled()  # or an expanded parameter, which claims to have a graph
    if not second_order:
        leaves, rest = _detached(leaves), _detached(rest)
    if not leaves:  # nothing moves, but what the pass leaves is wanted
        _, (values, records) = total(leaves, rest)
        return [], values if second_order else _detached(values), records
    if mixed and second_order and not in_transform():
        tensors, spec = tree_flatten((leaves, rest))
        where = [i for i, t in enumerate(tensors) if isinstance(t, Tensor)]
        shape: list[int] = []
        static = [None if isinstance(t, Tensor) else t for t in tensors]
        options = total, (static, spec, where), len(leaves), shape, tangents
        flat = _Mixed.apply(*options, *(tensors[i] for i in where))
        a, b = shape
        return list(flat[:a]), list(flat[a:b]), list(flat[b:])
    if in_transform():
        grads, (values, records) = torch.func.grad(total, has_aux=True)(leaves, rest)
        return (grads, values, records) if second_order else (_detached(grads), _detached(values), records)
    with torch.enable_grad():
        # views, as the data may have been made from the same tensors, and count as given
        leaves = [leaf.view_as(leaf) if leaf.requires_grad else leaf.detach().requires_grad_() for leaf in leaves]
        value, (values, records) = total(leaves, rest)
        found: Any = [None] * len(leaves)
        if value.requires_grad:
            found = torch.autograd.grad(value, leaves, create_graph=second_order, allow_unused=True)
    if mixed:
        found = [torch.zeros_like(t) if g is None else g for g, t in zip(found, leaves, strict=True)]
    return list(found), values if second_order else _detached(values), records


class _Mixed(torch.autograd.Function):
    """g and the values, from inputs alone; the backward pass mixes forward and reverse mode."""

    @staticmethod
    def forward(
        ctx: Any, total: Total, tree: Any, leaves: int, shape: list[int], tangents: bool, *tensors: Tensor
    ) -> Any:
        ctx.total, ctx.tree, ctx.leaves, ctx.tangents = total, tree, leaves, tangents
        ctx.random = random_state(tensors)
        ctx.save_for_backward(*tensors)
        ctx.set_materialize_grads(False)
        inputs, rest = _rebuild(tree, [t.detach() for t in tensors])
        grads, values, records = gradients(total, inputs, rest, second_order=False, mixed=True)
        ctx.draws = not torch.equal(ctx.random[0], torch.get_rng_state())
        if ctx.random[1] is not None:
            ctx.draws = ctx.draws or not torch.equal(ctx.random[2], torch.cuda.get_rng_state(ctx.random[1]))
        ctx.mark_non_differentiable(*records)
        shape += [len(grads), len(grads) + len(values)]
        ctx.values = len(values)
        return (*grads, *values, *records)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> Any:
        tensors, (grads, values) = ctx.saved_tensors, (cotangents[: ctx.leaves], cotangents[ctx.leaves :])
        values = values[: ctx.values]
        with prepared(), replayed(ctx.random):
            if torch.is_grad_enabled():
                warnings.warn(
                    "mixed_mode serves one outer derivative, and a second one is asked for: it is computed by reverse "
                    "mode, with all the memory that takes",
                    RuntimeWarning,
                    stacklevel=2,
                )
                found = _reverse_over_reverse(ctx, tensors, grads, values, create_graph=True)
            elif ctx.draws:  # under forward mode torch draws dropout's masks in another way
                found = _again_in_reverse(ctx, tensors, grads, values)
            elif ctx.tangents:
                found = _reverse_over_forward(ctx, tensors, grads, values)
            else:
                try:
                    found = _forward_over_reverse(ctx, tensors, grads, values)
                except RuntimeError as error:
                    if "forward AD" not in str(error):
                        raise
                    found = _again_in_reverse(ctx, tensors, grads, values)  # torch lacks the forward derivative
        return (None, None, None, None, None, *found)


def _reverse_over_forward(ctx: Any, tensors: Any, grads: Any, values: Any) -> list[Tensor | None]:
    wanted = [i for i, needed in enumerate(ctx.needs_input_grad[5:]) if needed and tensors[i].is_floating_point()]
    with torch.enable_grad(), forward_ad.dual_level():
        # forward mode refuses tensors whose elements share memory
        inputs = [t.detach().contiguous() if i < ctx.leaves else t.detach() for i, t in enumerate(tensors)]
        inputs = [t.requires_grad_() if i in wanted else t for i, t in enumerate(inputs)]
        moving = list(inputs)
        for i, g in enumerate(grads):
            if g is not None:
                moving[i] = forward_ad.make_dual(inputs[i], g.contiguous())
        value, (seen, _) = ctx.total(*_rebuild(ctx.tree, moving))
        slope = forward_ad.unpack_dual(value).tangent
        seen = [forward_ad.unpack_dual(s).primal for s in seen]
    found: list[Tensor | None] = [None] * len(tensors)
    pairs = [(slope, None if slope is None else torch.ones_like(slope)), *zip(seen, values, strict=True)]
    _add(found, wanted, _pull(pairs, [inputs[i] for i in wanted]))
    return found


def _forward_over_reverse(ctx: Any, tensors: Any, grads: Any, values: Any) -> list[Tensor | None]:
    wanted = [i for i, needed in enumerate(ctx.needs_input_grad[5:]) if needed and tensors[i].is_floating_point()]
    fixed = [t.detach() for t in tensors]  # forward mode refuses tensors whose elements share memory
    leaves = [t.contiguous() for t in fixed[: ctx.leaves]]
    others = [i for i in wanted if i >= ctx.leaves]

    def loss(leaves: list[Tensor], rest: list[Tensor]) -> Tensor:
        filled = [*leaves, *fixed[ctx.leaves :]]
        for i, value in zip(others, rest, strict=True):
            filled[i] = value
        return ctx.total(*_rebuild(ctx.tree, filled))[0]

    found: list[Tensor | None] = [None] * len(tensors)
    if any(g is not None for g in grads):
        along = [torch.zeros_like(t) if g is None else g.contiguous() for g, t in zip(grads, leaves, strict=True)]
        rest = [fixed[i].contiguous() for i in others]
        _, (moved, drawn) = torch.func.jvp(  # type: ignore[misc]
            lambda leaves: torch.func.grad(loss, argnums=(0, 1))(leaves, rest), (leaves,), (along,)
        )
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
        alone = [t.detach().requires_grad_(t.is_floating_point()) for t in tensors]
        return _reverse_over_reverse(ctx, alone, grads, values, create_graph=False)


def _reverse_over_reverse(
    ctx: Any, tensors: Any, grads: Any, values: Any, *, create_graph: bool
) -> list[Tensor | None]:
    wanted = [i for i, needed in enumerate(ctx.needs_input_grad[5:]) if needed]
    if create_graph:  # what was given may hang together, and must count once
        tensors = [t.view_as(t) for t in tensors]
    inputs, rest = _rebuild(ctx.tree, list(tensors))
    again, seen, _ = gradients(ctx.total, inputs, rest, second_order=True)
    pairs = [(out, v) for out, v in zip([*again, *seen], [*grads, *values], strict=True)]
    found: list[Tensor | None] = [None] * len(tensors)
    _add(found, wanted, _pull(pairs, [tensors[i] for i in wanted], create_graph=create_graph))
    return found


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


def _detached(tree: Any) -> Any:
    return tree_map(lambda t: t.detach() if isinstance(t, Tensor) else t, tree)


def random_state(tensors: Sequence[Tensor]) -> Any:
    """The state of torch's generators, so that dropout falls the same way again."""
    device = next((t.device for t in tensors if t.device.type == "cuda"), None)
    return torch.get_rng_state(), device, None if device is None else torch.cuda.get_rng_state(device)


@contextmanager
def replayed(state: Any) -> Iterator[None]:
    """Torch's generators as they were at `random_state`, and afterwards as they are."""
    host, device, theirs = state
    with torch.random.fork_rng(devices=[] if device is None else [device]):
        torch.set_rng_state(host)
        if theirs is not None:
            torch.cuda.set_rng_state(theirs, device)
        yield
