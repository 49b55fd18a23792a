"""Likelihoods of a linear predictor, their averages over a normal one, and Laplace's approximation."""

import math

import pytest
import scipy.stats
import torch

from quickstudy.metric.generalized.laplace import Rows, laplace
from quickstudy.metric.generalized.likelihoods import BernoulliRows, NegativeBinomialRows, PoissonRows, StudentRows
from quickstudy.metric.generalized.quadrature import average_cdf, log_average

LIKELIHOODS = {
    "poisson": lambda: PoissonRows(),
    "negative binomial": lambda: NegativeBinomialRows(torch.tensor(-1.0)),
    "bernoulli": lambda: BernoulliRows(),
    "student": lambda: StudentRows(torch.tensor(0.3), torch.tensor(1.0)),
}
DISCRETE = [name for name in LIKELIHOODS if name != "student"]
GRID = torch.linspace(-12, 12, 20_001, dtype=torch.float64)
DENSITY = (-GRID.square() / 2).softmax(0)


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)


def outcomes(name):
    return [0.0, 1.0] if name == "bernoulli" else [0.0, 1.0, 5.0, 30.0]


def theirs(name, eta):
    """The distribution by scipy."""
    if name == "student":
        return scipy.stats.t(2.1 + math.e, loc=eta, scale=math.exp(0.3))
    if name == "bernoulli":
        return scipy.stats.bernoulli(1 / (1 + math.exp(-eta)))
    if name == "poisson":
        return scipy.stats.poisson(math.exp(eta))
    size = 1 / (1e-6 + math.exp(-1))
    return scipy.stats.nbinom(size, size / (size + math.exp(eta)))


@pytest.mark.parametrize("eta", [-1.5, 0.4, 3.0])
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_probabilities_and_slopes(name, eta):
    likelihood, dist = LIKELIHOODS[name](), theirs(name, eta)
    given = torch.tensor(eta, requires_grad=True)
    for y in outcomes(name):
        value = likelihood.log_prob(torch.tensor(y), given)
        wanted = dist.logpdf(y) if name == "student" else dist.logpmf(y)
        assert value.item() == pytest.approx(wanted, rel=1e-8)
        (slope,) = torch.autograd.grad(value, given, create_graph=True)
        (bend,) = torch.autograd.grad(slope, given)
        assert likelihood.slope(torch.tensor(y), given).item() == pytest.approx(slope.item(), rel=1e-9, abs=1e-12)
        assert likelihood.curvature(torch.tensor(y), given).item() == pytest.approx(-bend.item(), rel=1e-9)
        if name != "student":
            assert float(likelihood.cdf(torch.tensor(y), given.detach())) == pytest.approx(dist.cdf(y), rel=1e-9)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_draws(name):
    likelihood = LIKELIHOODS[name]()
    draws = likelihood.draw(torch.full((40_000,), 0.4), torch.Generator().manual_seed(0))
    dist = theirs(name, 0.4)
    assert float(draws.mean()) == pytest.approx(dist.mean(), abs=0.04)
    assert float((draws <= 1).double().mean()) == pytest.approx(dist.cdf(1), abs=0.01)


CASES = [(0.0, 1.0), (3.0, 9.0), (-2.0, 0.01), (5.0, 0.3), (1.0, 1e-12), (-5.0, 16.0)]


@pytest.mark.parametrize(("mean", "variance"), CASES)
@pytest.mark.parametrize("name", DISCRETE)
def test_averages_over_a_normal_predictor(name, mean, variance):
    """Against a sum over 20,001 nodes; counts may be far from what the predictor expects."""
    likelihood, eta = LIKELIHOODS[name](), mean + variance**0.5 * GRID
    where = torch.tensor([[[mean]]]), torch.tensor([[[variance]]])
    for y in [*outcomes(name), *([400.0] if variance >= 0.3 and mean > 0 and name != "bernoulli" else [])]:
        wanted = (likelihood.log_prob(torch.tensor(y), eta) + DENSITY.log()).logsumexp(0)
        found = log_average(likelihood, torch.tensor([[[y]]]), *where)
        assert float(found) == pytest.approx(float(wanted), rel=1e-8, abs=1e-6)
        below = (DENSITY * likelihood.cdf(torch.full_like(eta, y), eta)).sum()
        assert float(average_cdf(likelihood, torch.tensor([[[y]]]), *where)) == pytest.approx(float(below), abs=1e-8)
    if variance < 2:
        found = likelihood.moments(*where)
        centre = (DENSITY * likelihood.inverse_link(eta)).sum()
        given = likelihood.moments(eta, torch.zeros_like(eta))
        spread = (DENSITY * (given.variance + (given.mean - centre).square())).sum()
        assert float(found.mean) == pytest.approx(float(centre), rel=1e-7)
        assert float(found.variance) == pytest.approx(float(spread), rel=1e-6)


@pytest.mark.parametrize("freedom", [2.15, 3.0, 10.0, 3000.0])
@pytest.mark.parametrize("variance", [0.0, 2.0])
def test_student_noise_is_a_mixture_of_normal_ones(freedom, variance):
    """Over 40 scales of the noise to both sides; the average over a normal predictor is as a sum over it."""
    likelihood = StudentRows(torch.tensor([0.3]), torch.tensor([math.log(freedom - 2.1)]))
    y = torch.tensor([0.0, 1.0, 4.0, 15.0, 50.0] if freedom < 100 else [0.0, 1.0, 4.0, 8.0]).view(1, -1, 1)
    found = likelihood.mixed(torch.zeros_like(y), torch.full_like(y, variance)).log_prob(y).flatten()
    if variance:
        values = likelihood.log_prob(y.view(-1, 1), variance**0.5 * GRID)
        wanted = (values + DENSITY.log()).logsumexp(1)
    else:
        wanted = torch.tensor(theirs_t(freedom).logpdf(y.flatten().numpy()))
    torch.testing.assert_close(found, wanted, rtol=2e-5, atol=1e-6)


def theirs_t(freedom):
    return scipy.stats.t(freedom, scale=math.exp(0.3))


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_derivatives_of_laplace_are_those_of_its_value(name):
    """The mode moves with every argument: first and second derivatives against finite differences."""
    chance = torch.Generator().manual_seed(3)
    likelihood = LIKELIHOODS[name]()
    offset, features = torch.randn(2, 5, generator=chance), 0.7 * torch.randn(2, 5, 2, generator=chance)
    y, real = likelihood.draw(offset, chance), torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    parameters = tuple(part.clone().requires_grad_() for part in likelihood)

    def marginal(offset, features, *parameters):
        found = laplace(type(likelihood)(*parameters), Rows(y, real, offset, features))
        return found.log_marginal, found.mode

    arguments = (offset.requires_grad_(), features.requires_grad_(), *parameters)
    assert torch.autograd.gradcheck(marginal, arguments, atol=1e-5)
    assert torch.autograd.gradgradcheck(lambda *given: marginal(*given)[0], arguments, atol=1e-4)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_laplace_is_near_quadrature(name):
    """One random intercept and five rows: the log of the marginal likelihood over a dense grid."""
    chance = torch.Generator().manual_seed(5)
    likelihood, groups = LIKELIHOODS[name](), 400
    features = torch.full((groups, 5, 1), 0.8)
    eta = 1.0 + 0.8 * torch.randn(groups, 1, generator=chance).expand(-1, 5)
    y = likelihood.draw(eta.contiguous(), chance)
    found = laplace(likelihood, Rows(y, y == y, torch.ones(groups, 5), features)).log_marginal
    grid = GRID[::10]
    rows = likelihood.log_prob(y.unsqueeze(2), 1.0 + 0.8 * grid).sum(1)
    off = found - (rows + (-grid.square() / 2).log_softmax(0)).logsumexp(1)
    assert abs(float(off.mean())) < 0.02 and float(off.square().mean().sqrt()) < 0.08
