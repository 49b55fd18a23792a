"""A new person's posterior against integration on a grid."""

import math

import scipy.stats
import torch

from quickstudy.data import Examples
from quickstudy.metric.compartments.compartment_model import CompartmentModel
from quickstudy.metric.compartments.population import Population
from quickstudy.metric.compartments.samples import Samples, log_density
from quickstudy.metric.compartments.weighting import weighted
from quickstudy.tasks import Compartments

MODEL = Compartments(1, "bolus")


def _population() -> Population:
    """Two draws of the population."""
    mean = torch.tensor([[0.5, -0.6], [0.7, -0.4]])
    root = torch.tensor([[[0.4, 0.0], [0.1, 0.3]], [[0.3, 0.0], [-0.1, 0.5]]])
    return Population(mean, root, torch.tensor([[0.15, 0.05], [0.25, 0.02]]).log())


def _on_a_grid(given: Samples) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of both parameters, by brute force."""
    axis = torch.linspace(-4, 4, 401)
    logs = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), 2).flatten(0, 1)
    level, slope = MODEL.level_and_slope(logs, given.hours)
    total = torch.zeros(len(logs))
    for mean, root, noise in zip(*_population(), strict=True):
        prior = scipy.stats.multivariate_normal(mean.numpy(), (root @ root.mT).numpy()).pdf(logs.numpy())
        total = total + torch.as_tensor(prior) * log_density(given, level, slope, noise).exp()
    weights = total / total.sum()
    mean = weights @ logs
    return mean, (weights @ (logs - mean).square()).sqrt()


def test_against_a_grid() -> None:
    torch.set_default_dtype(torch.float64)
    hours = torch.tensor([[0.5, 1.0, 3.0, 6.0]])
    white = CompartmentModel(route="bolus", draws=4096).white
    seen = torch.tensor([[True, True, True, False]])
    for below in (False, True):
        given = Samples(
            hours, torch.tensor([[-1.0, -1.1, -2.0, 9.0]]), seen, torch.tensor([[False, False, below, False]])
        )
        found = weighted(MODEL, _population(), _population(), given, white)
        weights = found.log_weights[0].exp()
        mean, sd = _on_a_grid(given)
        got = weights @ found.logs[0]
        torch.testing.assert_close(got, mean, atol=0.02, rtol=0)
        torch.testing.assert_close((weights @ (found.logs[0] - got).square()).sqrt(), sd, atol=0.02, rtol=0)


def test_densities_are_scipys_and_values_below_the_limit_count_by_their_probability() -> None:
    torch.set_default_dtype(torch.float64)
    level, slope = torch.tensor([0.3, -0.5]), torch.tensor([0.0, -2.0])
    given = Samples(torch.ones(2), torch.tensor([0.1, -0.9]), *torch.tensor([[True, True], [False, True]]))
    noise = torch.tensor([0.2, 0.1]).log()
    exact = scipy.stats.t(5, 0.3, 0.2).logpdf(0.1) + scipy.stats.t(5, -0.5, math.hypot(0.2, 0.2)).logcdf(-0.9)
    torch.testing.assert_close(log_density(given, level, slope, noise), torch.tensor(exact))


def test_most_draws_count() -> None:
    """Even with many exact samples, where draws from the population would be lost."""
    torch.set_default_dtype(torch.float64)
    learner = CompartmentModel(route="bolus")
    hours = torch.linspace(0.5, 8, 40).view(1, -1, 1)
    y = MODEL.log_concentration(torch.tensor([0.2, -1.0]), hours[0, :, 0]).view(1, -1, 1)
    noisy = y + 0.1 * torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    predictor = learner.adapt(Examples(hours, noisy))
    assert float(predictor.effective_draws()) > 100
    torch.testing.assert_close(predictor(hours).mean, y, atol=0.1, rtol=0)
