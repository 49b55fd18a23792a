"""What a graph of autograd says of the pass that made it."""

from collections.abc import Iterable
from typing import Any

from torch import Tensor

# Operations, by the names of their nodes in a graph, whose forward derivative is exact when it is differentiated in
# reverse, each of them tested. The normalising layers are not: their forward derivatives take statistics for constants.
SMOOTH_TANGENTS = frozenset(
    """
    torch::autograd::AccumulateGrad Add Addmm Addbmm Alias AsStrided Baddbmm Bmm Cat Clone ConstantPadNd Convolution
    Cos Div Elu Exp Expand Gather Gelu Index IndexSelect LeakyRelu Log MaxPool2DWithIndices Mean Mm
    Mul Neg NllLoss Permute Pow Relu Repeat ReshapeAlias Select Sigmoid Silu Sin Slice Softplus Split Sqrt
    Squeeze Stack Sub Sum T Tanh ToCopy Transpose Unbind UnsafeSplit UnsafeView Unsqueeze View Where
    """.split()
)


def nodes_of(values: Iterable[Tensor], ends: Iterable[Tensor] = ()) -> set[Any]:
    """Every node of the graphs of `values`, as far as those of `ends`."""
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
    return all(node.name().rstrip("0123456789").removesuffix("Backward") in SMOOTH_TANGENTS for node in nodes)


def written_in_python(nodes: Iterable[Any]) -> bool:
    """Whether an operation is a user's own `autograd.Function`, whose derivatives are what it says they are."""
    return any(hasattr(node, "_forward_cls") for node in nodes)


def hidden_ends(nodes: Iterable[Any], known: Iterable[Tensor]) -> bool:
    """Whether a graph ends in tensors that are neither among `known` nor the inner loop's own."""
    there = {id(t) for t in known}
    ends = (getattr(node, "variable", None) for node in nodes)
    others = (end for end in ends if end is not None and id(end) not in there)
    return not all(getattr(end, "of_inner_loop", False) for end in others)
