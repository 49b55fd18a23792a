"""Quantiles, intervals and distribution functions against scipy, their definition, and what other libraries met."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from torch import Tensor

import quickstudy as qs
from quickstudy.evaluation.scores import scores
from quickstudy.learner import Predictive, Quantiles
from quickstudy.predictive import (
    Bars,
    Bernoulli,
    Categorical,
    DenseGaussian,
    EvenMixture,
    Gaussian,
    GaussianMixture,
    LowRankGaussian,
    LowRankPlusDiagonal,
    NegativeBinomial,
    NoDensityError,
    PartlyObserved,
    Point,
    PointMixture,
    Rescaled,
)
from quickstudy.predictive.parts.bisection import smallest
from quickstudy.predictive.parts.incomplete_beta import incomplete_beta

T, M, DY, S = 2, 3, 2, 4
LEVELS = [1e-12, 1e-6, 0.05, 0.3, 0.5, 0.9, 1 - 1e-9]


@pytest.fixture(autouse=True)
def double() -> None:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


def gaussian(tasks: int = T) -> Gaussian:
    return Gaussian(torch.randn(tasks, M, DY), torch.rand(tasks, M, DY) + 0.1)


def dense() -> DenseGaussian:
    root = torch.randn(T, DY, M, M)
    return DenseGaussian(torch.randn(T, M, DY), root @ root.mT, torch.rand(T) + 0.1)


def counts(tasks: int = T) -> NegativeBinomial:
    return NegativeBinomial(1.5 * torch.randn(tasks, M, DY), torch.rand(tasks, M, DY) + 0.01)


CONTINUOUS: dict[str, Callable[[], Any]] = {
    "gaussian": gaussian,
    "dense": dense,
    "low rank": lambda: LowRankGaussian(torch.randn(T, M, DY), torch.randn(T, M, 3), torch.rand(T, DY) + 0.1),
    "diagonal": lambda: LowRankPlusDiagonal(
        torch.randn(T, M, DY), torch.randn(T, M, DY, 3), torch.rand(T, M, DY) + 0.1
    ),
    "mixture": lambda: GaussianMixture(torch.randn(S, T, M, DY), torch.rand(S, T, M, DY) + 0.1),
    "weighted": lambda: PointMixture(torch.randn(T, M, S), torch.randn(T, M, S, DY), torch.rand(T, M, S, DY) + 0.1),
    "bars": lambda: Bars(torch.randn(T, M, DY, 7), torch.randn(6).sort().values, torch.tensor(0.7)),
    "members": lambda: EvenMixture(gaussian(S * T), S),
    "partly": lambda: PartlyObserved(gaussian()),
    "rescaled": lambda: Rescaled(gaussian(), 1.0, torch.tensor([-2.0, 0.5])),
}
DISCRETE: dict[str, Callable[[], Any]] = {
    "counts": counts,
    "binary": lambda: Bernoulli(torch.randn(T, M, DY)),
    "members that count": lambda: EvenMixture(PartlyObserved(counts(S * T)), S),
}
BELIEFS = CONTINUOUS | DISCRETE


def cast(belief: Any, kind: torch.dtype) -> Any:
    return torch.utils._pytree.tree_map(lambda part: part.to(kind) if isinstance(part, Tensor) else part, belief)


@pytest.mark.parametrize("name", CONTINUOUS)
def test_the_distribution_function_of_a_quantile_is_its_probability(name: str) -> None:
    belief = CONTINUOUS[name]()
    found = belief.quantile(LEVELS)
    for p, y in zip(LEVELS, found, strict=True):
        rounding = 1e-15 if name == "rescaled" else 0  # 1 - p has lost the digits of a small p
        torch.testing.assert_close(belief.cdf(y), torch.full_like(y, p), rtol=1e-11, atol=rounding)
        assert torch.equal(belief.quantile(p), y)


@pytest.mark.parametrize("name", DISCRETE)
def test_the_quantile_of_whole_numbers_is_the_smallest_with_enough_probability(name: str) -> None:
    belief = DISCRETE[name]()
    for p in (0.01, 0.3, 0.5, 0.9, 0.999):
        y = belief.quantile(p)
        assert (belief.cdf(y) >= p).all() and (belief.cdf(y - 1) < p).all() and torch.equal(y, y.floor())
    lower, upper = belief.interval(0.9)
    assert (belief.cdf(upper) - belief.cdf(lower - 1) >= 0.9).all()  # both ends belong to it
    assert belief.discrete and belief.quantile(0).abs().max() == 0


@pytest.mark.parametrize("name", BELIEFS)
def test_shapes_order_ends_and_draws(name: str) -> None:
    belief, shape = BELIEFS[name](), (T, M, DY)
    assert isinstance(belief, Quantiles)
    for p in ([0.2, 0.6], (0.2, 0.6), torch.tensor([0.2, 0.6]), np.array([0.2, 0.6])):
        several = belief.quantile(p)
        assert several.shape == (2, *shape) and torch.equal(several[1], belief.quantile(torch.tensor(0.6)))
        assert torch.equal(belief.interval(p).upper[0], belief.interval(0.2).upper)
    assert belief.quantile([]).shape == (0, *shape) and belief.interval(np.float32(0.5)).lower.shape == shape
    single = cast(belief, torch.float32)  # monotone to the last digit, and of the belief's type
    fine = single.quantile(torch.linspace(0, 1, 7 if "members" in name else 201))
    assert fine.dtype == torch.float32 and (fine.diff(dim=0) >= 0).all()
    assert (fine[0] == (0 if name in DISCRETE else -torch.inf)).all()
    assert fine[-1].isinf().all() or name == "binary"
    assert torch.equal(belief.interval(0.5).lower, belief.quantile(0.25))
    draws = belief.sample(4000, torch.Generator().manual_seed(0))
    share = (draws <= belief.quantile(0.7)).double().mean(0)
    assert (share - belief.cdf(belief.quantile(0.7))).abs().max() < 0.04
    y = belief.sample(1)[0]
    ahead = belief.cdf(torch.stack([y, y + 1]))  # more axes in front
    torch.testing.assert_close(ahead[0], belief.cdf(y))
    torch.testing.assert_close(belief.cdf(1.0), belief.cdf(torch.ones(shape)))


@pytest.mark.parametrize("name", CONTINUOUS)
@pytest.mark.parametrize("scale", [-2.0, "each"])
def test_a_negative_scale_turns_quantiles_around(name: str, scale: Any) -> None:
    belief = CONTINUOUS[name]()
    scale = torch.tensor([-2.0, 3.0]) if scale == "each" else scale
    turned, y, wide = belief.rescale(1.0, scale), torch.randn(T, M, DY), torch.as_tensor(scale).expand(DY)
    expected = 1 + wide * torch.where(wide < 0, belief.quantile(0.8), belief.quantile(0.2))
    torch.testing.assert_close(turned.quantile(0.2), expected)
    torch.testing.assert_close(turned.mean, 1 + wide * belief.mean)
    torch.testing.assert_close(turned.variance, wide.square() * belief.variance)
    density = belief.log_prob(y) - wide.abs().log().sum()
    torch.testing.assert_close(turned.log_prob(1 + wide * y), density)


@pytest.mark.parametrize("name", [name for name in CONTINUOUS if name not in ("partly", "dense", "rescaled")])
def test_quantiles_have_gradients(name: str) -> None:
    belief = CONTINUOUS[name]()
    if name == "members":
        fields, build = list(belief.members), lambda *f: EvenMixture(Gaussian(*f), S)
    else:
        fields, build = list(belief), type(belief)
    fields = [part.clone().requires_grad_() for part in fields]
    level = torch.tensor([0.15, 0.8], requires_grad=True)
    assert torch.autograd.gradcheck(lambda p, *f: build(*f).quantile(p), (level, *fields), fast_mode=True)
    if name in ("mixture", "members"):
        assert torch.autograd.gradgradcheck(lambda *f: build(*f).quantile(0.7)[0], fields, fast_mode=True)
    assert not belief.quantile(0.5).requires_grad


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("name", CONTINUOUS)
def test_beliefs_of_other_types(name: str, kind: torch.dtype) -> None:
    belief = cast(CONTINUOUS[name](), kind)
    exact = cast(belief, torch.float64)
    for p in (1e-6, 0.3, 1 - 1e-6):
        found = belief.quantile(p)
        assert found.dtype == kind
        scale = exact.mean.abs() + exact.variance.sqrt()
        assert ((found - exact.quantile(p)).abs() / scale).max() < 12 * torch.finfo(kind).eps
    assert belief.cdf(belief.mean).isfinite().all()


def test_normal_tails_keep_their_digits() -> None:
    z = torch.tensor([-30.0, -8.0, -3.0, 0.0, 2.0]).view(5, 1, 1)
    found = Gaussian(torch.zeros(5, 1, 1), torch.ones(5, 1, 1)).cdf(z)
    np.testing.assert_allclose(found.flatten(), scipy.stats.norm.cdf(z.flatten()), rtol=1e-13)
    one = Gaussian(torch.full((1, 1, 1), 4.5e6), torch.full((1, 1, 1), 4.0))
    expected = scipy.stats.norm.ppf(np.array([1e-300, 1e-6, 0.975]), 4.5e6, 2)
    np.testing.assert_allclose(one.quantile([1e-300, 1e-6, 0.975]).flatten(), expected, rtol=1e-14)


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("weights", "means", "sds"),
    [
        ([0.5, 0.5], [0.0, 2.2e-16], [1.0, 1.0]),  # its quantiles at both means differ by rounding
        ([1.0], [3.0], [1e-11]),  # narrower than any absolute tolerance
        ([0.9999, 1e-4], [0.0, 1000.0], [1.0, 1.0]),  # a rare component many deviations away
        ([0.5, 0.5], [0.0, 1e12], [1e-9, 1.0]),  # scales that differ by 21 orders
        ([0.5, 0.5], [-50.0, 50.0], [1.0, 1.0]),  # almost no density at the median
        ([0.3, 0.7], [1.0, 2.0], [0.0, 0.0]),  # two points
    ],
)
def test_mixtures_at_odd_places(weights: list[float], means: list[float], sds: list[float], kind: torch.dtype) -> None:
    """The result is the smallest number of its type at which the distribution function, in float64, has reached p."""
    logits = torch.tensor(weights, dtype=kind).log().view(1, 1, -1)
    belief = PointMixture(logits, *(torch.tensor(v, dtype=kind).view(1, 1, -1, 1) for v in (means, sds)))
    belief = belief._replace(variances=belief.variances.square())
    wide = cast(belief, torch.float64)

    def reached(y: float, p: float) -> bool:
        with np.errstate(divide="ignore", invalid="ignore"):
            z = (y - wide.means.flatten().numpy()) / wide.variances.sqrt().flatten().numpy()
        z, share = np.where(np.isnan(z), np.inf, z), wide.weights.flatten().numpy()
        if p > 0.5:
            return bool(share @ scipy.stats.norm.sf(z) <= (1 - p) * (1 + 1e-11))
        return bool(share @ scipy.stats.norm.cdf(z) >= p * (1 - 1e-11))

    for p in (1e-9, 0.2, 0.5, 0.6, 1 - 1e-6):
        y = belief.quantile(p).item()
        step = np.float32 if kind == torch.float32 else np.float64
        slack = 2 * float(np.spacing(step(abs(y))))
        assert reached(y + slack, p) and not reached(y - slack - abs(y) * 1e-14, p + 1e-11)


def test_equal_components_and_single_ones_are_a_normal_distribution() -> None:
    mean, variance = torch.randn(1, T, M, DY), torch.rand(1, T, M, DY)
    expected = Gaussian(mean[0], variance[0]).quantile(LEVELS)
    for times in (1, 3):
        found = GaussianMixture(mean.expand(times, -1, -1, -1), variance.expand(times, -1, -1, -1)).quantile(LEVELS)
        torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("make", [Gaussian, lambda m, v: GaussianMixture(m[None], v[None])])
def test_tiny_variances_give_numbers_and_gradients(make: Callable[..., Any]) -> None:
    variance = torch.tensor([0.0, 5e-324, 1e-300, 1e-30]).view(1, 4, 1).requires_grad_()
    mean = torch.full((1, 4, 1), 2.0, requires_grad=True)
    belief = make(mean, variance)
    found = belief.quantile([0.3, 0.5])
    torch.testing.assert_close(found, torch.full_like(found, 2.0))
    assert belief.cdf(2.0).flatten()[0] == 0.5 and belief.cdf(3.0).flatten().tolist() == [1.0] * 4
    for value in (found.sum(), belief.cdf(2.0).sum()):
        assert all(g.isfinite().all() for g in torch.autograd.grad(value, (mean, variance), retain_graph=True))
    assert make(torch.zeros(1, 1, 1), -torch.ones(1, 1, 1)).quantile(0.3).isnan()  # no variance at all


@pytest.mark.parametrize("wrap", [lambda belief: belief, PartlyObserved])
def test_a_rescaled_belief_is_that_of_the_new_units(wrap: Any) -> None:
    belief, y, (shift, scale) = wrap(gaussian()), torch.randn(T, M, DY), (3.0, torch.tensor([-2.0, 0.5]))
    mask = torch.tensor([[True, False, True], [False, False, True]])
    y = y.masked_fill(~mask.unsqueeze(2), torch.nan)
    if wrap is PartlyObserved:
        y[0, 0, 1] = torch.nan
    one, other = Rescaled(belief, shift, scale), belief.rescale(shift, scale)
    for joint in (False, True):
        torch.testing.assert_close(one.log_prob(y, mask, joint), other.log_prob(y, mask, joint))
    torch.testing.assert_close(one.cdf(0.3), other.cdf(0.3))
    torch.testing.assert_close(one.interval([0.5, 0.9]), other.interval([0.5, 0.9]))
    draws = (b.sample(2, torch.Generator().manual_seed(0), noise=False) for b in (one, other))
    torch.testing.assert_close(*draws)
    one, other = one.rescale(1.0, -3.0), other.rescale(1.0, -3.0)
    torch.testing.assert_close(one.quantile(0.1), other.quantile(0.1))
    torch.testing.assert_close(one.variance, other.variance)


def test_joint_beliefs_of_a_table_in_its_units() -> None:
    rows = [(g, float(n), 4000.0 - 3.0 * n + g) for g in range(8) for n in range(6)]
    names = ("group", "x", "y")
    columns = {name: [row[i] for row in rows] for i, name in enumerate(names)}
    table = qs.tasks.Table.from_columns(
        columns, task="group", x="x", y="y", splits={"train": range(4), "test": range(4, 8)}
    )
    tasks = table.held_out("test", support=2)
    sizes: dict[str, Any] = {"width": 16, "depth": 2, "heads": 2, "hidden": 32, "embedding": 2}
    for process in (qs.TNPA(**sizes), qs.FlowNP(**sizes, solver_steps=2)):
        belief = process.adapt(tasks.support)(tasks.query.x)
        found = table.in_units(belief)
        torch.testing.assert_close(found.quantile(0.2), table.unscale_y(belief.quantile(0.2)))
        torch.testing.assert_close(found.cdf(found.quantile(0.2)), torch.full_like(found.mean, 0.2))
        y = table.unscale_y(tasks.query.y)
        per_point = belief.log_prob(tasks.query.y) - math.log(table.spread[-1])
        torch.testing.assert_close(found.log_prob(y), per_point)
        draws = (b.sample(2, torch.Generator().manual_seed(0)) for b in (found, belief))
        torch.testing.assert_close(next(draws), table.unscale_y(next(draws)))
    predictor = qs.TNPA(**sizes).adapt(tasks.support)
    for belief in (predictor(tasks.query.x), predictor.autoregressive(samples=2)(tasks.query.x)):
        with pytest.raises(ValueError, match=r"scale=0\.0; expected finite numbers other than 0"):
            belief.rescale(1.0, 0.0)
    labels = qs.TNPA(head=qs.heads.CategoricalHead(2), **sizes)
    support = qs.Examples(torch.rand(1, 3, 1), torch.tensor([[0, 1, 1]]))
    assert not hasattr(labels.adapt(support)(torch.rand(1, 2, 1)), "rescale")


def test_bars_without_mass_between_others() -> None:
    """Where the distribution function is flat, the quantile is the smallest number that reaches p."""
    logits = torch.tensor([[[[-torch.inf, 0.0, -torch.inf, 0.0, -torch.inf]]]])
    belief = Bars(logits, torch.tensor([0.0, 1.0, 2.0, 3.0]), torch.tensor(1.0))
    found = belief.quantile([0, 0.25, 0.5, 0.5 + 1e-12, 0.75, 1]).flatten()
    torch.testing.assert_close(found, torch.tensor([-torch.inf, 0.5, 1.0, 2.0, 2.5, torch.inf]))


def test_counts_are_those_of_scipy() -> None:
    chance = np.random.default_rng(0)
    mean, size = 10 ** chance.uniform(-3, 4, (8, 10, 1)), 10 ** chance.uniform(-1.5, 4, (8, 10, 1))
    belief = NegativeBinomial(torch.tensor(mean).log(), 1 / torch.tensor(size))
    oracle = scipy.stats.nbinom(size, size / (size + mean))
    for p in (1e-9, 0.05, 0.5, 0.95, 1 - 1e-9):
        np.testing.assert_array_equal(belief.quantile(p), oracle.ppf(p))
    y = belief.sample(1)[0]
    for k in (y, y + 0.5, y - 1, 2 * y):
        np.testing.assert_allclose(belief.cdf(k), oracle.cdf(k), rtol=1e-8, atol=1e-12)
    assert belief.cdf(torch.inf).min() == 1 and belief.cdf(-1.0).max() == 0 and belief.cdf(torch.nan).isnan().all()
    again = belief.quantile(belief.cdf(y)[0].flatten())  # of its own probabilities
    assert torch.equal(again[torch.arange(10), 0, torch.arange(10), 0], y[0].flatten())
    huge = NegativeBinomial(torch.full((1, 1, 1), 30.0), torch.full((1, 1, 1), 1e-6)).quantile(0.9).item()
    assert huge == pytest.approx(scipy.stats.nbinom.ppf(0.9, 1e6, 1 / (1 + math.exp(30) / 1e6)), rel=1e-8)


def test_incomplete_beta_is_that_of_scipy() -> None:
    chance = np.random.default_rng(1)
    a, b = 10 ** chance.uniform(-3, 6, 400), np.floor(10 ** chance.uniform(0, 6, 400))
    spread = np.minimum(3, 4 / np.sqrt(np.minimum(a, b)))
    x = a / (a + b * np.exp(chance.normal(size=400) * spread))
    lower, upper = incomplete_beta(*(torch.tensor(v) for v in (a, b, x, 1 - x)))
    for found, expected in ((lower, scipy.special.betainc(a, b, x)), (upper, scipy.special.betaincc(a, b, x))):
        small = (expected < 0.5) & (expected > 1e-200)
        np.testing.assert_allclose(found[small], expected[small], rtol=1e-8)


def test_bisection_finds_the_last_digit_on_both_sides_of_zero() -> None:
    for kind, numpy_kind in ((torch.float32, np.float32), (torch.float64, np.float64)):
        edges = torch.tensor([-1e30, -1.5, -1e-40, 0.0, 1e-300, 3.0], dtype=kind)
        low, high = torch.full_like(edges, -1e35), torch.full_like(edges, 1e35)
        assert torch.equal(smallest(lambda y, at=edges: y >= at, low, high), edges)
        above = torch.from_numpy(np.nextafter(edges.numpy(), numpy_kind(np.inf)))
        assert torch.equal(smallest(lambda y, at=edges: y > at, low, high), above)


def test_quantiles_inside_transforms() -> None:
    means, variances = torch.randn(5, S, T, M, DY), torch.rand(5, S, T, M, DY) + 0.1
    found = torch.func.vmap(lambda m, v: GaussianMixture(m, v).quantile(0.3))(means, variances)
    expected = torch.stack([GaussianMixture(m, v).quantile(0.3) for m, v in zip(means, variances, strict=True)])
    torch.testing.assert_close(found, expected)
    slope = torch.func.grad(lambda m: GaussianMixture(m, variances[0]).quantile(0.3).sum())(means[0])
    torch.testing.assert_close(slope.sum(0), torch.ones(T, M, DY))  # all means together move the quantile with them


@pytest.mark.parametrize(
    ("p", "error", "words"),
    [
        (1.5, ValueError, r"p=1\.5; expected a probability from 0 to 1, .*; a percentage is divided by 100, 0\.015"),
        (-0.1, ValueError, r"p=-0\.1; expected a probability"),
        (math.nan, ValueError, "p=nan"),
        ([0.1, 90], ValueError, r"p=90; .* divided by 100, 0\.9"),
        ([[0.1]], ValueError, r"p has shape \[1, 1\]"),
        (True, TypeError, "p=True"),
        ("0.5", TypeError, "p='0.5'"),
        (None, TypeError, "p=None"),
    ],
)
def test_wrong_probabilities(p: Any, error: type[Exception], words: str) -> None:
    for name, make in BELIEFS.items():
        with pytest.raises(error, match=words):
            make().quantile(p)
        with pytest.raises(error, match=words.replace("p=", "level=").replace("p has", "level has")):
            BELIEFS[name]().interval(p)


def test_wrong_outcomes() -> None:
    for make in BELIEFS.values():
        with pytest.raises(ValueError, match=r"y has shape \[2, 3\]; this prediction expects \[2, 3, 2\]"):
            make().cdf(torch.zeros(T, M))
        with pytest.raises(TypeError, match="y must be a torch.Tensor or a number"):
            make().cdf([0.0])


def test_what_has_no_quantiles_says_what_to_do() -> None:
    labels = Categorical(torch.zeros(T, M, 3))
    for belief in (labels, EvenMixture(Categorical(torch.zeros(2 * T, M, 3)), 2)):
        for name in ("cdf", "quantile", "interval"):
            assert not hasattr(belief, name)
            with pytest.raises(NotImplementedError, match=rf"no order, so they have no {name}; use probs"):
                getattr(belief, name)(0.5)
    assert isinstance(labels, Predictive) and not isinstance(labels, Quantiles)
    for ask in (Point(torch.zeros(T, M, DY)).quantile, Point(torch.zeros(T, M, DY)).interval):
        with pytest.raises(NoDensityError, match="likelihood="):
            ask(0.5)


def test_joint_beliefs_have_the_quantiles_of_points_by_themselves() -> None:
    tasks = qs.tasks.GaussianProcess().sample(T, support=4, query=M)
    sizes: dict[str, Any] = {"width": 16, "depth": 2, "heads": 2, "hidden": 32, "embedding": 2}
    predictor = qs.TNPA(**sizes).adapt(tasks.support)
    chained = predictor(tasks.query.x)
    for belief in (chained, predictor.autoregressive(samples=2)(tasks.query.x)):
        for p in (0.1, 0.9):
            assert torch.equal(belief.quantile(p), chained.alone.quantile(p))
        assert torch.equal(belief.interval(0.8).upper, chained.alone.quantile(0.9))
        torch.testing.assert_close(belief.cdf(belief.quantile(0.1)), torch.full((T, M, 1), 0.1))
    assert not chained.discrete


class OldBelief:
    """A belief of before there were quantiles."""

    mean = variance = torch.ones(1, 2, 1)

    def sample(self, n: int, generator: Any = None, noise: bool = True) -> Tensor:
        return torch.ones(n, 1, 2, 1)

    def log_prob(self, y: Tensor, mask: Any = None, joint: bool = False) -> Tensor:
        return torch.zeros(1) if joint else torch.zeros(1, 2)


def test_a_belief_need_not_have_quantiles() -> None:
    assert isinstance(OldBelief(), Predictive) and not isinstance(OldBelief(), Quantiles)
    partly: Any = PartlyObserved(OldBelief())
    assert not hasattr(partly, "quantile") and not partly.discrete
    found = scores(OldBelief(), qs.Examples(torch.zeros(1, 2, 1), torch.ones(1, 2, 1)))
    assert set(found) == {"mse", "log_likelihood", "joint_log_likelihood"}
