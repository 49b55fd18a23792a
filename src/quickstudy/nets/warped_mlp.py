"""A multi-layer perceptron with warp layers."""

from collections.abc import Sequence
from typing import Any

from jaxtyping import Shaped
from torch import Tensor, nn

from quickstudy.nets.mlp import MLP


class WarpedMLP(nn.Module):
    """A multi-layer perceptron with a linear warp layer before every activation, for `quickstudy.WarpGrad`.

    The warp layers are initially identities, so that the function is that of an `MLP`.

    Args:
        inputs, hidden, outputs, activation: as for `MLP`.

    >>> [name for name, _ in WarpedMLP(1, [8], 1).named_parameters()][:4]
    ['layers.0.weight', 'layers.0.bias', 'layers.1.weight', 'layers.1.bias']
    >>> [name for name, _ in WarpedMLP(1, [8], 1).named_parameters()][4:]
    ['warps.0.weight', 'warps.0.bias']
    """

    def __init__(self, inputs: int, hidden: Sequence[int], outputs: int, *, activation: str = "relu"):
        super().__init__()
        plain = MLP(inputs, hidden, outputs, activation=activation)
        self.inputs, self.hidden, self.outputs, self.activation = inputs, plain.hidden, outputs, activation
        self.layers, self.act = plain.layers, plain.act
        self.warps = nn.ModuleList(_identity(width) for width in hidden)

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        own = {"inputs": self.inputs, "hidden": self.hidden, "outputs": self.outputs}
        return {**own, "activation": self.activation}

    def forward(self, x: Shaped[Tensor, "*batch inputs"]) -> Shaped[Tensor, "*batch outputs"]:
        """The output at `x [..., inputs]`: every hidden layer is followed by its warp layer and the activation."""
        for layer, warp in zip(self.layers[:-1], self.warps, strict=True):
            x = self.act(warp(layer(x)))
        return self.layers[-1](x)


def _identity(width: int) -> nn.Linear:
    layer = nn.Linear(width, width)
    nn.init.eye_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
