"""A function of tensors as one compiled graph.

`torch.compile` reads Python's bytecode and does not see into autograd: around a loss it silently drops the second
derivative. Here the function runs once on real tensors while torch records every operation, including those of
autograd's backward passes, and inductor compiles the record. So the graph does what eager torch would do, whatever
the Python code around it; and a call checks no guards, which would take longer than a small meta-gradient.
"""

import warnings
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor
from torch.fx import GraphModule

from quickstudy.tracing import tracing

Function = Callable[..., tuple[Tensor, ...]]
Backend = Literal["inductor", "aot_eager"] | Callable[[GraphModule, list[Tensor]], Function]

SMALL = 16  # largest side of a matrix product that is faster as a sum than by a library call


class Untraceable(RuntimeError):
    """Raised for a function that cannot be one graph."""


def compile_graph(function: Function, inputs: list[Tensor], backend: Backend = "inductor") -> Function:
    """`function`, compiled for inputs with the shapes, strides, types and devices of `inputs`, and for no others.

    Args:
        function: takes tensors that have no autograd graph. It must do the same operations whatever their values, write
            into no other tensors and draw no random numbers. Other tensors that it reads become constants.
        inputs: an example.
        backend: "inductor"; "aot_eager", which runs the recorded operations; or `(graph, inputs) -> function`

    Raises:
        Untraceable: if the operations depend on values.
    """
    from torch.fx.experimental.proxy_tensor import make_fx

    with tracing():
        try:
            graph = make_fx(function, decomposition_table=_small_products())(*inputs)
        except RuntimeError as error:
            if "tracing tensor" not in str(error):
                raise
            raise Untraceable(
                "what runs depends on the values of tensors, and a graph does the same operations for all values"
            ) from error
    if callable(backend):
        return backend(graph, inputs)
    if backend == "aot_eager":
        return graph
    from torch import _inductor

    for node in graph.graph.nodes:  # metadata of tracing, each node with its own fake mode, which inductor refuses
        node.meta.clear()
    # a C++ wrapper saves a fifth of a small graph's time; channels-last convolutions lose more in the conversions
    # around them than they gain
    on_cpu = {"cpp_wrapper": True, "layout_optimization": False}
    options = on_cpu if all(t.device.type == "cpu" for t in inputs) else None
    with warnings.catch_warnings():  # the user chooses whether to use TF32, by torch's own switch
        warnings.filterwarnings("ignore", message="TensorFloat32 tensor cores")
        return _inductor.compile(graph, list(inputs), options=options)


def _small_products() -> dict[Any, Callable[..., Any]]:
    """Decompositions of products of vectors or small matrices into sums, which inductor fuses with other operations."""

    def product(a: Tensor, b: Tensor) -> Any:
        return _as_sum(a, b) if a.device.type == "cpu" else NotImplemented

    return {torch.ops.aten.mm.default: product, torch.ops.aten.bmm.default: product}


def _as_sum(a: Tensor, b: Tensor) -> Any:
    """`a @ b` of `[.., m, k]` and `[.., k, n]` as a sum, if one of m, k, n is 1 or two of them are small."""
    (m, k), n = a.shape[-2:], b.shape[-1]
    if k == 1:
        return a * b
    if n == 1:
        return (a * b.mT).sum(-1, keepdim=True)
    if m == 1:
        return (a.mT * b).sum(-2, keepdim=True)
    if max(m, n) <= SMALL:
        return (a.unsqueeze(-2) * b.mT.unsqueeze(-3)).sum(-1)
    if max(m, k) <= SMALL:
        return (a.unsqueeze(-1) * b.unsqueeze(-3)).sum(-2)
    if max(k, n) <= SMALL:
        return _as_sum(b.mT, a.mT).mT
    return NotImplemented
