"""The curve of all groups plus a process for each, against the dense formulas, and on data that trip such fits up."""

import numpy as np
import pytest
import torch
from learner_table import masked

import quickstudy as qs
from quickstudy.data import Examples
from quickstudy.metric.gp.thinning import thinned
from quickstudy.metric.mean_and_gp.fitting import Groups, curve_of, spread_out
from quickstudy.metric.mean_and_gp.process import deviation


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)


def groups(count=12, rows=6, *, sd=1.0, noise=0.2, dx=1, seed=0):
    """A wave that all groups share, with an offset and a slope for each."""
    chance = {"generator": torch.Generator().manual_seed(seed), "dtype": torch.float64}
    x = torch.rand(count, rows, dx, **chance) * 6
    line = sd * torch.randn(count, 2, 1, **chance)
    y = 3 * x.sum(2, keepdim=True).sin() + line[:, :1] + 0.3 * line[:, 1:] * x[..., :1]
    return Examples(x, y + noise * torch.randn(y.shape, **chance))


def dense(learner, x, who):
    """The covariance of all rows in units of the noise variance: line, curve, own deviation, noise."""
    process = learner.process()
    u = learner.inputs(x).unsqueeze(0)
    features = process.features(u)[0]
    prior = torch.ones(features.shape[1])
    prior[: 1 + learner.dx] = 1e8
    own = deviation(process.kernel, u, u, process.hyper)[0] * (who[:, None] == who)
    return features * prior @ features.T + own + torch.eye(len(x))


@pytest.mark.parametrize("kernel", ["rbf", "matern52"])
@torch.no_grad()
def test_the_prediction_is_that_of_the_whole_process(kernel):
    """All rows, of training groups and the new one, are jointly normal under the fitted hyperparameters."""
    data, new = groups(), groups(1, 8, seed=1)
    learner = qs.MeanAndGP(kernel=kernel, inducing=6)
    learner.fit(data)
    x, y = (torch.cat([a.flatten(), b.flatten()]).unsqueeze(1) for a, b in zip(data[:2], new[:2], strict=True))
    covariance = dense(learner, x, torch.cat([torch.arange(12).repeat_interleave(6), torch.full((8,), 12)]))
    y = (y - learner.center) / learner.spread
    noise = learner.process().noise
    for n in (0, 3):
        known = torch.arange(len(x)) < 72 + n
        gain = torch.linalg.solve(covariance[known][:, known], covariance[known][:, ~known]).T
        mean = learner.center + learner.spread * (gain @ y[known])[:, 0]
        spread = covariance[~known][:, ~known] - gain @ covariance[known][:, ~known]
        spread = spread * noise * learner.spread**2
        belief = learner.adapt(new.first(n))(new.x[:, n:])
        torch.testing.assert_close(belief.mean.flatten(), mean, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(belief.variance.flatten(), spread.diagonal(), rtol=1e-4, atol=1e-6)
        joint = torch.distributions.MultivariateNormal(mean, spread).log_prob(new.y[:, n:].flatten())
        torch.testing.assert_close(belief.log_prob(new.y[:, n:], joint=True)[0], joint, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_the_likelihood_is_that_of_the_whole_process():
    """Of two settings of the hyperparameters, up to the constant that both share."""
    data, learner = groups(), qs.MeanAndGP(inducing=6)
    x, y = data.x.flatten(0, 1), data.y.flatten(0, 1)
    found = []
    for size in (0.5, 1.0):
        learner.log_scale.fill_(size)
        given = Groups(data.x, data.y[..., 0], data.real())
        curve = curve_of(given, "rbf", learner.places, learner.process().hyper)
        covariance = dense(learner, x, torch.arange(12).repeat_interleave(6)) * curve.noise
        squares = (y.T @ torch.linalg.solve(covariance, y)).squeeze()
        # the noise is the best for all rows but two, as the line takes up two
        wanted = torch.linalg.slogdet(covariance)[1] - 2 * curve.noise.log() + squares
        found.append((float(curve.deviance), float(wanted)))
    np.testing.assert_allclose(found[0][0] - found[1][0], found[0][1] - found[1][1], rtol=1e-4)


@torch.no_grad()
def test_its_fit_covers_new_groups_and_knows_the_sizes():
    learner, new = qs.MeanAndGP(), groups(400, 10, seed=5)
    found = learner.fit(groups(60))
    assert 0.17 < float(found.noise) < 0.23 and bool(found.converged)
    for n in (0, 4):
        belief = learner.adapt(new.first(n))(new.x[:, n:])
        share = ((belief.cdf(new.y[:, n:]) - 0.5).abs() < 0.45).double().mean((1, 2))
        assert abs(float(share.mean()) - 0.9) < 0.05
    assert (belief.mean - new.y[:, n:]).square().mean().sqrt() < 0.45


@torch.no_grad()
def test_units_change_nothing():
    """Seconds since 1970 and northings; y in nanometres in float32; outputs of different units together."""
    data, new = groups(), groups(3, seed=1)
    learner = qs.MeanAndGP(inducing=8)
    learner.fit(data)
    wanted = learner.adapt(new.first(3))(new.x[:, 3:])
    for kind, x0, x1, y0, y1, digits in [
        (torch.float64, 1.7e9, 86400.0, 4.5e6, 0.01, 1e-4),
        (torch.float32, 0.0, 1e4, 0.0, 1e-9, 1e-2),
    ]:
        moved, seen = (Examples(x0 + x1 * e.x, y0 + y1 * e.y).to(dtype=kind) for e in (data, new))
        other = qs.MeanAndGP(inducing=8).to(kind)
        other.fit(moved)
        belief = other.adapt(seen.first(3))(seen.x[:, 3:])
        torch.testing.assert_close((belief.mean.double() - y0) / y1, wanted.mean, rtol=digits, atol=digits)
        torch.testing.assert_close(belief.variance.double() / y1**2, wanted.variance, rtol=5 * digits, atol=0)
    both = qs.MeanAndGP(dy=2, inducing=8)
    two = Examples(data.x, torch.cat([1e6 - 1e3 * data.y.flip(0), data.y], 2))
    both.fit(two)
    seen = Examples(new.x, new.y.repeat(1, 1, 2)).first(3)
    belief = both.adapt(seen)(new.x[:, 3:])
    torch.testing.assert_close(belief.mean[..., 1:], wanted.mean)
    torch.testing.assert_close(belief.variance[..., 1:], wanted.variance)


SAME = groups(10, 5, sd=0.0)
TRIPPED = {
    "groups that do not differ": (SAME, {}),
    "one row in each group": (groups(20, 1), {}),
    "no noise": (groups(noise=0.0), {}),
    "constant y": (Examples(SAME.x, torch.full((10, 5, 1), 4.5e9).double()), {}),
    "constant x": (Examples(torch.full((10, 5, 1), 3.0).double(), groups(10, 5).y), {}),
    "few values of x": (Examples(groups().x.round(), groups().y), {}),
    "two groups of unequal size": (masked(groups(2), [6, 1]), {}),
    "four inputs": (groups(dx=4), dict(dx=4)),
    "a group of many rows": (masked(groups(8, 600), [600, *[5] * 7]), {}),
}


@pytest.mark.parametrize("name", TRIPPED)
@torch.no_grad()
def test_data_that_trip_fits_up(name):
    """No error, no warning, no NaN; and predictions for rows seen are no worse than those of the mean of all."""
    data, options = TRIPPED[name]
    learner = qs.MeanAndGP(**options, inducing=8)
    learner.fit(data)
    belief, real = learner.adapt(data)(data.clean().x), data.real()
    assert bool(belief.mean.isfinite().all()) and bool((belief.variance > 0).all())
    off = (belief.mean - data.y)[real].square().mean()
    assert off <= 1.001 * data.y[real].var(correction=0) + 1e-6 * data.y[real].square().mean()
    assert bool(learner.adapt(data.first(0))(data.clean().x[:, :3]).log_prob(data.clean().y[:, :3]).isfinite().all())


def test_which_rows_stand_for_a_group():
    data = masked(groups(3, 40), [40, 10, 3])
    few = thinned(data, 10)
    assert few.sizes().tolist() == [10, 10, 3] and few.num_points == 10
    torch.testing.assert_close(few.x[0, :, 0], data.x[0, :, 0].sort().values[::4])
    torch.testing.assert_close(few.x[1, :, 0], data.x[1, :10, 0].sort().values)
    chosen = spread_out(torch.arange(100.0).unsqueeze(1) ** 3, 5)[:, 0]
    np.testing.assert_allclose(chosen.sort().values ** (1 / 3), [0, 25, 50, 75, 99], atol=1)


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: qs.MeanAndGP(kernel="periodic"), ValueError, "kernel='periodic'; choose one of 'rbf', 'matern52'"),
        (lambda: qs.MeanAndGP().fit(groups(1)), ValueError, "groups with points: 1; expected at least two"),
        (lambda: qs.MeanAndGP(2).adapt(groups()), ValueError, r"this MeanAndGP was built with dx=2, dy=1 and expects"),
    ],
)
def test_errors(call, kind, words):
    with pytest.raises(kind, match=words):
        call()


def test_the_module_of_a_task_is_its_mean():
    tasks = qs.tasks.Sinusoid(noise=0.3).sample(12, support=5, query=6, generator=torch.Generator().manual_seed(0))
    learner = qs.MeanAndGP(inducing=6)
    learner.fit(tasks)
    for steps in (None, 0):
        predictor = learner.adapt(tasks.support, steps=steps)
        mean = predictor(tasks.query.x).mean
        for i in (0, 11):
            torch.testing.assert_close(predictor.task(i)(tasks.query.x[i]), mean[i])
