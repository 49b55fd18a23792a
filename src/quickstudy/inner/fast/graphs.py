"""Properties of a forward pass, read from its autograd graph."""

import functools
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

# Operations, by the names of their graph nodes, whose forward derivative is exact when it is differentiated in reverse;
# each of them is tested. The normalising layers are not among them: their forward derivatives treat statistics as
# constants.
SMOOTH_TANGENTS = frozenset(
    """
    torch::autograd::AccumulateGrad Add Addmm Addbmm Alias AsStrided Baddbmm Bmm Cat Clone ConstantPadNd Convolution
    Cos Div Elu Exp Expand Gather Gelu Index IndexSelect LeakyRelu Log MaxPool2DWithIndices Mean Mm
    Mul Neg NllLoss Permute Pow Relu Repeat ReshapeAlias Select Sigmoid Silu Sin Slice Softplus Split Sqrt
    Squeeze Stack Sub Sum T Tanh ToCopy Transpose Unbind UnsafeSplit UnsafeView Unsqueeze View Where
    """.split()
)


def nodes_of(values: Iterable[Tensor], ends: Iterable[Tensor] = ()) -> set[Any]:
    """All nodes of the graphs of `values`, down to those of `ends`."""
    todo = [v.grad_fn for v in values]
    seen = {e.grad_fn for e in ends if e.grad_fn is not None}
    stop = set(seen)
    while todo:
        node = todo.pop()
        if node is not None and node not in seen:
            seen.add(node)
            todo += [parent for parent, _ in node.next_functions]
    return seen - stop


def smooth(nodes: Iterable[Any]) -> bool:
    """Whether every operation has a forward derivative that can be differentiated in reverse."""
    return all(_is_smooth(node.name()) for node in nodes)


@functools.cache
def _is_smooth(name: str) -> bool:
    return name.rstrip("0123456789").removesuffix("Backward") in SMOOTH_TANGENTS


def written_in_python(nodes: Iterable[Any]) -> bool:
    """Whether an operation is an `autograd.Function` of the user, whose derivatives need not be consistent."""
    return any(hasattr(node, "_forward_cls") for node in nodes)


def hidden_ends(nodes: Iterable[Any], known: Iterable[Tensor]) -> bool:
    """Whether a graph has leaves that are neither in `known` nor created by the inner loop."""
    there = {id(t) for t in known}
    for node in nodes:
        end = node.variable if type(node) is _End else None
        if end is not None and id(end) not in there and not getattr(end, "of_inner_loop", False):
            return True
    return False


def differentiable_once(nodes: Iterable[Any]) -> str | None:
    """The name of an `autograd.Function` of the user that is marked once_differentiable; None if there is none."""
    for node in nodes:
        function: Any = getattr(node, "_forward_cls", None)
        code = getattr(getattr(function, "backward", None), "__code__", None)
        if code is not None and code is _ONCE:
            return str(function.__name__)
    return None


_End: Any = type(torch.ones((), requires_grad=True).expand(1).grad_fn.next_functions[0][0])  # type: ignore[union-attr]
_ONCE = torch.autograd.function.once_differentiable(lambda ctx, *gradients: gradients).__code__
