"""A multi-layer perceptron."""

from collections.abc import Sequence
from itertools import pairwise
from numbers import Integral
from typing import Any

from jaxtyping import Shaped
from torch import Tensor, nn

from quickstudy.checks import check_choice, shown

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU, "silu": nn.SiLU}


class MLP(nn.Module):
    """A multi-layer perceptron `[..., inputs] -> [..., outputs]`.

    Args:
        inputs: number of features of an input.
        hidden: widths of the hidden layers (Finn et al. 2017 use `[40, 40]` on sinusoids).
        outputs: number of features of an output.
        activation: "relu", "tanh", "gelu" or "silu".

    >>> sum(p.numel() for p in MLP(1, [40, 40], 1).parameters())
    1761
    """

    def __init__(self, inputs: int, hidden: Sequence[int], outputs: int, *, activation: str = "relu"):
        super().__init__()
        if not isinstance(hidden, Sequence) or not all(
            isinstance(w, Integral) and w >= 1 for w in (inputs, *hidden, outputs)
        ):
            given = ", ".join(map(shown, (inputs, hidden, outputs)))
            raise ValueError(f"MLP({given}): expected widths of at least 1, as MLP(1, [40, 40], 1)")
        check_choice("activation", activation, ACTIVATIONS)
        widths = [int(width) for width in (inputs, *hidden, outputs)]
        self.inputs, self.hidden, self.outputs, self.activation = widths[0], widths[1:-1], widths[-1], activation
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
        """The output at `x [..., inputs]`: every layer but the last is followed by the activation."""
        if x.shape[-1] != self.inputs or not (x.is_floating_point() or x.is_complex()):
            cure = "write x.float()" if x.shape[-1] == self.inputs else f"build it as MLP({x.shape[-1]}, ...)"
            raise ValueError(
                f"MLP({self.inputs}, ...) takes floats [..., {self.inputs}], and x is {x.dtype} of shape "
                f"{list(x.shape)}; {cure}"
            )
        *hidden, last = self.layers  # a slice would be a new ModuleList, which takes a tenth of the time of a rollout
        for layer in hidden:
            x = self.act(layer(x))
        return last(x)
