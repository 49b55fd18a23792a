"""Weighted mixtures of beliefs of different kinds, and beliefs about logarithms, against their definitions."""

import pytest
import torch
from torch.distributions import LogNormal

from quickstudy.predictive import DenseGaussian, Gaussian, GaussianMixture
from quickstudy.predictive.blend import Blend
from quickstudy.predictive.log_transformed import LogTransformed


@pytest.fixture(autouse=True)
def double() -> None:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


def gaussian() -> Gaussian:
    return Gaussian(torch.randn(2, 3, 1), torch.rand(2, 3, 1) + 0.1)


def mixture() -> GaussianMixture:
    return GaussianMixture(torch.randn(4, 2, 3, 1), torch.rand(4, 2, 3, 1) + 0.1)


def test_a_blend_is_the_weighted_sum_of_densities() -> None:
    parts, weights, y = (gaussian(), mixture()), torch.tensor([0.3, 0.7]), torch.randn(2, 3, 1)
    belief, mask = Blend(parts, weights), torch.tensor([[True, False, True], [True, True, True]])
    each = [part.log_prob(y).exp() for part in parts]
    torch.testing.assert_close(belief.log_prob(y).exp(), 0.3 * each[0] + 0.7 * each[1])
    joint = [part.log_prob(y, mask, joint=True).exp() for part in parts]
    torch.testing.assert_close(belief.log_prob(y, mask, joint=True).exp(), 0.3 * joint[0] + 0.7 * joint[1])
    assert belief.log_prob(y, mask)[0, 1] == 0
    torch.testing.assert_close(belief.mean, 0.3 * parts[0].mean + 0.7 * parts[1].mean)
    squares = [part.variance + part.mean.square() for part in parts]
    torch.testing.assert_close(belief.variance, 0.3 * squares[0] + 0.7 * squares[1] - belief.mean.square())
    draws = belief.sample(40_000, torch.Generator().manual_seed(0))
    torch.testing.assert_close(draws.mean(0), belief.mean, atol=0.03, rtol=0)
    torch.testing.assert_close(draws.var(0), belief.variance, atol=0.05, rtol=0.05)


def test_quantiles_of_a_blend_invert_its_distribution_function() -> None:
    belief = Blend((gaussian(), mixture()), torch.tensor([0.25, 0.75]))
    levels = [0.001, 0.1, 0.5, 0.9, 0.999]
    found = belief.quantile(levels)
    assert found.shape == (5, 2, 3, 1) and (found.diff(dim=0) > 0).all()
    for level, value in zip(levels, found, strict=True):
        torch.testing.assert_close(belief.cdf(value), torch.full((2, 3, 1), level), atol=1e-9, rtol=0)
    lower, upper = belief.interval(0.8)
    torch.testing.assert_close(lower, belief.quantile(0.1))
    torch.testing.assert_close(upper, belief.quantile(0.9))
    moved = belief.rescale(2.0, 3.0)
    torch.testing.assert_close(moved.quantile(0.1), 2 + 3 * belief.quantile(0.1))
    alone = Blend((gaussian(), mixture()), torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(alone.quantile(0.3), alone.beliefs[1].quantile(0.3))


def test_weights_may_differ_between_tasks() -> None:
    parts, weights, y = (gaussian(), mixture()), torch.tensor([[0.3, 0.7], [1.0, 0.0]]), torch.randn(2, 3, 1)
    belief = Blend(parts, weights)
    alone = [Blend(parts, row) for row in weights]
    for t in (0, 1):
        for joint in (False, True):
            torch.testing.assert_close(belief.log_prob(y, joint=joint)[t], alone[t].log_prob(y, joint=joint)[t])
        torch.testing.assert_close(belief.mean[t], alone[t].mean[t])
        torch.testing.assert_close(belief.variance[t], alone[t].variance[t])
        torch.testing.assert_close(belief.cdf(y)[t], alone[t].cdf(y)[t])
        torch.testing.assert_close(belief.quantile([0.1, 0.7])[:, t], alone[t].quantile([0.1, 0.7])[:, t])
    draws = belief.sample(40_000, torch.Generator().manual_seed(0))
    torch.testing.assert_close(draws.mean(0), belief.mean, atol=0.03, rtol=0)
    torch.testing.assert_close(belief.quantile(0.5)[1], parts[0].mean[1])


def test_logarithms_are_log_normal() -> None:
    inside, y = gaussian(), torch.rand(2, 3, 1) + 0.2
    belief, known = LogTransformed(inside), LogNormal(inside.mean, inside.variance.sqrt())
    torch.testing.assert_close(belief.log_prob(y), known.log_prob(y).sum(-1))
    torch.testing.assert_close(belief.mean, known.mean)
    torch.testing.assert_close(belief.variance, known.variance)
    torch.testing.assert_close(belief.cdf(y), known.cdf(y))
    torch.testing.assert_close(belief.quantile(0.2), known.icdf(torch.tensor(0.2)))
    y[0, 0], y[1, 2] = 0.0, -1.0
    assert belief.log_prob(y)[0, 0] == belief.log_prob(y)[1, 2] == -torch.inf and belief.cdf(y)[1, 2] == 0
    mask = torch.tensor([[False, True, True], [True, True, False]])
    assert belief.log_prob(y, mask, joint=True).isfinite().all()


def test_a_joint_belief_about_logarithms_stays_joint() -> None:
    root = torch.randn(2, 3, 3)
    covariance = root @ root.mT + 0.1 * torch.eye(3)
    inside = DenseGaussian(torch.randn(2, 3, 1), covariance, torch.full((2,), 0.1))
    belief, z = LogTransformed(inside), torch.randn(2, 3, 1)
    torch.testing.assert_close(
        belief.log_prob(z.exp(), joint=True), inside.log_prob(z, joint=True) - z.sum((1, 2)), atol=1e-8, rtol=1e-8
    )
