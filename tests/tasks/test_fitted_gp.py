"""Maximum marginal likelihood against scikit-learn's optimiser."""

import math
import warnings

import pytest
import torch
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

from quickstudy.data import Examples
from quickstudy.tasks import ExactGP, Sinusoid, fit_gp, fitted_gp

LENGTH, SCALE, NOISE = (0.05, 20.0), (0.01, 100.0), (1e-3, 10.0)


def _waves(points: int, noise: float, seed: int, tasks: int = 4) -> Examples:
    draw = torch.Generator().manual_seed(seed)
    return Sinusoid(noise=noise, domain=(-3.0, 3.0)).sample(tasks, support=points, query=1, generator=draw).support


def _sklearn_best(gp: ExactGP, t: int) -> float:
    """The best log marginal likelihood scikit-learn finds within the same limits, around our mean, from six starts."""
    ratio = WhiteKernel(0.1, (NOISE[0] ** 2, NOISE[1] ** 2))
    kernel = ConstantKernel(1.0, (SCALE[0] ** 2, SCALE[1] ** 2)) * (RBF(1.0, LENGTH) + ratio)
    model = GaussianProcessRegressor(kernel, alpha=0.0, n_restarts_optimizer=5, random_state=0)
    y = gp.support.y[t].double() - gp.info["mean"][t]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says when a parameter rests at a bound
        model.fit(gp.support.x[t].double().numpy(), y.numpy())
    return float(model.log_marginal_likelihood_value_)


@pytest.mark.parametrize(("points", "noise"), [(4, 0.1), (8, 0.0), (15, 0.3)])
def test_likelihood_at_least_sklearns(points: int, noise: float) -> None:
    gp = fit_gp(_waves(points, noise, seed=points))
    ours = gp.log_marginal_likelihood()
    for t in range(4):
        assert float(ours[t]) >= _sklearn_best(gp, t) - 1e-4


def test_the_mean_and_scale_are_stationary() -> None:
    """No small change of any hyperparameter inside its limits raises the likelihood."""
    support = _waves(10, 0.3, seed=1)
    gp = fit_gp(support)
    best = gp.log_marginal_likelihood()
    for name in ("lengthscale", "scale", "noise", "mean"):
        for factor in (0.98, 1.02):
            changed = gp.info | {name: gp.info[name] * factor}
            low, high = LENGTH
            if name == "lengthscale" and bool((changed[name] < low).any() or (changed[name] > high).any()):
                changed[name] = changed[name].clamp(low, high)
            ratio = changed["noise"] / changed["scale"]
            inside = (ratio > NOISE[0]) & (ratio < NOISE[1])
            other = ExactGP(support, changed).log_marginal_likelihood()
            assert bool((other[inside] <= best[inside] + 1e-6).all()), name


def test_a_batch_equals_its_tasks() -> None:
    support = _waves(6, 0.2, seed=2)
    together = fit_gp(support)
    for t in range(4):
        alone = fit_gp(support.select(t))
        for name, value in alone.info.items():
            torch.testing.assert_close(value[0], together.info[name][t], msg=name)


def test_padding_changes_nothing() -> None:
    support = _waves(6, 0.2, seed=3)
    mask = torch.ones(4, 8, dtype=torch.bool)
    mask[:, 6:] = False
    nans = torch.full((4, 2, 1), math.nan)
    padded = Examples(torch.cat([support.x, nans], 1), torch.cat([support.y, nans], 1), mask)
    full, gapped = fit_gp(support), fit_gp(padded)
    for name, value in full.info.items():
        torch.testing.assert_close(gapped.info[name], value, rtol=1e-4, atol=1e-6, msg=name)


def test_recovers_what_made_the_data() -> None:
    draw = torch.Generator().manual_seed(0)
    truth = {"lengthscale": torch.tensor([0.7]), "scale": torch.tensor([2.0]), "noise": torch.tensor([0.2])}
    x = torch.linspace(-6, 6, 150, dtype=torch.float64).view(1, -1, 1)
    empty = Examples(torch.zeros(1, 0, 1), torch.zeros(1, 0, 1))
    y = 3 + ExactGP(empty, truth).functions(1, draw)(x)[0] + 0.2 * torch.randn(x.shape, generator=draw)
    gp = fit_gp(Examples(x, y))
    gain = (
        gp.log_marginal_likelihood()
        - ExactGP(gp.support, truth | {"mean": torch.tensor([[3.0]])}).log_marginal_likelihood()
    )
    assert 0 <= float(gain) < 9  # twice the gain is chi-squared with 4 degrees of freedom: 18 is one in a thousand
    assert float(gp.info["lengthscale"]) == pytest.approx(0.7, rel=0.35)
    assert float(gp.info["noise"]) == pytest.approx(0.2, rel=0.15)
    assert float(gp.info["scale"]) == pytest.approx(2.0, rel=0.5)
    assert float(gp.info["mean"]) == pytest.approx(3.0, abs=1.5)


@pytest.mark.parametrize("value", [0.0, 2.5])
def test_one_point_and_constant_outputs_are_finite(value: float) -> None:
    for points in (1, 5):
        x = torch.linspace(-1, 1, points).view(1, points, 1)
        gp = fit_gp(Examples(x, torch.full((1, points, 1), value)))
        belief = gp(torch.linspace(-3, 3, 9).view(1, 9, 1))
        torch.testing.assert_close(belief.mean.float(), torch.full((1, 9, 1), value), atol=1e-3, rtol=0)
        assert bool((belief.variance > 0).all() and torch.isfinite(belief.variance).all())


def test_several_inputs_and_outputs() -> None:
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(2, 12, 3, generator=draw)
    y = torch.stack([x.sum(2), 5 - x[:, :, 0]], 2)
    belief = fit_gp(Examples(x, y))(x)
    assert belief.mean.shape == (2, 12, 2)
    torch.testing.assert_close(belief.mean.float(), y, atol=0.1, rtol=0)


def test_limits_are_kept() -> None:
    info = fit_gp(_waves(6, 0.2, seed=4), lengthscale=(0.5, 0.6), scale=(0.2, 0.3), noise=(0.5, 1.0)).info
    for name, low, high in (("lengthscale", 0.5, 0.6), ("scale", 0.2, 0.3)):
        assert bool(((info[name] >= low - 1e-9) & (info[name] <= high + 1e-9)).all())
    ratio = info["noise"] / info["scale"]
    assert bool(((ratio >= 0.5 - 1e-9) & (ratio <= 1 + 1e-9)).all())


def test_shared_hyperparameters_are_the_best_for_all_tasks_together() -> None:
    """No single task's own fit, given to all of them, does better; and one task alone is the unshared fit."""
    support = _waves(8, 0.2, seed=5)
    together, apart = fit_gp(support, shared=True), fit_gp(support)
    total = float(together.log_marginal_likelihood().sum())
    for value in together.info.values():
        assert torch.equal(value, value[:1].expand_as(value))
    for t in range(4):
        given = {k: v[t : t + 1].expand_as(v) for k, v in apart.info.items()}
        assert float(ExactGP(support, given).log_marginal_likelihood().sum()) < total
    for name, value in together.info.items():
        for factor in (0.97, 1.03):
            changed = together.info | {name: value * factor}
            assert float(ExactGP(support, changed).log_marginal_likelihood().sum()) < total + 1e-6, name
    one = support.select(0)
    torch.testing.assert_close(fit_gp(one, shared=True).info, fit_gp(one).info)


def test_hyperparameters_of_many_points_are_fitted_to_some_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of fitting is bounded, and the posterior still uses all points."""
    monkeypatch.setattr(fitted_gp, "_ROUNDS", 1)
    support = _waves(40, 0.2, seed=3)
    few = fit_gp(support, fitted_to=15)
    assert few.support is support
    torch.testing.assert_close(few.info, fit_gp(fitted_gp.thinned(support, 15)).info)
    torch.testing.assert_close(fit_gp(support, fitted_to=40).info, fit_gp(support).info)
    with pytest.raises(ValueError, match="fitted_to=0"):
        fit_gp(support, fitted_to=0)
    monkeypatch.setattr("quickstudy.checks.memory.free_memory", lambda: 100_000)
    with pytest.raises(ValueError, match=r"a Gaussian process on 40 points of each of 4 tasks would need .* GB"):
        fit_gp(support)


def test_errors() -> None:
    empty = Examples(torch.zeros(2, 0, 1), torch.zeros(2, 0, 1))
    with pytest.raises(ValueError, match="task 0 has no support point"):
        fit_gp(empty)
    mask = torch.tensor([[True, True], [False, False]])
    with pytest.raises(ValueError, match="task 1 has no support point"):
        fit_gp(Examples(torch.zeros(2, 2, 1), torch.zeros(2, 2, 1), mask))
    with pytest.raises(ValueError, match="scale="):
        fit_gp(_waves(3, 0.1, seed=0), scale=(0.0, 1.0))
