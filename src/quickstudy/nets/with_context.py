"""A network with a context vector as an additional input."""

from typing import Any

import torch
from torch import Tensor, nn

from quickstudy.nets.mlp import MLP


class WithContext(nn.Module):
    """A network that gets a context vector, the same for all points, beside each point; `CAVIA` adapts the context.

    f(x, c) = network([x, c])  (Zintgraf et al. 2019, arXiv 1810.03642: the context is concatenated at the input layer).

    Args:
        network: takes inputs with `dx + context` features.
        context: the length of the context vector.

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
        """The output at `x [..., dx]` with the vector `context [context]`; None stands for zeros."""
        features = x.shape[-1] + self.context
        if isinstance(self.network, MLP) and self.network.inputs != features:
            raise ValueError(
                f"the network takes {self.network.inputs} features, and gets {x.shape[-1]} of the point and "
                f"{self.context} of the context; build it as MLP({x.shape[-1]} + {self.context}, ...)"
            )
        context = x.new_zeros(self.context) if context is None else context
        return self.network(torch.cat([x, context.expand(*x.shape[:-1], self.context)], -1))
