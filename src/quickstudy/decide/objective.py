"""What a plan is judged by."""

from dataclasses import dataclass
from typing import Self, final

import torch
from torch import Tensor


@final
@dataclass(frozen=True)
class Balance:
    """A reward for every step until a state leaves its limits, less squared distances from rest:

    J = sum_h alive_h (1 - sum_i w_i (s_hi / l_i)^2),  alive_h = 1 until some |s_i| > e_i.

    CartPole's reward alone, 1 a step, is the same for all plans whose end is beyond the horizon; the squares tell those
    apart. The limits and the reward are given, as in PETS (Chua et al. 2018, arXiv 1805.12114); the physics is not.

    Args:
        limit: e, `[ds]`; infinite where there is none.
        scale: l, `[ds]`, which is limit where that is finite.
        weight: w, `[ds]`.

    >>> still = Balance.cartpole()
    >>> still(torch.zeros(25, 1, 1, 4))
    tensor([[25.]])
    """

    limit: Tensor
    scale: Tensor
    weight: Tensor

    @classmethod
    def cartpole(cls, weight: tuple[float, float, float, float] = (1.0, 0.6, 3.0, 0.4)) -> Self:
        """The track and the angle at which the pole has fallen."""
        limit = torch.tensor([2.4, torch.inf, 12 * torch.pi / 180, torch.inf])
        return cls(limit, torch.tensor([2.4, 2.0, 12 * torch.pi / 180, 2.5]), torch.tensor(weight))

    def __call__(self, states: Tensor) -> Tensor:
        """`J [T, K]` of the states `[H, T, K, ds]` that plans lead to."""
        gone = [(states[..., i].abs() > float(e)) for i, e in enumerate(self.limit) if e < torch.inf]
        alive = torch.stack(gone).any(0).cumsum(0) == 0
        worth = 1 - states.square() @ (self.weight / self.scale.square())
        return torch.where(alive, worth, worth.new_zeros(())).sum(0)
