"""A function of tensors as one compiled graph.

`torch.compile` reads Python's bytecode, and cannot see through autograd: around a loss it silently drops the second
derivative. Here the function is run once on real tensors while torch notes every operation, those of autograd's
backward passes included, and the list is handed to inductor. So the graph holds what eager torch would do, whatever
the Python around it; and a call has no guards to check, which take longer than a small meta-gradient.
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

SMALL = 16  # sides up to which a product library's own overhead shows


class Untraceable(RuntimeError):
    """A function cannot be one graph."""


def compile_graph(function: Function, inputs: list[Tensor], backend: Backend = "inductor") -> Function:
    """`function`, compiled for inputs of the shapes, strides, types and devices of `inputs`, and for no others.

    Args:
        function: of tensors without a graph of their own. It must do the same whatever their values, and neither write
            into tensors from outside nor draw random numbers. A tensor that it reads besides is taken as a constant.
        inputs: an example.
        backend: "inductor"; "aot_eager", which runs the operations as they were noted and takes no time to compile; or
            `(graph, inputs) -> function`.

    Raises:
        Untraceable: if what the function does depends on values.
    """
    from torch.fx.experimental.proxy_tensor import make_fx

    with tracing():
        try:
            graph = make_fx(function, decomposition_table=_small_products())(*inputs)
        except RuntimeError as error:
            if "tracing tensor" not in str(error):
                raise
            raise Untraceable(
                "what runs depends on the values of tensors, and a graph does the same for all"
            ) from error
    if callable(backend):
        return backend(graph, inputs)
    if backend == "aot_eager":
        return graph
    from torch import _inductor

    for node in graph.graph.nodes:  # shapes noted while tracing, each in a mode of its own, which inductor refuses
        node.meta.clear()
    # a call from C++ saves a fifth of a small graph's time; convolutions with channels last cost more in what surrounds
    # them than they gain
    on_cpu = {"cpp_wrapper": True, "layout_optimization": False}
    options = on_cpu if all(t.device.type == "cpu" for t in inputs) else None
    with warnings.catch_warnings():  # whether to round products to TF32 is the user's to choose, with torch's switch
        warnings.filterwarnings("ignore", message="TensorFloat32 tensor cores")
        return _inductor.compile(graph, list(inputs), options=options)


def _small_products() -> dict[Any, Callable[..., Any]]:
    """Products with a side of one, or of small matrices, as sums, which inductor fuses with what is around them."""

    def product(a: Tensor, b: Tensor) -> Any:
        return _as_sum(a, b) if a.device.type == "cpu" else NotImplemented

    return {torch.ops.aten.mm.default: product, torch.ops.aten.bmm.default: product}


def _as_sum(a: Tensor, b: Tensor) -> Any:
    """`a @ b` of `[.., m, k]` and `[.., k, n]` where two of m, k and n are small, or one of them is 1."""
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
