"""Many small independent networks evaluated in one batch, for agents trained on each task from scratch."""

from collections.abc import Sequence
from itertools import pairwise
from typing import final

import torch
from torch import Tensor
from torch.nn import functional as F

Layers = list[tuple[Tensor, Tensor]]


@final
class Networks:
    """Multilayer perceptrons `x [*L, N, inputs] -> [*L, N, outputs]`, one for each index of `L`, with SiLU activations.

    Args:
        lead: L, the shape of the batch of networks, such as (members, tasks) or (tasks,).
        sizes: the numbers of inputs, of units in each hidden layer, and of outputs.
        last: factor by which the initial weights of the last layer are multiplied.
        generator: source of the random initial weights, which are He-normal.

    >>> networks = Networks((3,), (4, 8, 2))
    >>> networks(torch.zeros(3, 5, 4)).shape
    torch.Size([3, 5, 2])
    """

    def __init__(
        self,
        lead: Sequence[int],
        sizes: Sequence[int],
        *,
        last: float = 1.0,
        generator: torch.Generator | None = None,
    ):
        self.layers: Layers = []
        for a, b in pairwise(sizes):
            weight = torch.randn(*lead, a, b, generator=generator).mul_((2 / a) ** 0.5)
            self.layers.append((weight, torch.zeros(*lead, 1, b)))
        self.layers[-1][0].mul_(last)
        for parameter in self.parameters():
            parameter.requires_grad_()

    def __call__(self, x: Tensor) -> Tensor:
        """The outputs of every network at its own inputs."""
        return apply(self.layers, x)

    def parameters(self) -> list[Tensor]:
        """The weights and biases of all layers."""
        return [parameter for layer in self.layers for parameter in layer]

    def copy_(self, other: "Networks") -> None:
        """Copy the weights of `other`."""
        with torch.no_grad():
            for mine, its in zip(self.parameters(), other.parameters(), strict=True):
                mine.copy_(its)


def apply(layers: Layers, x: Tensor) -> Tensor:
    """The outputs of `layers` at inputs `x`."""
    for i, (weight, bias) in enumerate(layers):
        x = torch.matmul(x, weight) + bias
        if i + 1 < len(layers):
            x = F.silu(x)
    return x
