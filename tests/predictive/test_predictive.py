"""Beliefs against torch.distributions, brute force and their own definitions."""

import math

import pytest
import torch
from torch.distributions import Categorical as TorchCategorical
from torch.distributions import Independent, MixtureSameFamily, MultivariateNormal, Normal

from quickstudy.predictive import (
    Bars,
    Categorical,
    DenseGaussian,
    Gaussian,
    GaussianMixture,
    LowRankGaussian,
    LowRankPlusDiagonal,
    NoDensityError,
    Point,
    PointMixture,
)
from quickstudy.predictive.parts.covariance import cholesky

T, M, DY, S = 3, 4, 2, 5


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)


def gaussian():
    return Gaussian(torch.randn(T, M, DY), torch.rand(T, M, DY) + 0.1)


def mixture():
    return GaussianMixture(torch.randn(S, T, M, DY), torch.rand(S, T, M, DY) + 0.1)


def dense():
    root = torch.randn(T, DY, M, M)
    return DenseGaussian(torch.randn(T, M, DY), root @ root.mT, torch.rand(T) + 0.1)


def low_rank(rank=3):
    return LowRankGaussian(torch.randn(T, M, DY), torch.randn(T, M, rank), torch.rand(T, DY) + 0.1)


def low_rank_plus_diagonal(rank=3):
    return LowRankPlusDiagonal(torch.randn(T, M, DY), torch.randn(T, M, DY, rank), torch.rand(T, M, DY) + 0.1)


def point_mixture():
    return PointMixture(torch.randn(T, M, S), torch.randn(T, M, S, DY), torch.rand(T, M, S, DY) + 0.1)


def dense_with_own_noise():
    return dense()._replace(noise=torch.rand(T, M, DY) + 0.1)


def bars():
    edges = torch.randn(6).sort().values  # 5 bars, and the tails with much of the mass
    return Bars(torch.randn(T, M, DY, 7), edges, torch.tensor(0.7))


def outcome():
    return torch.randn(T, M, DY)


MASK = torch.tensor([[True] * 4, [True, False, True, False], [False] * 4])
DENSITIES = [gaussian, mixture, dense, dense_with_own_noise, low_rank, low_rank_plus_diagonal, point_mixture, bars]


def test_gaussian_log_prob():
    belief, y = gaussian(), outcome()
    expected = Normal(belief.mean, belief.variance.sqrt()).log_prob(y).sum(-1)
    torch.testing.assert_close(belief.log_prob(y), expected)
    torch.testing.assert_close(belief.log_prob(y, joint=True), expected.sum(1))


def test_mixture_log_prob_is_the_average_density_of_a_point_or_of_all_points():
    belief, y = mixture(), outcome()
    per_point = Normal(belief.means, belief.variances.sqrt()).log_prob(y).sum(-1).exp()
    torch.testing.assert_close(belief.log_prob(y), per_point.mean(0).log())
    torch.testing.assert_close(belief.log_prob(y, joint=True), per_point.prod(-1).mean(0).log())
    assert (belief.log_prob(y, joint=True) - belief.log_prob(y).sum(1)).abs().min() > 1e-6


@pytest.mark.parametrize("make", [dense, dense_with_own_noise])
def test_dense_log_prob(make):
    belief, y = make(), outcome()
    noise = belief.noise if belief.noise.dim() == 3 else belief.noise[:, None, None].expand(T, M, DY)
    noisy = belief.covariance + torch.diag_embed(noise.transpose(1, 2))
    joint = MultivariateNormal(belief.mean.transpose(1, 2), noisy).log_prob(y.transpose(1, 2)).sum(1)
    torch.testing.assert_close(belief.log_prob(y, joint=True), joint)
    marginal = Normal(belief.mean, noisy.diagonal(dim1=-2, dim2=-1).transpose(1, 2).sqrt()).log_prob(y).sum(-1)
    torch.testing.assert_close(belief.log_prob(y), marginal)
    keep = [0, 2]
    noise = belief.noise[1:2, keep] if belief.noise.dim() == 3 else belief.noise[1:2]
    part = DenseGaussian(belief.mean[1:2, keep], belief.covariance[1:2][:, :, keep][..., keep], noise)
    torch.testing.assert_close(belief.log_prob(y, MASK, joint=True)[1:2], part.log_prob(y[1:2, keep], joint=True))


@pytest.mark.parametrize("rank", [1, 3, 9])
def test_low_rank_is_the_dense_gaussian_of_its_covariance(rank):
    belief, y = low_rank(rank), outcome()
    function = (belief.factor @ belief.factor.mT)[:, None] * belief.noise[:, :, None, None]
    noisy = function + belief.noise[:, :, None, None] * torch.eye(M)
    joint = MultivariateNormal(belief.mean.transpose(1, 2), noisy).log_prob(y.transpose(1, 2)).sum(1)
    torch.testing.assert_close(belief.log_prob(y, joint=True), joint)
    variance = noisy.diagonal(dim1=-2, dim2=-1).transpose(1, 2)
    torch.testing.assert_close(belief.variance, variance)
    torch.testing.assert_close(belief.log_prob(y), Normal(belief.mean, variance.sqrt()).log_prob(y).sum(-1))
    keep = [0, 2]
    part = LowRankGaussian(belief.mean[1:2, keep], belief.factor[1:2, keep], belief.noise[1:2])
    torch.testing.assert_close(belief.log_prob(y, MASK, joint=True)[1:2], part.log_prob(y[1:2, keep], joint=True))
    draws = belief.sample(40_000, torch.Generator().manual_seed(0), noise=False)
    assert (torch.cov(draws[:, 0, :, 1].T) - function[0, 1]).abs().max() < 0.05 * function[0, 1].diagonal().max()
    units = torch.tensor([2.0, 0.5])
    scaled = belief.rescale(1.0, units)
    torch.testing.assert_close(scaled.log_prob(1 + units * y), belief.log_prob(y) - units.log().sum())


@pytest.mark.parametrize("rank", [1, 3, 30])
def test_low_rank_plus_diagonal_is_a_joint_normal_over_points_and_outputs(rank):
    belief, y = low_rank_plus_diagonal(rank), outcome()
    rows = belief.factor.flatten(1, 2)
    covariance = rows @ rows.mT + torch.diag_embed(belief.noise.flatten(1))
    oracle = MultivariateNormal(belief.mean.flatten(1), covariance)
    torch.testing.assert_close(belief.log_prob(y, joint=True), oracle.log_prob(y.flatten(1)))
    variance = oracle.variance.unflatten(1, (M, DY))
    torch.testing.assert_close(belief.variance, variance)
    torch.testing.assert_close(belief.log_prob(y), Normal(belief.mean, variance.sqrt()).log_prob(y).sum(-1))
    keep = [0, 2]
    part = LowRankPlusDiagonal(*(field[1:2, keep] for field in belief))
    torch.testing.assert_close(belief.log_prob(y, MASK, joint=True)[1:2], part.log_prob(y[1:2, keep], joint=True))
    draws = belief.sample(40_000, torch.Generator().manual_seed(0))[:, 0].flatten(1)
    assert (torch.cov(draws.T) - covariance[0]).abs().max() < 0.05 * covariance[0].diagonal().max()
    units = torch.tensor([2.0, 0.5])
    scaled = belief.rescale(1.0, units)
    shift = M * units.log().sum()
    torch.testing.assert_close(scaled.log_prob(1 + units * y, joint=True), belief.log_prob(y, joint=True) - shift)


def test_point_mixture_is_a_mixture_at_each_point():
    belief, y = point_mixture(), outcome()
    parts = Independent(Normal(belief.means, belief.variances.sqrt()), 1)
    oracle = MixtureSameFamily(TorchCategorical(logits=belief.logits), parts)
    torch.testing.assert_close(belief.log_prob(y), oracle.log_prob(y))
    torch.testing.assert_close(belief.log_prob(y, joint=True), oracle.log_prob(y).sum(1))
    torch.testing.assert_close(belief.mean, oracle.mean)
    torch.testing.assert_close(belief.variance, oracle.variance)
    far = PointMixture(belief.logits, belief.means * 1e3, belief.variances * 1e-6)  # draws show their component
    draws = far.sample(4000, torch.Generator().manual_seed(0), noise=False)
    same = (draws.unsqueeze(-2) == far.means).double()
    assert torch.equal(same[..., 0], same[..., 1]) and torch.equal(same.sum(-2), torch.ones(4000, T, M, DY))
    torch.testing.assert_close(same[..., 0].mean(0), far.weights, atol=0.03, rtol=0)


@pytest.mark.parametrize("make", DENSITIES)
def test_masked_points_count_for_nothing_whatever_they_hold(make):
    belief, y = make(), outcome()
    dirty = y.masked_fill(~MASK[..., None], float("nan")).requires_grad_()
    points = belief.log_prob(dirty, MASK)
    torch.testing.assert_close(points, belief.log_prob(y).where(MASK, torch.zeros(())))
    joint = belief.log_prob(dirty, MASK, joint=True)
    assert joint.isfinite().all() and joint[2] == 0
    torch.testing.assert_close(joint[0], belief.log_prob(y, joint=True)[0])
    (points.sum() + joint.sum()).backward()
    assert dirty.grad.isfinite().all() and not dirty.grad[2].any()


@pytest.mark.parametrize("make", DENSITIES)
def test_samples_have_the_moments(make):
    belief = make()
    draws = belief.sample(40_000, torch.Generator().manual_seed(0))
    assert draws.shape == (40_000, T, M, DY)
    scale = belief.variance.sqrt()
    assert ((draws.mean(0) - belief.mean) / scale).abs().max() < 0.03
    assert (draws.var(0) / belief.variance - 1).abs().max() < 0.06
    quiet = belief.sample(40_000, torch.Generator().manual_seed(0), noise=False)
    assert (quiet.var(0) < belief.variance).all()


def test_dense_samples_have_the_covariance():
    belief = dense()
    draws = belief.sample(40_000, torch.Generator().manual_seed(0), noise=False)
    found = torch.cov(draws[:, 0, :, 0].T)
    assert (found - belief.covariance[0, 0]).abs().max() < 0.05 * belief.covariance[0, 0].diagonal().max()


def test_one_mixture_draw_keeps_one_component_over_all_points():
    means = torch.tensor([0.0, 100.0])[:, None, None, None].expand(2, T, M, DY)
    draws = GaussianMixture(means, torch.ones_like(means)).sample(50, torch.Generator().manual_seed(0))
    high = draws > 50
    assert (high.all((2, 3)) | (~high).all((2, 3))).all() and high.any() and not high.all()


@pytest.mark.parametrize("make", DENSITIES)
def test_cdf_and_rescale(make):
    belief, y = make(), outcome()
    h = 1e-5
    if make not in (mixture, point_mixture):  # their outputs depend on each other
        slope = (belief.cdf(y + h) - belief.cdf(y - h)) / (2 * h)
        torch.testing.assert_close(slope.log().sum(-1), belief.log_prob(y), rtol=1e-5, atol=1e-6)
    draws = belief.sample(20_000, torch.Generator().manual_seed(0))
    assert ((draws < y).double().mean(0) - belief.cdf(y)).abs().max() < 0.02
    scaled = belief.rescale(2.0, 3.0)
    torch.testing.assert_close(scaled.mean, 2 + 3 * belief.mean)
    torch.testing.assert_close(
        scaled.log_prob(2 + 3 * y, joint=True), belief.log_prob(y, joint=True) - M * DY * math.log(3)
    )


def test_point_has_no_density():
    belief = Point(torch.zeros(T, M, DY))
    for ask in (
        lambda: belief.variance,
        lambda: belief.sample(1),
        lambda: belief.log_prob(outcome()),
        lambda: belief.cdf(0),
    ):
        with pytest.raises(NoDensityError, match="likelihood="):
            ask()


def test_categorical():
    belief, y = Categorical(torch.randn(T, M, 3)), torch.randint(3, (T, M))
    expected = torch.distributions.Categorical(logits=belief.logits)
    torch.testing.assert_close(belief.log_prob(y), expected.log_prob(y))
    torch.testing.assert_close(belief.log_prob(y, joint=True), expected.log_prob(y).sum(1))
    masked = belief.log_prob(y.masked_fill(~MASK, -100), MASK)
    torch.testing.assert_close(masked, expected.log_prob(y).where(MASK, torch.zeros(())))
    for bad in (3, -1):
        y[1, 1] = bad
        with pytest.raises(ValueError, match=rf"the label {bad} at index \[1, 1\]; the classes are 0 to 2"):
            belief.log_prob(y)
        assert belief.log_prob(y, MASK).isfinite().all()  # where it is padding
    draws = belief.sample(20_000, torch.Generator().manual_seed(0))
    one_hot = torch.nn.functional.one_hot(draws, 3).double()
    assert (one_hot.mean(0) - belief.probs).abs().max() < 0.02
    assert (one_hot.var(0) - belief.variance).abs().max() < 0.02


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match=r"expects \[3, 4, 2\]"):
        gaussian().log_prob(torch.zeros(T, M, 1))
    with pytest.raises(ValueError, match="mask"):
        gaussian().log_prob(outcome(), torch.ones(T, M + 1, dtype=torch.bool))


def test_beliefs_are_pytrees():
    belief = gaussian()
    doubled = torch.utils._pytree.tree_map(lambda leaf: 2 * leaf, belief)
    assert isinstance(doubled, Gaussian) and torch.equal(doubled.mean, 2 * belief.mean)


def test_cholesky_adds_the_least_jitter_and_refuses_nonsense():
    x = torch.linspace(0, 1, 40)
    matrix = torch.exp(-0.5 * (x[:, None] - x[None]).square())  # of rank far below 40
    factor = cholesky(matrix)
    assert (factor @ factor.T - matrix).abs().max() < 1e-8
    with pytest.raises(ValueError, match="positive definite"):
        cholesky(-torch.eye(3))
