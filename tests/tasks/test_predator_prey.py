"""Predators and prey against other integrators, and where the points of forecasting tasks lie."""

import math

import numpy as np
import pytest
import scipy.integrate
import torch

from quickstudy.tasks import PredatorPrey
from quickstudy.tasks.predator_prey import Rates, simulate


def _rates(*values: float) -> Rates:
    return Rates(*(torch.tensor([value], dtype=torch.float64) for value in values))


def test_without_noise_it_solves_the_equations() -> None:
    """The error against an accurate solver is proportional to the step, also after many periods."""
    a, b, d, g, end = 0.5, 0.05, 1.0, 0.06, 30.0
    exact = scipy.integrate.solve_ivp(
        lambda _, z: [z[0] * (a - b * z[1]), z[1] * (g * z[0] - d)], (0, end), [30.0, 5.0], rtol=1e-9, atol=1e-9
    ).y[:, -1]
    errors = []
    for step in (0.02, 0.01):
        steps = round(end / step)
        start = torch.tensor([[30.0], [5.0]], dtype=torch.float64)
        path = simulate(start, _rates(a, b, d, g, 0.0), torch.zeros(steps, 2, 1, dtype=torch.float64), step)
        errors.append(np.abs(path[-1, :, 0].numpy() / exact - 1).max())
    assert errors[0] < 0.03 and errors[0] / errors[1] == pytest.approx(2, rel=0.15)


def test_with_noise_it_agrees_with_euler_maruyama_on_the_same_brownian_path(generator: torch.Generator) -> None:
    rates, fine, ratio = _rates(0.5, 0.05, 1.0, 0.06, 2.0), 0.001, 8
    white = torch.randn(2000, 2, 1, dtype=torch.float64, generator=generator)
    z = torch.tensor([[30.0], [10.0]], dtype=torch.float64)
    coarse = simulate(z, rates, white.unflatten(0, (-1, ratio)).sum(1) / math.sqrt(ratio), fine * ratio)
    for kick in white * (math.sqrt(fine) * 2.0):
        drift = torch.stack([z[0] * (0.5 - 0.05 * z[1]), z[1] * (0.06 * z[0] - 1.0)])
        z = (z + drift * fine + z ** (1 / 6) * kick).abs()
    torch.testing.assert_close(coarse[-1], z, rtol=0.02, atol=0.1)
    assert float((coarse[-1] - coarse[0]).abs().min()) > 1  # the populations have moved


def test_points_of_a_forecast_lie_before_and_after_now(generator: torch.Generator) -> None:
    tasks = PredatorPrey(step=0.5, forecasting=0.5).sample(200, support=20, query=20, generator=generator)
    forecast, now = tasks.info["is_forecast"], tasks.info["now"][:, None]
    before, after = tasks.support.x.squeeze(2), tasks.query.x.squeeze(2)
    assert 60 < int(forecast.sum()) < 140
    assert bool((before <= now)[forecast].all() and (after >= now)[forecast].all())
    assert bool((now >= 25).all() and (now <= 75).all())
    assert bool((before > now)[~forecast].any(1).all())
    assert float(before[forecast].min()) < 1 and float(after[forecast].max()) > 99


def test_a_grid_covers_the_domain_and_interpolates_the_path(generator: torch.Generator) -> None:
    """At twice the points, every other value is the same, and those between are on the line between its neighbours."""
    options = {"step": 0.5, "scale": 1.0, "lead": 0.0, "domain": (0.0, 10.0), "forecasting": 1.0}
    family = PredatorPrey(**options)
    asked = {"support": 3, "split": "test", "grid": True}
    nodes, finer = (
        family.sample(4, query=n, generator=torch.Generator().manual_seed(0), **asked).query for n in (21, 41)
    )
    assert torch.equal(nodes.x[0, :, 0], torch.linspace(0, 10, 21))
    torch.testing.assert_close(finer.y[:, ::2], nodes.y)
    torch.testing.assert_close(finer.y[:, 1::2], (nodes.y[:, 1:] + nodes.y[:, :-1]) / 2, rtol=1e-4, atol=1e-4)


def test_populations_resemble_hares_and_lynxes(generator: torch.Generator) -> None:
    y = PredatorPrey().sample(100, support=0, query=100, generator=generator).query.y
    assert bool((y >= 0).all()) and 30 < float(y[..., 0].mean()) < 55 and 20 < float(y[..., 1].mean()) < 42
    assert float(y[..., 0].median()) < float(y[..., 0].mean())  # long low times and short high ones


@pytest.mark.parametrize(
    "option",
    [{"growth": 0.0}, {"volatility": -1.0}, {"scale": (0.0, 1.0)}, {"forecasting": 1.5}, {"step": 0.0}, {"step": 5.0}],
)
def test_bad_options(option: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(option))):
        PredatorPrey(**option)  # type: ignore[arg-type]
