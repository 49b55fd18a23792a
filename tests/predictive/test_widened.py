"""Beliefs with a wider spread, against the normal distribution and the rule for densities of a change of variables."""

import pytest
import torch

from quickstudy.predictive import DenseGaussian, Gaussian, GaussianMixture
from quickstudy.predictive.widened import Widened


@pytest.fixture(autouse=True)
def double() -> None:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


FACTOR = torch.tensor([[2.0, 0.5], [3.0, 1.0]], dtype=torch.float64)


def test_a_wider_normal_belief_is_normal() -> None:
    inside, y = Gaussian(torch.randn(2, 3, 2), torch.rand(2, 3, 2) + 0.1), torch.randn(2, 3, 2)
    belief, known = Widened(inside, FACTOR), Gaussian(inside.mean, inside.variance * FACTOR[:, None].square())
    mask = torch.tensor([[True, False, True], [True, True, True]])
    for options in ({}, {"mask": mask}, {"joint": True}, {"mask": mask, "joint": True}):
        torch.testing.assert_close(belief.log_prob(y, **options), known.log_prob(y, **options))
    torch.testing.assert_close(belief.mean, known.mean)
    torch.testing.assert_close(belief.variance, known.variance)
    torch.testing.assert_close(belief.cdf(y), known.cdf(y))
    torch.testing.assert_close(belief.quantile([0.1, 0.8]), known.quantile([0.1, 0.8]))
    torch.testing.assert_close(belief.interval(0.5)[0], known.interval(0.5)[0])
    torch.testing.assert_close(belief.rescale(1.0, 2.0).variance, 4 * known.variance)
    draws = belief.sample(40_000, torch.Generator().manual_seed(0))
    torch.testing.assert_close(draws.mean(0), known.mean, atol=0.05, rtol=0)
    torch.testing.assert_close(draws.var(0), known.variance, atol=0, rtol=0.05)


def test_a_joint_belief_stays_joint() -> None:
    root = torch.randn(2, 2, 3, 3)
    covariance, noise = root @ root.mT + 0.1 * torch.eye(3), torch.full((2,), 0.3)
    inside, y = DenseGaussian(torch.randn(2, 3, 2), covariance, noise), torch.randn(2, 3, 2)
    square = FACTOR.square()
    known = DenseGaussian(
        inside.mean, square[..., None, None] * covariance, (square * noise[:, None])[:, None].expand(2, 3, 2)
    )
    torch.testing.assert_close(Widened(inside, FACTOR).log_prob(y, joint=True), known.log_prob(y, joint=True))


def test_a_wider_mixture_has_its_density_by_the_change_of_variables() -> None:
    inside = GaussianMixture(torch.randn(4, 2, 3, 2), torch.rand(4, 2, 3, 2) + 0.1)
    belief, grid = Widened(inside, FACTOR), torch.linspace(-30, 30, 20_001)
    for output in (0, 1):
        y = belief.mean.clone().expand(len(grid), 2, 3, 2).clone()
        y[..., output] = grid[:, None, None]
        below = belief.cdf(y)[:, :, :, output]
        slope = below.diff(dim=0) / (grid[1] - grid[0])
        whole = (slope * (grid[1:] + grid[:-1])[:, None, None] / 2).sum(0) * (grid[1] - grid[0])
        torch.testing.assert_close(whole, belief.mean[..., output], atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(belief.cdf(belief.quantile(0.3)), torch.full((2, 3, 2), 0.3))
