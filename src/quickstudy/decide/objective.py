"""Objectives of plans: a given reward of states with limits, or the return by a learned reward and termination."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self, final

import torch
from torch import Tensor

from quickstudy.checks import check_number
from quickstudy.decide.encoding import Encoding

FALLEN = 12 * math.pi / 180  # radians; CartPole's episodes end at this angle


class Stepwise(Protocol):
    """An objective that also gives the reward of single steps, which learning a value function needs."""

    def __call__(self, states: Tensor) -> Tensor:
        """The value J `[T, K]` of plans with the states `[H, T, K, ...]`."""

    def steps(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """The reward `[...]` of the steps that led to the states `[..., d]`, and whether these terminated, bool."""


@final
@dataclass(frozen=True)
class Balance:
    """The number of steps until a state leaves its limits, each weighted by its distance from the desired state:

    J = sum_h alive_h / (1 + |A s_h|^2),  alive_h = 1 until some |s_i| > e_i.

    CartPole's own reward, 1 for each step, is the same for all plans that do not fail within the horizon. This one
    distinguishes them, and going on is always worth more than failing. Limits and desired state are given, as in PETS
    (Chua et al. 2018, arXiv 1805.12114); the dynamics are not.

    Args:
        limit: e, `[ds]`; infinity for no limit.
        miss: A, `[D, ds]`, whose product with a state is its weighted distance from the desired state.

    >>> still = Balance.cartpole()
    >>> still(torch.zeros(25, 1, 1, 4))
    tensor([[25.]])
    """

    limit: Tensor
    miss: Tensor

    @classmethod
    def cartpole(cls, *, lean: Sequence[float] = (0.03, 0.1), weight: Sequence[float] = (3.0, 0.4)) -> Self:
        """The objective for CartPole: limits of position and angle; the pole should lean to the middle and be at rest.

        A cart can only turn back while its pole leans in the new direction, which a horizon of half a second does not
        show. So the desired angle is -(lean_0 x + lean_1 dx/dt), which brings the cart back within seconds.

        Args:
            lean: lean_0 in radians per m, and lean_1 in radians per m/s.
            weight: weights of the squared error of the angle, in units of 12 degrees, and of the squared angular
                velocity, in units of 2.5 rad/s.
        """
        angle, speed = (math.sqrt(w) for w in weight)
        miss = torch.tensor([[*lean, 1.0, 0.0], [0.0, 0.0, 0.0, speed / 2.5]])
        miss[0] *= angle / FALLEN
        return cls(torch.tensor([2.4, torch.inf, FALLEN, torch.inf]), miss)

    def __call__(self, states: Tensor) -> Tensor:
        """The value J `[T, K]` of plans with the states `[H, T, K, ds]`."""
        worth, gone = self.steps(states)
        return torch.where(gone.cumsum(0) == 0, worth, worth.new_zeros(())).sum(0)

    def steps(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """The reward of states `[..., d]`, which is 0 outside the limits, and whether they are outside.

        Columns after the state, such as a learned reward, are ignored.
        """
        states = states[..., : len(self.limit)]
        gone = torch.stack([states[..., i].abs() > float(e) for i, e in enumerate(self.limit) if e < torch.inf]).any(0)
        worth = (states @ self.miss.T).square_().sum(-1).add_(1).reciprocal_()
        return worth.masked_fill_(gone, 0), gone


@final
@dataclass(frozen=True)
class LearnedReturn:
    """The return by a learned reward and a learned termination:

    J = sum_h discount^h alive_h r_h,  alive_h = 1 until the predicted end of a step before h is above 1/2.

    The reward of the terminating step counts, as in the environment.

    Args:
        encoding: an encoding with the reward as an output; without the end as an output, plans never terminate.
        discount: discount of rewards.

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
                "the encoding has no reward among its outputs, which LearnedReturn needs; "
                "train on Transitions(env, reward=True, end=True)"
            )

    def __call__(self, states: Tensor) -> Tensor:
        """The value J `[T, K]` of plans with the states, rewards and ends `[H, T, K, dy]`."""
        reward, end = self.steps(states)
        before = end.cumsum(0) - end.long()
        weight = self.discount ** torch.arange(len(states), dtype=reward.dtype, device=reward.device)
        return torch.where(before == 0, reward * weight.view(-1, 1, 1), reward.new_zeros(())).sum(0)

    def steps(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """The reward `[...]` in `states [..., dy]`, and whether the predicted end is above 1/2."""
        ds, dy = self.encoding.ds, self.encoding.dy
        if states.shape[-1] != dy:
            raise ValueError(
                f"the model's states have {states.shape[-1]} columns; expected {dy}: {ds} of the state, then reward "
                "and end. Use the encoding that its learner was trained with, or Simulated(..., reward=, end=)"
            )
        reward = states[..., ds]
        return reward, states[..., ds + 1] > 0.5 if self.encoding.end else torch.zeros_like(reward, dtype=torch.bool)
