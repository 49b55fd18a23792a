"""What a plan is judged by."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self, final

import torch
from torch import Tensor

FALLEN = 12 * math.pi / 180  # radians, as CartPole's episodes end


@final
@dataclass(frozen=True)
class Balance:
    """Steps until a state leaves its limits, each worth the more, the nearer it is to where one wants to be:

    J = sum_h alive_h / (1 + |A s_h|^2),  alive_h = 1 until some |s_i| > e_i.

    CartPole's reward alone, 1 a step, is the same for all plans whose end is beyond the horizon; this tells those
    apart, and never makes an end worth more than going on. What is limited and what is wanted are given, as in PETS
    (Chua et al. 2018, arXiv 1805.12114); the physics is not.

    Args:
        limit: e, `[ds]`; infinite where there is none.
        miss: A, `[D, ds]`.

    >>> still = Balance.cartpole()
    >>> still(torch.zeros(25, 1, 1, 4))
    tensor([[25.]])
    """

    limit: Tensor
    miss: Tensor

    @classmethod
    def cartpole(cls, *, lean: Sequence[float] = (0.03, 0.1), weight: Sequence[float] = (3.0, 0.4)) -> Self:
        """Limits of track and angle; a pole that leans towards the middle, and is at rest.

        Half a second of foresight does not show that a cart only turns back while its pole leans the way it shall go.
        So the angle that is wanted is -(lean_0 x + lean_1 dx/dt), which pulls the cart back within seconds.

        Args:
            lean: radians per m, and per m/s.
            weight: of the angle's miss, per 12 degrees, and of its speed, per 2.5 rad/s; both squared.
        """
        angle, speed = (math.sqrt(w) for w in weight)
        miss = torch.tensor([[*lean, 1.0, 0.0], [0.0, 0.0, 0.0, speed / 2.5]])
        miss[0] *= angle / FALLEN
        return cls(torch.tensor([2.4, torch.inf, FALLEN, torch.inf]), miss)

    def __call__(self, states: Tensor) -> Tensor:
        """`J [T, K]` of the states `[H, T, K, ds]` that plans lead to."""
        gone = [states[..., i].abs() > float(e) for i, e in enumerate(self.limit) if e < torch.inf]
        alive = torch.stack(gone).any(0).cumsum(0) == 0
        worth = (states @ self.miss.T).square_().sum(-1).add_(1).reciprocal_()
        return torch.where(alive, worth, worth.new_zeros(())).sum(0)
