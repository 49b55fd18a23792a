"""Student's t with 5 degrees of freedom, and its mixtures, against scipy."""

import numpy as np
import pytest
import scipy.stats
import torch

from quickstudy.metric.compartments import student
from quickstudy.metric.compartments.belief import StudentMixture

EXACT = scipy.stats.t(5)


def test_density_and_distribution_function() -> None:
    z = torch.tensor([-1e6, -300.0, -112.0, -111.0, -7.0, -1.0, 0.0, 0.2, 4.0, 50.0], dtype=torch.float64)
    np.testing.assert_allclose(student.log_density(z), EXACT.logpdf(z), rtol=1e-12)
    np.testing.assert_allclose(student.cdf(z), EXACT.cdf(z), rtol=1e-8)


def test_the_derivative_of_the_distribution_function_is_the_density() -> None:
    z = torch.tensor([-200.0, -111.9, -3.0, 0.0, 2.0], dtype=torch.float64, requires_grad=True)
    student.cdf(z).sum().backward()  # type: ignore[no-untyped-call]
    np.testing.assert_allclose(z.grad, EXACT.pdf(z.detach()), rtol=1e-6)  # type: ignore[arg-type]


def test_draws(generator: torch.Generator) -> None:
    found = student.sample((4000,), torch.zeros(1), generator)
    assert scipy.stats.kstest(found.numpy(), EXACT.cdf).pvalue > 1e-3


def _mixture() -> StudentMixture:
    chance = torch.Generator().manual_seed(0)
    shape = (2, 5, 3)
    centers = torch.randn(shape, generator=chance, dtype=torch.float64)
    scales = torch.rand(shape, generator=chance, dtype=torch.float64) + 0.2
    return StudentMixture(torch.randn(2, 5, generator=chance, dtype=torch.float64).log_softmax(1), centers, scales)


def test_moments_and_densities_of_a_mixture(generator: torch.Generator) -> None:
    belief = _mixture()
    y = torch.randn(2, 3, 1, generator=generator, dtype=torch.float64)
    weights, centers, scales = belief.log_weights.exp(), belief.centers, belief.scales
    for t in range(2):
        parts = EXACT.pdf(((y[t].T - centers[t]) / scales[t]).numpy()) / scales[t].numpy()
        np.testing.assert_allclose(belief.log_prob(y)[t], np.log(weights[t].numpy() @ parts), rtol=1e-10)
        joint = np.log(weights[t].numpy() @ parts.prod(1))
        assert float(belief.log_prob(y, joint=True)[t]) == pytest.approx(joint)
    draws = belief.sample(20_000, generator)
    torch.testing.assert_close(draws.mean(0), belief.mean, atol=0.05, rtol=0)
    torch.testing.assert_close(draws.var(0), belief.variance, atol=0.2, rtol=0.1)
    assert belief.sample(3, generator, noise=False).shape == (3, 2, 3, 1)


def test_a_draw_has_one_component(generator: torch.Generator) -> None:
    """Points of a task are then as dependent as the centers."""
    belief = StudentMixture(
        torch.zeros(1, 2).log_softmax(1), torch.tensor([[[-9.0, -9.0], [9.0, 9.0]]]), torch.full((1, 2, 2), 0.1)
    )
    draws = belief.sample(200, generator).squeeze(3).squeeze(1)
    assert bool((draws[:, 0].sign() == draws[:, 1].sign()).all()) and 50 < int((draws[:, 0] > 0).sum()) < 150


def test_quantiles_and_units() -> None:
    belief = _mixture()
    torch.testing.assert_close(belief.cdf(belief.quantile(0.05)), torch.full((2, 3, 1), 0.05, dtype=torch.float64))
    assert bool((belief.quantile([0.0, 1.0])[1] == torch.inf).all())
    shift = torch.randn(2, 3, 1, dtype=torch.float64)
    torch.testing.assert_close(belief.rescale(shift, 2.0).quantile(0.3), shift + 2 * belief.quantile(0.3))
