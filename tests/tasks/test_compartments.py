"""Closed forms against scipy's integrator of the differential equations."""

import numpy as np
import pytest
import scipy.integrate
import torch

from quickstudy.tasks import Compartments

HOURS = torch.tensor([0.05, 0.4, 1.0, 3.0, 9.0, 24.0], dtype=torch.float64)
VALUES = {"volume": 2.0, "clearance": 0.7, "absorption": 0.9, "tissue": 1.6, "exchange": 0.8, "washout": 20.0}


def _logs(model: Compartments, **others: float) -> torch.Tensor:
    return torch.tensor([(VALUES | others)[name] for name in model.names], dtype=torch.float64).log()


def _integrated(model: Compartments, hours: torch.Tensor, **others: float) -> np.ndarray:
    """gut' = -k gut;  blood' = k gut - (C + Q) c + Q p;  tissue' = Q (c - p); concentrations are amounts per volume."""
    v = VALUES | others
    oral = model.route == "oral"
    k = v["clearance"] / v["volume"] + v["absorption"]
    flow, beside = (v["exchange"] * v["clearance"], v["tissue"] * v["volume"]) if model.number == 2 else (0.0, 1.0)

    def change(_: float, s: np.ndarray) -> list[float]:
        gut, c, p = s[0], s[1] / v["volume"], s[2] / beside
        return [-k * gut, k * gut - (v["clearance"] + flow) * c + flow * p, flow * (c - p)]

    times = np.concatenate([[0.0], hours.numpy()])
    start = [1.0, 0, 0] if oral else [0, 1.0, 0]
    found = scipy.integrate.solve_ivp(change, (0, times[-1]), start, "LSODA", times, rtol=1e-10, atol=1e-13)
    return found.y[1, 1:] / v["volume"]


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("route", ["oral", "bolus"])
def test_against_the_differential_equations(number: int, route: str) -> None:
    model = Compartments(number, route)  # type: ignore[arg-type]
    found = model.log_concentration(_logs(model), HOURS).exp().numpy()
    np.testing.assert_allclose(found, _integrated(model, HOURS), rtol=1e-6)


@pytest.mark.parametrize("number", [1, 2])
def test_what_is_left_of_an_earlier_dose_is_added(number: int) -> None:
    model = Compartments(number, "oral", True)
    plain = Compartments(number, "oral")
    found = model.log_concentration(_logs(model), HOURS).exp().numpy()
    np.testing.assert_allclose(found, _integrated(plain, HOURS) + _integrated(plain, HOURS + 20.0), rtol=1e-6)
    before = model.log_concentration(_logs(model), torch.tensor([-2.0, 0.0]).double()).exp().numpy()
    np.testing.assert_allclose(before, _integrated(plain, torch.tensor([18.0, 20.0]).double()), rtol=1e-6)


def test_two_compartments_are_one_if_little_is_exchanged() -> None:
    two, one = Compartments(2, "oral"), Compartments(1, "oral")
    found = two.log_concentration(_logs(two, exchange=1e-9), HOURS)
    torch.testing.assert_close(found, one.log_concentration(_logs(one), HOURS), rtol=1e-6, atol=1e-6)


def test_the_slope_is_the_derivative() -> None:
    for model in (Compartments(1, "oral"), Compartments(2, "bolus"), Compartments(2, "oral", True)):
        level, slope = model.level_and_slope(_logs(model), HOURS)
        logs = _logs(model).expand(len(HOURS), -1)
        exact = torch.func.vmap(torch.func.jacrev(lambda t, p, m=model: m.log_concentration(p, t[None])[0]))(
            HOURS, logs
        )
        torch.testing.assert_close(slope, exact, rtol=1e-2, atol=1e-4)
        torch.testing.assert_close(level, model.log_concentration(_logs(model), HOURS))
        assert float(model.level_and_slope(_logs(model), torch.zeros(1).double())[1]) == 0


def test_extreme_rates_are_finite_and_differentiable() -> None:
    """Rates that differ by ten orders of magnitude, and equal ones."""
    for model in (Compartments(1, "oral"), Compartments(2, "bolus"), Compartments(2, "oral", True)):
        for others in (
            {"clearance": 1e5},
            {"clearance": 1e-7},
            {"absorption": 1e-12},
            {"tissue": 1e-6},
            {"exchange": 1e4},
        ):
            logs = _logs(model, **others).requires_grad_()
            level = model.log_concentration(logs, HOURS)
            level.sum().backward()  # type: ignore[no-untyped-call]
            assert bool(level.isfinite().all()) and bool(logs.grad.isfinite().all()), (model, others)  # type: ignore[union-attr]


def test_the_area_under_the_curve_is_dose_over_clearance() -> None:
    hours = torch.linspace(1e-4, 400, 400_001).double()
    for model in (Compartments(1, "oral"), Compartments(2, "oral"), Compartments(2, "bolus")):
        area = torch.trapezoid(model.log_concentration(_logs(model), hours).exp(), hours)
        assert float(area) == pytest.approx(1 / VALUES["clearance"], rel=1e-3)
