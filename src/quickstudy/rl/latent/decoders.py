"""Decoders: what a latent variable says about rewards and observations."""

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from quickstudy.checks import check_choice, check_positive

Part = Literal["observation", "action", "next_observation"]
Rewards = Literal["value", "positive"]


class Transitions(NamedTuple):
    """Transitions at any places: vectors `[..., observations]`, `[..., actions]` and rewards `[...]`.

    Args:
        observation: before the action.
        action: encoded, one-hot where actions are discrete.
        next_observation: after the action.
        reward: of the action.
    """

    observation: Tensor
    action: Tensor
    next_observation: Tensor
    reward: Tensor


@final
class RewardDecoder(nn.Module):
    """The log-probability of rewards given the latent variable m, log p(r | m, s, a, s').

    Args:
        network: a module from m and the parts that it reads, one after another, to one output, `[..., 1]`.
        reads: parts of a transition, of "observation", "action" and "next_observation".
        rewards: "value": the reward is normal around the output, with standard deviation `sd`. "positive": the output
            is the logit of the probability that the reward is above 0, and no more is said of the reward.
        sd: in units of reward. The publication has squared errors with a divergence of weight 0.1 or 1, as have
            standard deviations 0.22 and 0.71.

    >>> import quickstudy as qs
    >>> decoder = RewardDecoder(qs.nets.MLP(5 + 2, [8], 1))
    >>> place = torch.zeros(4, 2)
    >>> decoder(torch.zeros(4, 5), Transitions(place, torch.zeros(4, 1), place, torch.ones(4))).shape
    torch.Size([4])
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        reads: Sequence[Part] = ("next_observation",),
        rewards: Rewards = "value",
        sd: float = 0.2,
    ):
        super().__init__()
        for part in reads:
            check_choice("reads", part, Transitions._fields[:3])
        check_choice("rewards", rewards, ("value", "positive"))
        self.network, self.reads, self.rewards = network, tuple(reads), rewards
        self.sd = check_positive("sd", sd)

    def config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"network": self.network, "reads": list(self.reads), "rewards": self.rewards, "sd": self.sd}

    def output(self, latent: Tensor, transitions: Transitions) -> Tensor:
        """The output `[...]` for latents `[..., z]`: the reward's mean, or the logit of a reward above 0."""
        inputs = [latent, *(getattr(transitions, part).expand(*latent.shape[:-1], -1) for part in self.reads)]
        found: Tensor = self.network(torch.cat(inputs, -1))
        return found.squeeze(-1)

    def forward(self, latent: Tensor, transitions: Transitions) -> Tensor:
        """The log-probability (or density) of the rewards, `[...]`, for latents `[..., z]`."""
        output = self.output(latent, transitions)
        reward = transitions.reward.expand_as(output)
        if self.rewards == "positive":
            return -F.binary_cross_entropy_with_logits(output, (reward > 0).to(output), reduction="none")
        return _log_density(reward, output, self.sd)


@final
class TransitionDecoder(nn.Module):
    """The log-density of the next observation given the latent variable m, log p(s' | m, s, a), normal around s + f.

    Args:
        network: a module f from m, observation and action, one after another, to the change of the observation.
        sd: standard deviation, in units of an observation, in all of its components.
    """

    def __init__(self, network: nn.Module, *, sd: float = 0.2):
        super().__init__()
        self.network, self.sd = network, check_positive("sd", sd)

    def config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"network": self.network, "sd": self.sd}

    def forward(self, latent: Tensor, transitions: Transitions) -> Tensor:
        """The log-density of the next observations, `[...]`, for latents `[..., z]`."""
        parts = [part.expand(*latent.shape[:-1], -1) for part in transitions[:3]]
        mean = parts[0] + self.network(torch.cat([latent, *parts[:2]], -1))
        return _log_density(parts[2], mean, self.sd).sum(-1)


def _log_density(value: Tensor, mean: Tensor, sd: float) -> Tensor:
    return -((value - mean) / sd).square() / 2 - math.log(sd) - math.log(2 * math.pi) / 2
