"""A value function that is trained in units of its targets' spread: PopArt (van Hasselt et al. 2016, 1602.07714)."""

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn

from quickstudy.nets import MLP


@final
class Critic(nn.Module):
    """The discounted sum of all later rewards of a trial: `center + spread * network(features)`.

    Args:
        inputs: the number of features.
        hidden: widths of hidden layers.

    >>> critic = Critic(3)
    >>> features = torch.ones(2, 3)
    >>> before = critic(features)
    >>> critic.rescale(torch.tensor([100.0, 300.0]))
    >>> float(critic.center), float(critic.spread), torch.allclose(critic(features), before, atol=1e-4)
    (200.0, 100.0, True)
    """

    center: Tensor
    spread: Tensor

    def __init__(self, inputs: int, hidden: Sequence[int] = ()):
        super().__init__()
        self.network = MLP(inputs, list(hidden), 1, activation="tanh")
        self.register_buffer("center", torch.zeros(()))
        self.register_buffer("spread", torch.ones(()))

    def forward(self, features: Tensor) -> Tensor:
        """The values `[...]` at `features [..., k]`."""
        value: Tensor = self.network(features).squeeze(-1)
        return self.center + self.spread * value

    @torch.no_grad()
    def rescale(self, values: Tensor) -> None:
        """Set center and spread to those of `values`, and change the last layer so that the function stays."""
        last = self.network.layers[-1]
        spread, center = torch.std_mean(values, correction=0)
        spread = spread.clamp_min(1e-8)
        last.weight.mul_(self.spread / spread)  # type: ignore[operator]
        last.bias.mul_(self.spread).add_(self.center - center).div_(spread)  # type: ignore[operator]
        self.center.copy_(center)
        self.spread.copy_(spread)
