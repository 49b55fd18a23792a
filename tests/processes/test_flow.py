"""Draws and densities of flows, whose velocity field is known in closed form."""

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from quickstudy.processes.parts import flow


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield


class Exact:
    """The field whose flow along straight paths takes N(0, I) to N(mean, covariance), for `y [T, M, 1]`.

    v(y, t) = mean + (t S - (1 - t) I) C_t^-1 (y - t mean), with C_t = (1 - t)^2 I + t^2 S, from E[y_1 - y_0 | y_t].
    """

    def __init__(self, mean: Tensor, covariance: Tensor):
        self.mean, self.covariance, self.eye = mean, covariance, torch.eye(len(mean))
        self.target = torch.distributions.MultivariateNormal(mean, covariance)

    def __call__(self, y: Tensor, t: float) -> Tensor:
        spread = (1 - t) ** 2 * self.eye + t**2 * self.covariance
        gain = torch.linalg.solve(spread, t * self.covariance - (1 - t) * self.eye)
        return (self.mean + (y[..., 0] - t * self.mean) @ gain).unsqueeze(-1)


@pytest.fixture
def exact() -> Exact:
    """A Gaussian process with length scale 0.5 at 5 points, and noise of variance 0.05^2."""
    x = torch.linspace(0, 1, 5)
    covariance = torch.exp(-0.5 * ((x[:, None] - x) / 0.5) ** 2) + 0.05**2 * torch.eye(5)
    return Exact(torch.tensor([1.0, 0.5, 0.0, -0.5, 2.0]), covariance)


def density(field: Exact, y: Tensor, steps: int, directions: flow.Directions) -> Tensor:
    noise, volume = flow.pulled(field, y, steps, directions)
    return (-0.5 * noise.square() - 0.5 * math.log(2 * math.pi) - volume).sum((1, 2))


def test_the_density_is_that_of_the_normal_distribution(exact: Exact) -> None:
    y = exact.target.sample((20,)).unsqueeze(-1)
    wanted = exact.target.log_prob(y[..., 0])
    errors = [(density(exact, y, k, lambda: flow.unit_entries(y)) - wanted).abs().max() for k in (32, 128)]
    assert errors[0] < 0.1 and errors[1] < errors[0] / 12  # the midpoint rule is of second order


def test_random_directions_are_unbiased(exact: Exact) -> None:
    y, chance = exact.target.sample((1,)).unsqueeze(-1), torch.Generator().manual_seed(0)
    wanted = density(exact, y, 16, lambda: flow.unit_entries(y))
    tries = y.expand(2000, -1, -1)
    found = density(exact, tries, 16, lambda: flow.random_signs(tries, 3, chance))
    assert (found.mean() - wanted).abs() < 4 * found.std() / 2000**0.5 and found.std() > 0.01


def test_draws_have_the_moments_of_the_normal_distribution(exact: Exact) -> None:
    """The flow is affine in the noise, so the images of 0 and of unit vectors say all."""
    noise = torch.cat([torch.zeros(1, 5), torch.eye(5)]).unsqueeze(-1)
    y = flow.pushed(exact, noise, 256)[..., 0]
    factor = (y[1:] - y[0]).T
    torch.testing.assert_close(y[0], exact.mean, atol=1e-3, rtol=0)
    torch.testing.assert_close(factor @ factor.T, exact.covariance, atol=2e-3, rtol=0)


def test_a_draw_returns_to_its_noise(exact: Exact) -> None:
    noise = torch.randn(3, 5, 1, generator=torch.Generator().manual_seed(0))
    back, _ = flow.pulled(exact, flow.pushed(exact, noise, 256), 256, list)
    torch.testing.assert_close(back, noise, atol=5e-3, rtol=0)


@pytest.mark.parametrize("sd", [1.0, 0.1, 0.02])
def test_narrow_distributions_need_no_more_steps(sd: float) -> None:
    field = Exact(torch.tensor([0.5]), torch.tensor([[sd**2]]))
    y = torch.tensor([[[0.5 + 1.3 * sd]]])
    found = density(field, y, 32, lambda: flow.unit_outputs(y))
    assert found.item() == pytest.approx(field.target.log_prob(y[0, :, 0]).item(), abs=0.003)


def test_densities_have_gradients_if_asked(exact: Exact) -> None:
    y = exact.target.sample((1,)).unsqueeze(-1).requires_grad_()
    total = density(exact, y, 32, lambda: flow.unit_entries(y)).sum()
    (found,) = torch.autograd.grad(total, y)
    wanted = -torch.linalg.solve(exact.covariance, (y[..., 0] - exact.mean).T).T
    torch.testing.assert_close(found[..., 0], wanted.detach(), rtol=0.05, atol=0.3)
    with torch.no_grad():
        assert not density(exact, y, 4, lambda: flow.unit_entries(y)).requires_grad
