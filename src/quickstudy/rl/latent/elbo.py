"""The evidence lower bound of trials from which a belief is learned (Zintgraf et al. 2020, arXiv 1910.08348, eq. 8)."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from quickstudy.rl.latent.belief import Belief
from quickstudy.rl.latent.decoders import Transitions


class Bound(NamedTuple):
    """The terms of the bound at the beliefs of some trials, `[N, K]`; 0 where a trial has no step.

    Args:
        log_likelihood: of the whole trial, past and future, given the belief.
        divergence: of the belief from the one before it; of the first belief from N(0, 1).
    """

    log_likelihood: Tensor
    divergence: Tensor


def bounds(
    belief: Belief,
    transitions: Transitions,
    mask: Tensor,
    decoders: Iterable[nn.Module],
    *,
    noise: Tensor,
    places: Tensor | None = None,
) -> Bound:
    """The terms, for every belief q_t along a trial:

        E_{m ~ q_t} sum_h log p(transition h | m)    and    KL(q_t || q_{t-1}),   q_{-1} = N(0, 1)

    The expectation is that of one sample. All steps h of the trial count, those after t, too: a belief is about what
    has not been seen yet.

    Args:
        belief: `[N, L, z]`, before each step.
        transitions: `[N, L, ...]`.
        mask: `[N, L]` bool, True for a real step.
        decoders: their log-probabilities add up.
        noise: standard normal, `[N, K, z]`.
        places: times t of beliefs, integers `[N, K]`; None takes all L.
    """
    first = Belief.standard(belief.mean[:, :1])
    before = Belief(*(torch.cat([one, part[:, :-1]], 1) for one, part in zip(first, belief, strict=True)))
    real = mask
    if places is not None:
        wide = places.unsqueeze(-1).expand(-1, -1, belief.mean.shape[-1])
        belief, before = (Belief(*(part.gather(1, wide) for part in each)) for each in (belief, before))
        real = mask.gather(1, places)
    sample = belief.at(noise).unsqueeze(2).expand(-1, -1, mask.shape[1], -1)  # [N, K, L, z]
    against = Transitions(*(part.unsqueeze(1) for part in transitions))
    total = torch.zeros(())
    for decoder in decoders:
        total = total + torch.where(mask.unsqueeze(1), decoder(sample, against), 0.0).sum(2)
    return Bound(torch.where(real, total, 0.0), torch.where(real, belief.divergence(before), 0.0))
