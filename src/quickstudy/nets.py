"""Networks that runs can be rebuilt from. Any other `torch.nn.Module` serves as well: learners ask nothing of it
but a map `[N, *dx] -> [N, dy]`."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU, "silu": nn.SiLU}


class MLP(nn.Module):
    """A multi-layer perceptron `[..., inputs] -> [..., outputs]`.

    Args:
        inputs: features of an input.
        hidden: widths of the hidden layers (Finn et al. 2017 use `[40, 40]` on sinusoids).
        outputs: features of an output.
        activation: "relu", "tanh", "gelu" or "silu".

    >>> sum(p.numel() for p in MLP(1, [40, 40], 1).parameters())
    1761
    """

    def __init__(self, inputs: int, hidden: Sequence[int], outputs: int, *, activation: str = "relu"):
        super().__init__()
        if not isinstance(hidden, Sequence) or not all(
            isinstance(w, int) and w >= 1 for w in (inputs, *hidden, outputs)
        ):
            raise ValueError(
                f"MLP({inputs!r}, {hidden!r}, {outputs!r}): expected widths of at least 1, as MLP(1, [40, 40], 1)"
            )
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation={activation!r}; choose one of {', '.join(ACTIVATIONS)}")
        self.inputs, self.hidden, self.outputs, self.activation = inputs, list(hidden), outputs, activation
        widths = [inputs, *hidden, outputs]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.act = ACTIVATIONS[activation]()

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            "inputs": self.inputs,
            "hidden": self.hidden,
            "outputs": self.outputs,
            "activation": self.activation,
        }

    def forward(self, x: Shaped[Tensor, "*batch inputs"]) -> Shaped[Tensor, "*batch outputs"]:
        """Hidden layers with the activation between, and a linear last one."""
        for layer in self.layers[:-1]:
            x = self.act(layer(x))
        return self.layers[-1](x)


class WarpedMLP(nn.Module):
    """A multi-layer perceptron with a linear warp layer before every activation, for `quickstudy.WarpGrad`.

    At the start the warps are identities, and the function is that of an `MLP`.

    Args:
        inputs, hidden, outputs, activation: as of `MLP`.

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
        """Every hidden layer is warped, then goes through the activation."""
        for layer, warp in zip(self.layers[:-1], self.warps, strict=True):
            x = self.act(warp(layer(x)))
        return self.layers[-1](x)


def _identity(width: int) -> nn.Linear:
    layer = nn.Linear(width, width)
    nn.init.eye_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class WithContext(nn.Module):
    """A network that reads a few numbers beside each point, the same for all points: what `CAVIA` adapts.

    f(x, c) = network([x, c])  (Zintgraf et al. 2019, arXiv 1810.03642: the context joins the input layer).

    Args:
        network: for inputs of `dx + context` features.
        context: how many numbers.

    >>> WithContext(MLP(1 + 5, [40, 40], 1), 5)(torch.zeros(10, 1), context=torch.ones(5)).shape
    torch.Size([10, 1])
    """

    def __init__(self, network: nn.Module, context: int):
        super().__init__()
        self.network, self.context = network, context

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"network": self.network, "context": self.context}

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The output at `x [..., dx]`, with `context [context]`; zeros if None."""
        features = x.shape[-1] + self.context
        if isinstance(self.network, MLP) and self.network.inputs != features:
            raise ValueError(
                f"the network takes {self.network.inputs} features, and gets {x.shape[-1]} of the point and "
                f"{self.context} of the context; build it as MLP({x.shape[-1]} + {self.context}, ...)"
            )
        context = x.new_zeros(self.context) if context is None else context
        return self.network(torch.cat([x, context.expand(*x.shape[:-1], self.context)], -1))
