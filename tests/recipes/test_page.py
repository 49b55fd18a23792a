"""The families of the page, and their exact posteriors beside independent ones."""

import pytest
import torch

from quickstudy.data import Examples
from quickstudy.recipes.page.curves import Curves
from quickstudy.recipes.page.families import DRUG, SAWTOOTH, SINE
from quickstudy.recipes.page.gaussian import GPPosterior
from quickstudy.tasks import GaussianProcess
from quickstudy.testing import check_family

CURVES = {"sine": SINE, "sawtooth": SAWTOOTH, "drug": DRUG}


@pytest.mark.parametrize("name", CURVES)
def test_curves_are_a_family(name: str) -> None:
    check_family(lambda: CURVES[name])


@pytest.mark.parametrize("name", CURVES)
def test_the_posterior_is_that_of_weighted_draws_from_the_prior(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Importance sampling: draws of the parameters, weighted by the likelihood of two points."""
    monkeypatch.setattr("quickstudy.recipes.page.curves.MEMBERS", 2_000)  # fewer are coarse where functions jump
    family: Curves = CURVES[name]
    chance = torch.Generator().manual_seed(2)
    tasks = family.sample(1, support=2, query=30, split="test", grid=True, generator=chance)
    shares = torch.rand(200_000, len(family.parameters), generator=chance, dtype=torch.float64)
    theta = family.values(shares)
    seen, grid = (part.x[0, :, 0].double().expand(len(theta), -1) for part in (tasks.support, tasks.query))
    gaps = family.curve(theta, seen) - tasks.support.y[0, :, 0]
    weights, curves = (-0.5 * (gaps / family.noise).square().sum(1)).softmax(0), family.curve(theta, grid)
    mean = weights @ curves
    variance = weights @ (curves - mean).square() + family.noise**2

    posterior = family.posterior(tasks.support)
    belief = posterior(tasks.query.x)
    assert ((belief.mean[0, :, 0] - mean).abs() < 0.1 * variance.sqrt()).all()
    assert torch.allclose(belief.variance[0, :, 0].double(), variance, rtol=0.15)
    drawn = posterior.functions(4_000, chance)(tasks.query.x)[:, 0, :, 0]
    assert ((drawn.mean(0) - mean).abs() < 0.1 * variance.sqrt()).all()


def test_without_points_the_posterior_is_the_prior() -> None:
    nothing = Examples(torch.zeros(1, 0, 1), torch.zeros(1, 0, 1))
    x = torch.linspace(-5, 5, 9).reshape(1, -1, 1)
    members = SINE.posterior(nothing).members
    assert members.mean(0).tolist() == pytest.approx([2.55, torch.pi / 2], rel=0.05)
    assert SINE.posterior(nothing)(x).mean.shape == (1, 9, 1)


def test_a_gaussian_process_with_known_numbers_is_the_exact_one() -> None:
    family = GaussianProcess(lengthscale=(0.3, 0.3001), scale=(0.7, 0.7001), noise=0.05)
    tasks = family.sample(1, support=6, query=20, split="test", generator=torch.Generator().manual_seed(0))
    posterior, exact = GPPosterior(family, tasks.support), family.oracle(tasks)(tasks.query.x)
    belief = posterior(tasks.query.x)
    assert torch.allclose(belief.mean, exact.mean.to(belief.mean), atol=1e-3)
    assert torch.allclose(belief.variance, exact.variance.to(belief.mean), rtol=1e-2, atol=1e-5)
    drawn = posterior.functions(4_000, torch.Generator().manual_seed(1))(tasks.query.x)[:, 0, :, 0]
    assert torch.allclose(drawn.mean(0), exact.mean[0, :, 0].double(), atol=0.08)
