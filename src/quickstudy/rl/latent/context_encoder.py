"""The encoder of PEARL: a belief about the task from transitions, in whatever order (Rakelly et al. 2019, eq. 2)."""

import math
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from quickstudy.rl.episodes import Episodes
from quickstudy.rl.latent.belief import Evidence
from quickstudy.rl.latent.decoders import Transitions


@final
class ContextEncoder(nn.Module):
    """One normal factor for each transition, and their product:

        q(z | c) = prod_n N(z; mean(c_n), variance(c_n)),     c_n = (s, a, s', r)

    Without a transition the belief is N(0, 1). The next observation s' is read, too, so that tasks may differ in their
    dynamics.

    Args:
        network: a module from observation, action, next observation and reward, one after another, to `[..., 2 z]`: the
            factor's mean, and its variance before a softplus.
        least: the smallest variance of a factor; 1e-7 as in the publication's code.

    >>> import quickstudy as qs
    >>> encoder = ContextEncoder(qs.nets.MLP(2 + 1 + 2 + 1, [8], 2 * 5))
    >>> place = torch.zeros(4, 10, 2)
    >>> encoder(Transitions(place, place[..., :1], place, place[..., 0])).belief().mean.shape
    torch.Size([4, 5])
    """

    def __init__(self, network: nn.Module, *, least: float = 1e-7):
        super().__init__()
        self.network, self.least = network, least

    def config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"network": self.network, "least": self.least}

    def forward(self, context: Transitions, mask: Tensor | None = None) -> Evidence:
        """The evidence `[..., z]` of transitions `[..., n, *]`, where `mask [..., n]` is True."""
        parts = [*context[:3], context.reward.unsqueeze(-1)]
        mean, raw = self.network(torch.cat(parts, -1)).chunk(2, -1)
        return Evidence.of(mean, F.softplus(raw).clamp_min(self.least), mask)


def pooled(episodes: Episodes) -> tuple[Transitions, Tensor]:
    """The transitions of all environments of a task, `[T, E H, ...]`, and which are real, `[T, E H]`."""
    seen, taken, after = (
        part.reshape(len(part), -1, math.prod(part.shape[3:]))
        for part in (episodes.observation, episodes.action, episodes.next_observation)
    )
    return Transitions(seen, taken, after, episodes.reward.flatten(1)), episodes.mask.flatten(1)
