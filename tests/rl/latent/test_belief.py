"""Beliefs against torch's normal distributions."""

import torch
from torch.distributions import Normal, kl_divergence

from quickstudy.rl.latent.belief import Belief, Evidence


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


def test_a_product_of_factors_is_their_normalised_density() -> None:
    """On a grid of z, against the product of torch's densities; without factors, N(0, 1)."""
    torch.manual_seed(0)
    mean, variance = torch.randn(3, 4, 1), torch.rand(3, 4, 1) + 0.2
    mask = torch.tensor([[True, True, True, True], [True, False, True, False], [False] * 4])
    belief = Evidence.of(mean, variance, mask).belief()
    z = torch.linspace(-8, 8, 4001)
    for row in range(3):
        kept = mask[row]
        factors = Normal(mean[row, kept], variance[row, kept].sqrt()).log_prob(z).sum(0) if kept.any() else -(z**2) / 2
        wanted = factors.softmax(0)
        found = normal(Belief(*(part[row] for part in belief))).log_prob(z).softmax(0)
        torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-4)


def test_a_product_knows_no_order_and_a_union_is_the_sum() -> None:
    torch.manual_seed(0)
    mean, variance = torch.randn(2, 9, 3), torch.rand(2, 9, 3) + 0.1
    whole, order = Evidence.of(mean, variance).belief(), torch.randperm(9)
    shuffled = Evidence.of(mean[:, order], variance[:, order]).belief()
    parts = Evidence.of(mean[:, :4], variance[:, :4]).joined(Evidence.of(mean[:, 4:], variance[:, 4:])).belief()
    for other in (shuffled, parts):
        torch.testing.assert_close(whole.mean, other.mean)
        torch.testing.assert_close(whole.log_variance, other.log_variance)
