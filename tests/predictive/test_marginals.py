"""Binary outcomes, counts and bars against torch and sums; densities of which some outputs are marginalised."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.distributions import Bernoulli as TorchBernoulli
from torch.distributions import NegativeBinomial as TorchNegativeBinomial

from quickstudy.predictive import (
    Bars,
    Bernoulli,
    DenseGaussian,
    Gaussian,
    LowRankPlusDiagonal,
    NegativeBinomial,
    PointMixture,
)

T, M, DY = 3, 4, 2
MASK = torch.tensor([[True] * 4, [True, False, True, False], [False] * 4])


@pytest.fixture(autouse=True)
def double() -> None:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


def bernoulli() -> Bernoulli:
    return Bernoulli(torch.randn(T, M, DY))


def counts() -> NegativeBinomial:
    return NegativeBinomial(torch.randn(T, M, DY), torch.rand(T, M, DY) + 0.1)


def bars() -> Bars:
    return Bars(torch.randn(T, M, DY, 7), torch.randn(6).sort().values, torch.tensor(0.7))


def dense() -> DenseGaussian:
    root = torch.randn(T, DY, M, M)
    return DenseGaussian(torch.randn(T, M, DY), root @ root.mT, torch.rand(T, M, DY) + 0.3)


BELIEFS: dict[str, Callable[[], Any]] = {
    "gaussian": lambda: Gaussian(torch.randn(T, M, DY), torch.rand(T, M, DY) + 0.3),
    "mixture": lambda: PointMixture(torch.randn(T, M, 3), torch.randn(T, M, 3, DY), torch.rand(T, M, 3, DY) + 0.3),
    "low rank": lambda: LowRankPlusDiagonal(
        torch.randn(T, M, DY), torch.randn(T, M, DY, 3), torch.rand(T, M, DY) + 0.3
    ),
    "dense": dense,
    "bars": bars,
    "bernoulli": bernoulli,
    "counts": counts,
}


def alike(belief: Any, count: int) -> Any:
    """The belief about its first task, `count` times."""
    return type(belief)(*(f[[0] * count] if f.dim() > 1 else f for f in belief))


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("name", BELIEFS)
def test_a_masked_output_is_integrated_out(name: str, joint: bool) -> None:
    belief = BELIEFS[name]()
    discrete = name in ("bernoulli", "counts")
    grid = torch.arange(2 if name == "bernoulli" else 400).double() if discrete else torch.linspace(-25, 25, 20_001)
    y = (torch.rand(1, M, DY) > 0.5).double() if discrete else torch.randn(1, M, DY)
    many, values = alike(belief, len(grid)), y.repeat(len(grid), 1, 1)
    values[:, 1, 0] = grid
    density = many.log_prob(values, joint=joint).exp()
    whole = density.sum(0) * (1.0 if discrete else 50 / 20_000)
    mask = torch.ones(1, M, DY, dtype=torch.bool)
    mask[:, 1, 0] = False
    values = values[:1].masked_fill(~mask, torch.nan)  # its value has no effect
    found = alike(belief, 1).log_prob(values, mask, joint=joint)[0].exp()
    point = ... if joint else 1
    torch.testing.assert_close(whole[point], found[point], rtol=1e-3, atol=1e-8)


@pytest.mark.parametrize("name", BELIEFS)
def test_a_mask_of_outputs_agrees_with_one_of_points_and_has_finite_gradients(name: str) -> None:
    belief = BELIEFS[name]()
    y = (torch.rand(T, M, DY) > 0.5).double().masked_fill(~MASK.unsqueeze(-1), torch.nan).requires_grad_()
    for joint in (False, True):
        outputs = belief.log_prob(y, MASK.unsqueeze(-1).expand(T, M, DY), joint=joint)
        torch.testing.assert_close(outputs, belief.log_prob(y, MASK, joint=joint))
        assert outputs[2].abs().max() == 0
        (gradient,) = torch.autograd.grad(outputs.sum(), y)
        assert gradient.isfinite().all() and not gradient[~MASK].any()
    with pytest.raises(
        ValueError, match=r"mask has shape \[3, 4, 1\]; this prediction expects \[3, 4\], or \[3, 4, 2\]"
    ):
        belief.log_prob(y, MASK.unsqueeze(-1))


def test_bernoulli_is_that_of_torch() -> None:
    belief, y = bernoulli(), (torch.rand(T, M, DY) > 0.5).double()
    oracle = TorchBernoulli(logits=belief.logits)
    torch.testing.assert_close(belief.log_prob(y), oracle.log_prob(y).sum(-1))
    torch.testing.assert_close(belief.log_prob(y, joint=True), oracle.log_prob(y).sum((1, 2)))
    torch.testing.assert_close(belief.mean, oracle.mean)
    torch.testing.assert_close(belief.variance, oracle.variance)
    draws = belief.sample(20_000, torch.Generator().manual_seed(0))
    assert (draws.mean(0) - belief.mean).abs().max() < 0.02 and set(draws.unique().tolist()) == {0.0, 1.0}
    far = Bernoulli(torch.tensor([[[-1e4], [1e4]]], dtype=torch.float32))
    assert far.log_prob(torch.tensor([[[1.0], [0.0]]])).tolist() == [[-1e4, -1e4]]


def test_counts_are_those_of_torch() -> None:
    belief = counts()
    y = torch.arange(T * M * DY).view(T, M, DY).double()
    size = 1 / belief.dispersion
    oracle = TorchNegativeBinomial(size, logits=(belief.mean / size).log())
    torch.testing.assert_close(belief.log_prob(y), oracle.log_prob(y).sum(-1))
    torch.testing.assert_close(belief.log_prob(y, joint=True), oracle.log_prob(y).sum((1, 2)))
    torch.testing.assert_close(belief.mean, oracle.mean)
    torch.testing.assert_close(belief.variance, oracle.variance)
    draws = belief.sample(40_000, torch.Generator().manual_seed(0))
    assert ((draws.mean(0) - belief.mean) / belief.variance.sqrt()).abs().max() < 0.03
    assert (draws.var(0) / belief.variance - 1).abs().max() < 0.15 and torch.equal(draws, draws.floor())
    assert torch.equal(belief.sample(2, noise=False)[1], belief.mean)
    many = NegativeBinomial(torch.zeros(1000, 1, 1), torch.full((1000, 1, 1), 2.0))
    total = many.log_prob(torch.arange(1000.0).view(1000, 1, 1)).exp().sum()
    assert total.item() == pytest.approx(1, abs=1e-9)


def test_counts_of_little_dispersion_are_poisson_in_single_precision() -> None:
    """The logarithms of two Gamma functions of 1e6 differ by less than the rounding of either in float32."""
    y = torch.arange(20, dtype=torch.float32).view(1, 20, 1)
    belief = NegativeBinomial(torch.full_like(y, math.log(5)), torch.full_like(y, 1e-6))
    torch.testing.assert_close(
        belief.log_prob(y),
        torch.distributions.Poisson(torch.tensor(5.0, dtype=torch.float32)).log_prob(y)[..., 0],
        atol=1e-3,
        rtol=0,
    )


def test_bars_have_the_mass_that_they_say_also_in_the_tails() -> None:
    """Density, cdf and draws agree, inside and outside."""
    belief = bars()
    low, high = belief.edges[0], belief.edges[-1]
    y = torch.linspace(-12, 12, 48_001)
    one = alike(belief, len(y))
    mask = torch.zeros(len(y), M, DY, dtype=torch.bool)
    mask[..., 0] = True
    values = y.view(-1, 1, 1).expand(-1, M, DY)
    density = one.log_prob(values, mask).exp()
    torch.testing.assert_close(density.sum(0) * 24 / 48_000, torch.ones(M), atol=1e-3, rtol=0)
    below = density[y < low].sum(0) * 24 / 48_000
    torch.testing.assert_close(below, belief.weights[0, :, 0, 0], atol=1e-3, rtol=0)
    torch.testing.assert_close(belief.cdf(torch.full((T, M, DY), float(low))), belief.weights[..., 0])
    torch.testing.assert_close(belief.cdf(torch.full((T, M, DY), float(high))), 1 - belief.weights[..., -1])
    draws = belief.sample(20_000, torch.Generator().manual_seed(0))
    assert ((draws > high).double().mean(0) - belief.weights[..., -1]).abs().max() < 0.02
    assert (belief.cdf(draws[0]) > 0).all() and (draws < low).any()


def test_bars_at_odd_places() -> None:
    belief = Bars(torch.zeros(1, 1, 1, 4), torch.tensor([0.0, 1.0, 3.0]), torch.tensor(1.0))
    places = torch.tensor([0.0, 0.5, 1.0, 3.0, 1e4, -1e4, torch.nan])
    found = alike(belief, 7).log_prob(places.view(7, 1, 1))[:, 0]
    half = math.log(2 / (2 * math.pi) ** 0.5)  # of a half-normal tail at its edge
    expected = torch.tensor([0.0, 0.0, -math.log(2), half, half - 0.5 * (1e4 - 3) ** 2, half - 0.5e8, torch.nan])
    torch.testing.assert_close(found, expected + math.log(0.25), equal_nan=True)
    scaled = belief.rescale(torch.tensor([[[5.0]]]), torch.tensor([2.0]))
    assert scaled.log_prob(torch.full((1, 1, 1), 6.0)).item() == pytest.approx(math.log(0.25 / 2))
    assert scaled.sample(2).shape == (2, 1, 1, 1) and scaled.mean.item() == pytest.approx(5 + 2 * belief.mean.item())


@pytest.mark.parametrize(
    ("make", "bad", "message"),
    [
        (bernoulli, 0.5, r"the first, 0\.5, at index \[0, 1, 0\]; expected 0 or 1"),
        (counts, -1.0, r"the first, -1, .* expected whole numbers of at least 0"),
        (counts, 2.5, r"the first, 2\.5, "),
    ],
)
def test_impossible_outcomes(make: Callable[[], Any], bad: float, message: str) -> None:
    belief, y = make(), torch.ones(T, M, DY)
    y[0, 1, 0] = bad
    with pytest.raises(ValueError, match=message):
        belief.log_prob(y)
    mask = torch.ones(T, M, dtype=torch.bool)
    mask[0, 1] = False
    assert belief.log_prob(y, mask).isfinite().all()
    y[0, 1, 0] = torch.nan
    assert belief.log_prob(y).isnan().tolist() == [[False, True, False, False], [False] * 4, [False] * 4]


@pytest.mark.parametrize("name", BELIEFS)
def test_no_points(name: str) -> None:
    belief = BELIEFS[name]()
    none = type(belief)(*(f[:, :0] if f.dim() > 1 else f for f in belief))
    if name == "dense":
        none = DenseGaussian(belief.mean[:, :0], belief.covariance[:, :, :0, :0], belief.noise[:, :0])
    assert none.sample(2).shape == (2, T, 0, DY) and none.variance.shape == (T, 0, DY)
    assert torch.equal(none.log_prob(torch.zeros(T, 0, DY), joint=True), torch.zeros(T))
