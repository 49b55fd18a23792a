"""The counted floor: floating-point operations of the exact meta-gradient, and how fast this machine multiplies.

With one product x W^T of n rows as a unit, a support pass costs a forward product and, but for the first layer, one for
the input's gradient. Differentiating a product costs two more. The first step's weights, and the part W of later ones,
are shared by all tasks; what is added to W is kept as low-rank terms (rows of the steps before), or built and stacked,
whichever is less. Products only: activations and normalisations are left out.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.timing import median_of

LARGE = 2048  # side of the matrices whose product sets the machine's speed


class Layer(NamedTuple):
    """A linear layer and the rows it sees.

    Args:
        inputs, outputs: features.
        support, query: rows of its input for one task (points, times tokens).
        first: its input is data, so that no gradient passes through it.
    """

    inputs: int
    outputs: int
    support: int
    query: int
    first: bool = False


def mlp_layers(width: int, support: int = 10, query: int = 10) -> list[Layer]:
    """Of MLP 1-width-width-1."""
    sizes = [(1, width), (width, width), (width, 1)]
    return [Layer(a, b, support, query, first=i == 0) for i, (a, b) in enumerate(sizes)]


def flops(layers: list[Layer], tasks: int, steps: int) -> int:
    """Of one meta-gradient, each layer in the cheaper form."""
    return sum(min(lowrank_flops(layer, tasks, steps), dense_flops(layer, tasks, steps)) for layer in layers)


def lowrank_flops(layer: Layer, tasks: int, steps: int) -> int:
    """Of one layer, its fast weight kept as W plus terms of rank `support` a step."""
    into, out, n, m, first = layer
    total = 0
    for s in range(steps + 1):  # the last pass is the query's
        rows, terms = (n if s < steps else m), s * n
        shared = 2 * rows * into * out
        score, apply = 2 * rows * terms * into, 2 * rows * terms * out  # x X^T, then times D
        total += shared * (2 if first else 3)  # forward; gradients of W and x
        total += score * (1 if first else 3) + apply * 3
        if s < steps and not first:  # the input's gradient D W, and its own two gradients
            total += 3 * shared + 3 * (score + apply)
    return tasks * total


def dense_flops(layer: Layer, tasks: int, steps: int) -> int:
    """Of one layer, its fast weight built for every task."""
    into, out, n, m, first = layer
    total = 0
    for s in range(steps + 1):
        product = 2 * (n if s < steps else m) * into * out
        total += product * (2 if first else 3)
        if s < steps:
            total += product * (2 if first else 3)  # the weight's gradient D^T x, and its gradients
            total += 0 if first else 3 * product
    return tasks * total


def counted(function: Callable[[], object]) -> int:
    """Floating-point operations of products and convolutions in `function`, as torch counts them."""
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


def product(side: int = LARGE) -> Callable[[], Tensor]:
    """One large float32 matrix product, of `2 side^3` operations."""
    a, b = torch.randn(side, side), torch.randn(side, side)
    out: Tensor = torch.empty(side, side)
    return lambda: torch.mm(a, b, out=out)


def gigaflops(side: int = LARGE, *, budget: float = 1.0) -> float:
    """10^9 floating-point operations a second in it."""
    return 2 * side**3 / median_of(product(side), rounds=5, budget=budget) / 1e9
