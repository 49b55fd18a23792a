"""Beliefs against torch's normal distributions."""

import torch
from torch.distributions import Normal, kl_divergence

from quickstudy.rl.latent.belief import Belief


def normal(belief: Belief) -> Normal:
    return Normal(belief.mean, (belief.log_variance / 2).exp())


def test_divergence_and_draws() -> None:
    torch.manual_seed(0)
    one, two = (Belief(torch.randn(4, 3), torch.randn(4, 3)) for _ in range(2))
    torch.testing.assert_close(one.divergence(two), kl_divergence(normal(one), normal(two)).sum(-1))
    standard = Belief.standard(one.mean)
    torch.testing.assert_close(one.divergence(standard), kl_divergence(normal(one), Normal(0.0, 1.0)).sum(-1))
    assert one.divergence(one).abs().max() < 1e-6
    noise = torch.randn(20_000, 4, 3)
    draws = one.at(noise)
    torch.testing.assert_close(draws.mean(0), one.mean, atol=0.1, rtol=0)
    torch.testing.assert_close(draws.var(0).log(), one.log_variance, atol=0.1, rtol=0)
