"""Soft actor-critic on observations and latent variables (Haarnoja et al. 2018, arXiv 1812.05905)."""

from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

from quickstudy.nets import MLP
from quickstudy.rl.latent.task_replay import Stored


@final
class TwinCritic(nn.Module):
    """Two action values, `[2, ...]`, of features and actions; a step of learning trusts the smaller one.

    Args:
        inputs: features and components of an action.
        hidden: widths of the hidden layers.

    >>> TwinCritic(5, [8])(torch.zeros(7, 3), torch.zeros(7, 2)).shape
    torch.Size([2, 7])
    """

    def __init__(self, inputs: int, hidden: Sequence[int]):
        super().__init__()
        self.networks = nn.ModuleList(MLP(inputs, list(hidden), 1) for _ in range(2))

    def forward(self, features: Tensor, action: Tensor) -> Tensor:
        """The values `[2, ...]` at `features [..., k]` and `action [..., da]`."""
        both = torch.cat([features, action], -1)
        return torch.stack([network(both).squeeze(-1) for network in self.networks])


def critic_loss(
    critic: TwinCritic, target: TwinCritic, policy: Any, batch: Stored, latent: Tensor, *, noise: Tensor, **terms: Any
) -> Tensor:
    """The squared error of both values from the soft Bellman target, a scalar (Haarnoja et al. 2018, eq. 5):

        y = r + discount (1 - terminated) (min_i Q'_i(s', a') - temperature log pi(a' | s')),     a' ~ pi

    Args:
        critic: the values that are trained.
        target: the slow copy Q'.
        policy: maps `[..., do + z]` to distributions over actions.
        batch: transitions `[..., *]`.
        latent: `[..., z]`. The error has derivatives with respect to it, and the target has none.
        noise: that of the next actions.
        terms: `discount` and `temperature`.
    """
    features = torch.cat([batch.observation, latent], -1)
    with torch.no_grad():
        following = torch.cat([batch.next_observation, latent], -1)
        action, log_prob = policy.act_and_log_prob(policy(following), noise)
        value = target(following, action).amin(0) - terms["temperature"] * log_prob
        wanted = batch.reward + terms["discount"] * torch.where(batch.terminated, 0.0, value)
    return (critic(features, batch.action) - wanted).square().mean((1, 2) if wanted.dim() == 2 else 1).sum()


def policy_loss(
    critic: TwinCritic, policy: Any, observation: Tensor, latent: Tensor, *, noise: Tensor, temperature: Tensor
) -> tuple[Tensor, Tensor]:
    """The mean of temperature log pi(a | s) - min_i Q_i(s, a) (eq. 7), a scalar, and log pi `[...]` without a graph."""
    features = torch.cat([observation, latent], -1)
    action, log_prob = policy.act_and_log_prob(policy(features), noise)
    return (temperature * log_prob - critic(features, action).amin(0)).mean(), log_prob.detach()


@torch.no_grad()
def follow(target: nn.Module, source: nn.Module, share: float) -> None:
    """Move the weights of `target` towards those of `source` by a share of the way."""
    torch._foreach_lerp_(list(target.parameters()), list(source.parameters()), share)
