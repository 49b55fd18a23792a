"""Pendulums against scipy's integrator, closed forms and the balance of energy."""

import math

import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
import torch

from quickstudy.data import Tasks
from quickstudy.tasks import Pendulum

OVER_THE_TOP = Pendulum(velocity=(-8.0, 8.0), damping=(0.0, 2.0), with_velocity=True)


def _integrated(family: Pendulum, tasks: Tasks, task: int) -> np.ndarray:
    """Angle and velocity of one task at its query x, by an adaptive method of order 8."""
    length, damping, angle, velocity = (
        float(tasks.info[name][task]) for name in ("length", "damping", "angle", "velocity")
    )

    def slope(_: float, state: np.ndarray) -> list[float]:
        return [state[1], -family.gravity / length * math.sin(state[0]) - damping * state[1]]

    times = tasks.query.x[task, :, 0].double().numpy()
    order = times.argsort()
    solution = scipy.integrate.solve_ivp(
        slope, (0, family.domain[1]), [angle, velocity], "DOP853", times[order], rtol=1e-11, atol=1e-11
    )
    states = np.empty((len(times), 2))
    states[order] = solution.y.T
    return states


@pytest.mark.parametrize(
    ("family", "dtype", "error"),
    [
        (Pendulum(with_velocity=True), torch.float64, 5e-5),
        (Pendulum(with_velocity=True), torch.float32, 2e-4),
        (OVER_THE_TOP, torch.float64, 5e-5),
        (Pendulum(with_velocity=True, domain=(3.0, 4.0), gravity=1.62, length=0.3), torch.float64, 5e-5),
    ],
)
def test_against_an_adaptive_integrator(
    family: Pendulum, dtype: torch.dtype, error: float, generator: torch.Generator
) -> None:
    torch.set_default_dtype(dtype)
    tasks = family.sample(12, support=0, query=25, generator=generator)
    for t in range(12):
        np.testing.assert_allclose(tasks.query.y[t].numpy(), _integrated(family, tasks, t), atol=error, rtol=0)


def test_undamped_swings_are_jacobis_elliptic_functions(generator: torch.Generator) -> None:
    """From rest at angle a: sin(theta / 2) = k cn(wt) / dn(wt), k = sin(a / 2), w = sqrt(g / l)."""
    torch.set_default_dtype(torch.float64)
    tasks = Pendulum(damping=0.0, velocity=0.0).sample(30, support=0, query=30, generator=generator)
    k = torch.sin(tasks.info["angle"] / 2)[:, None].numpy()
    rate = (9.81 / tasks.info["length"]).sqrt()[:, None].numpy()
    _, cn, dn, _ = scipy.special.ellipj(rate * tasks.query.x.squeeze(2).numpy(), k**2)
    np.testing.assert_allclose(tasks.query.y.squeeze(2).numpy(), 2 * np.arcsin(k * cn / dn), atol=2e-5, rtol=0)


def test_small_swings_are_a_damped_sine_wave(generator: torch.Generator) -> None:
    torch.set_default_dtype(torch.float64)
    family = Pendulum(angle=(-1e-3, 1e-3), velocity=(-1e-3, 1e-3), with_velocity=True)
    tasks = family.sample(20, support=0, query=20, generator=generator)
    length, c, angle, velocity = (tasks.info[k][:, None] for k in ("length", "damping", "angle", "velocity"))
    rate = (9.81 / length - c**2 / 4).sqrt()
    t = tasks.query.x.squeeze(2)
    wave = angle * torch.cos(rate * t) + (velocity + c * angle / 2) / rate * torch.sin(rate * t)
    torch.testing.assert_close(tasks.query.y[:, :, 0], torch.exp(-c * t / 2) * wave, atol=1e-8, rtol=0)


@pytest.mark.parametrize("family", [Pendulum(with_velocity=True), OVER_THE_TOP], ids=["default", "over the top"])
def test_energy_is_lost_to_damping_alone(family: Pendulum, generator: torch.Generator) -> None:
    """E = v^2 / 2 + (g / l) (1 - cos theta) falls, and what it loses is the integral of c v^2."""
    torch.set_default_dtype(torch.float64)
    tasks = family.sample(20, support=0, query=4001, generator=generator, grid=True)
    angle, velocity = tasks.query.y.unbind(2)
    energy = velocity**2 / 2 + family.gravity / tasks.info["length"][:, None] * (1 - torch.cos(angle))
    spent = torch.cumulative_trapezoid(tasks.info["damping"][:, None] * velocity**2, tasks.query.x.squeeze(2))
    torch.testing.assert_close(energy[:, :1] - energy[:, 1:], spent, atol=2e-4, rtol=1e-4)
    assert float(energy.diff(dim=1).max()) < 1e-4


def test_it_starts_where_it_is_let_go(generator: torch.Generator) -> None:
    tasks = Pendulum(with_velocity=True).sample(10, support=3, query=2, generator=generator, grid=True)
    assert torch.equal(tasks.query.y[:, 0], torch.stack([tasks.info["angle"], tasks.info["velocity"]], 1))


def test_default_swings_are_wide_but_never_go_over_the_top(generator: torch.Generator) -> None:
    tasks = Pendulum().sample(1000, support=0, query=200, generator=generator, grid=True)
    assert 2.6 < float(tasks.query.y.abs().max()) < math.radians(155)


def test_the_velocity_comes_beside_the_same_angle() -> None:
    alone, both = (
        Pendulum(with_velocity=both).sample(5, support=4, query=6, generator=torch.Generator().manual_seed(1))
        for both in (False, True)
    )
    assert torch.equal(alone.query.y, both.query.y[:, :, :1]) and torch.equal(alone.support.y, both.support.y[:, :, :1])
    assert Pendulum().dy == 1 and Pendulum(with_velocity=True).dy == 2


def test_ranges(generator: torch.Generator) -> None:
    info = Pendulum(domain=(0.0, 0.1)).sample(3000, support=0, query=1, generator=generator).info
    for name, low, high in (
        ("length", 0.5, 2.0),
        ("damping", 0.05, 0.5),
        ("angle", -2.5, 2.5),
        ("velocity", -1.0, 1.0),
    ):
        law = scipy.stats.uniform(low, high - low)
        assert scipy.stats.kstest(info[name].numpy(), law.cdf).pvalue > 1e-3


@pytest.mark.parametrize(
    ("option", "match"),
    [
        ({"length": 0.0}, r"length=0\.0"),
        ({"damping": (-0.1, 0.1)}, "damping="),
        ({"gravity": 0}, "gravity=0.*above 0"),
        ({"gravity": (1.0, 2.0)}, "gravity=.*expected one number"),
        ({"angle": (1.0, -1.0)}, "angle=.*low <= high"),
        ({"velocity": math.nan}, "velocity=nan"),
        ({"domain": (-1.0, 5.0)}, r"domain=\(-1\.0, 5\.0\); the pendulum is released at time 0"),
    ],
)
def test_bad_options(option: dict[str, object], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        Pendulum(**option)  # type: ignore[arg-type]
