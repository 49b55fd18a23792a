"""The bound and its decoders, against sums by hand with torch's distributions."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Normal, kl_divergence

import quickstudy as qs
from quickstudy.rl.latent.belief import Belief
from quickstudy.rl.latent.decoders import RewardDecoder, TransitionDecoder, Transitions
from quickstudy.rl.latent.elbo import bounds

STREAMS, STEPS, LATENT = 3, 5, 2


def made(seed: int = 0) -> tuple[Belief, Transitions, Tensor, Tensor]:
    chance = torch.Generator().manual_seed(seed)
    random = lambda *shape: torch.randn(STREAMS, STEPS, *shape, generator=chance)  # noqa: E731
    mask = torch.ones(STREAMS, STEPS, dtype=torch.bool)
    mask[0, 3:] = mask[2, 1:] = False
    return (
        Belief(random(LATENT), random(LATENT)),
        Transitions(random(2), random(1), random(2), random()),
        mask,
        random(2),
    )


def decoders(rewards: Any = "value") -> list[Any]:
    torch.manual_seed(0)
    both = RewardDecoder(qs.nets.MLP(LATENT + 3, [4], 1), reads=("action", "next_observation"), rewards=rewards, sd=0.5)
    return [both, TransitionDecoder(qs.nets.MLP(LATENT + 3, [4], 2), sd=0.3)]


def by_hand(belief: Belief, moves: Transitions, noise: Tensor, networks: Any, rewards: str, n: int, t: int) -> Any:
    """The two terms for trial n, whose real steps are given, at time t."""
    sd = (belief.log_variance[n, t] / 2).exp()
    m = belief.mean[n, t] + sd * noise
    total = 0.0
    for h in range(len(moves.reward[n])):
        s, a, after = moves.observation[n, h], moves.action[n, h], moves.next_observation[n, h]
        output = networks[0](torch.cat([m, a, after]))[0]
        if rewards == "value":
            total += float(Normal(output, 0.5).log_prob(moves.reward[n, h]))
        else:
            total += float(Bernoulli(logits=output).log_prob((moves.reward[n, h] > 0).float()))
        total += float(Normal(s + networks[1](torch.cat([m, s, a])), 0.3).log_prob(after).sum())
    last = (belief.mean[n, t - 1], (belief.log_variance[n, t - 1] / 2).exp()) if t else (torch.zeros(2), torch.ones(2))
    return total, float(kl_divergence(Normal(belief.mean[n, t], sd), Normal(*last)).sum())


@torch.no_grad()
@pytest.mark.parametrize("rewards", ["value", "positive"])
def test_the_bound_is_the_sum_over_the_whole_trial(rewards: str) -> None:
    belief, moves, mask, noise = made()
    own = decoders(rewards)
    networks = [decoder.network for decoder in own]
    found = bounds(belief, moves, mask, own, noise=noise)
    places = torch.tensor([[2, 0], [4, 1], [0, 3]])
    some = bounds(belief, moves, mask, own, noise=noise.gather(1, places[..., None].expand(-1, -1, 2)), places=places)
    for n in range(STREAMS):
        length = int(mask[n].sum())
        real = Transitions(*(part[:, :length] for part in moves))
        for t in range(STEPS):
            fit, change = (float(term[n, t]) for term in found)
            wanted = by_hand(belief, real, noise[n, t], networks, rewards, n, t) if t < length else (0.0, 0.0)
            assert (fit, change) == pytest.approx(wanted, rel=1e-4, abs=1e-5)
    for term, picked in zip(found, some, strict=True):
        torch.testing.assert_close(picked, term.gather(1, places))


def test_padding_changes_nothing() -> None:
    belief, moves, mask, noise = made()
    spoilt = Transitions(*(torch.where(mask.reshape(3, 5, *[1] * (p.dim() - 2)), p, 7.0) for p in moves))
    for a, b in zip(*(bounds(belief, m, mask, decoders(), noise=noise) for m in (moves, spoilt)), strict=True):
        assert torch.equal(a, b)
        assert a.abs().sum() > 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"reads": ("reward",)}, "reads='reward'; choose one of 'observation', 'action', 'next_observation'"),
        ({"rewards": "sign"}, "rewards='sign'; choose one of 'value', 'positive'"),
        ({"sd": 0.0}, "sd=0.0"),
    ],
)
def test_bad_options(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        RewardDecoder(qs.nets.MLP(4, [], 1), **options)
