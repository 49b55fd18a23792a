"""What imagined futures are judged by: limits and wishes that are given, or the reward and the end that are learned."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self, final

import torch
from torch import Tensor

from quickstudy.checks import check_number
from quickstudy.decide.encoding import Encoding

FALLEN = 12 * math.pi / 180  # radians, as CartPole's episodes end


class Stepwise(Protocol):
    """An objective that also says what each step brings, as what learns a value needs to know."""

    def __call__(self, states: Tensor) -> Tensor:
        """J `[T, K]`, by the states `[H, T, K, ...]` of a model's world."""

    def steps(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Reward `[...]` of the steps that led to the states `[..., d]`, and `[...]` bool: the episode ended so."""


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
        worth, gone = self.steps(states)
        return torch.where(gone.cumsum(0) == 0, worth, worth.new_zeros(())).sum(0)

    def steps(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """What states `[..., d]` are worth, 0 beyond the limits, and where these were left. Columns that follow the
        state, as a learned reward, are not read."""
        states = states[..., : len(self.limit)]
        gone = torch.stack([states[..., i].abs() > float(e) for i, e in enumerate(self.limit) if e < torch.inf]).any(0)
        worth = (states @ self.miss.T).square_().sum(-1).add_(1).reciprocal_()
        return worth.masked_fill_(gone, 0), gone


@final
@dataclass(frozen=True)
class LearnedReturn:
    """The return by what was learned, and nothing else:

    J = sum_h discount^h alive_h r_h,  alive_h = 1 until the predicted end of a step before h is above 1/2.

    The reward of the step that ends an episode counts, as it does in the environment.

    Args:
        encoding: of a family whose reward is learned; where its end is not, episodes go on for ever.
        discount: of later rewards.

    Raises:
        ValueError: for an encoding without reward, and a discount outside [0, 1].

    >>> encoding = Encoding(torch.ones(1), torch.ones(1), 2, torch.tensor(1.0), True)
    >>> states = torch.tensor([[0.0, 5.0, 0.1], [0.0, 3.0, 0.8], [0.0, 9.0, 0.0]])  # state, reward, end
    >>> LearnedReturn(encoding, discount=0.5)(states[:, None, None])
    tensor([[6.5000]])
    """

    encoding: Encoding
    discount: float = 1.0

    def __post_init__(self) -> None:
        if check_number("discount", self.discount) > 1:
            raise ValueError(f"discount={self.discount!r}; expected a number from 0 to 1")
        if self.encoding.reward_scale is None:
            raise ValueError(
                "the encoding has no reward among its outputs, so there is none to add up; "
                "learn it, as Transitions(env, reward=True, end=True) does"
            )

    def __call__(self, states: Tensor) -> Tensor:
        """`J [T, K]` of the worlds' `[H, T, K, dy]`: states, rewards and ends."""
        reward, end = self.steps(states)
        before = end.cumsum(0) - end.long()
        weight = self.discount ** torch.arange(len(states), dtype=reward.dtype, device=reward.device)
        return torch.where(before == 0, reward * weight.view(-1, 1, 1), reward.new_zeros(())).sum(0)

    def steps(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """The reward `[...]` in `states [..., dy]`, and where the end is above 1/2."""
        ds, dy = self.encoding.ds, self.encoding.dy
        if states.shape[-1] != dy:
            raise ValueError(
                f"the model's states have {states.shape[-1]} columns; expected {dy}, a state's {ds} and what is "
                "learned beside: use the encoding that its learner was trained with, or Simulated(..., reward=, end=)"
            )
        reward = states[..., ds]
        return reward, states[..., ds + 1] > 0.5 if self.encoding.end else torch.zeros_like(reward, dtype=torch.bool)
