"""A multi-layer perceptron."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

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
