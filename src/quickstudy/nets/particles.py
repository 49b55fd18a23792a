"""Several copies of one network that are evaluated together."""

import copy
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.func import functional_call

from quickstudy.checks import check_whole


@final
class Particles(nn.Module):
    """`count` copies of `network`, each with its own weights: `[N, *dx] -> [N, count, do]`.

    Args:
        network: the first copy. The others are initialised again by the layers' `reset_parameters`; parameters with
            `requires_grad=False` are the same in all copies.
        count: the number P of copies.

    Raises:
        ValueError: for a network with buffers (batch statistics), or with a layer that has parameters but no
            `reset_parameters`.

    >>> Particles(nn.Linear(1, 2), 5)(torch.zeros(3, 1)).shape
    torch.Size([3, 5, 2])
    """

    def __init__(self, network: nn.Module, count: int):
        super().__init__()
        copies = [network, *(reinitialised(network) for _ in range(check_whole("particles", count) - 1))]
        if any(True for _ in network.buffers()):
            raise ValueError("particles of a network with buffers, as BatchNorm has, are not supported; use LayerNorm")
        self.count = count
        stacks = zip(*(dict(c.named_parameters()).values() for c in copies), strict=True)
        names = [name for name, _ in network.named_parameters()]
        self.weights = nn.ParameterDict(
            {
                n.replace(".", "/"): nn.Parameter(torch.stack([p.detach() for p in s]), s[0].requires_grad)
                for n, s in zip(names, stacks, strict=True)
            }
        )
        self._one = [network]  # in a list, so that torch does not register its parameters: they are not used

    def forward(self, x: Tensor) -> Tensor:
        """The outputs of all copies at `x [N, *dx]`."""
        (one,) = self._one
        one.train(self.training)
        weights = {k.replace("/", "."): v for k, v in self.weights.items()}

        def run(weights: dict[str, Tensor]) -> Tensor:
            return functional_call(one, weights, (x,))

        return torch.vmap(run, out_dims=1, randomness="different")(weights)


def network_name(name: str) -> str:
    """The name, in the network itself, of the parameter that `Particles` calls `name`.

    >>> network_name("weights.layers/0/weight")
    'layers.0.weight'
    """
    return name.removeprefix("weights.").replace("/", ".")


def reinitialised(network: nn.Module) -> Any:
    """A copy of `network` with newly initialised weights."""
    other = copy.deepcopy(network)
    kept = {name: p.detach().clone() for name, p in other.named_parameters() if not p.requires_grad}
    for name, module in other.named_modules():
        owns = any(True for _ in module.parameters(recurse=False))
        if owns and not hasattr(module, "reset_parameters"):
            raise ValueError(
                f"{type(module).__name__} ({name or 'the network'}) owns parameters and has no reset_parameters(); "
                "write one that draws them, so that particles can start from different weights"
            )
        if owns:
            module.reset_parameters()
    with torch.no_grad():
        for name, value in kept.items():
            other.get_parameter(name).copy_(value)
    return other
