"""Heads in every conditional process: shapes, gradients, padding, joint predictions, and impossible outcomes."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from learner_table import SMALL, masked
from torch import Tensor, nn

import quickstudy as qs
from quickstudy.data import Examples, Tasks
from quickstudy.predictive import Gaussian

HEADS: dict[str, Any] = {
    "dense": qs.heads.DenseHead(3),
    "bars": qs.heads.BarHead.between(-2, 2, 5),
    "categorical": qs.heads.CategoricalHead(3),
    "bernoulli": qs.heads.BernoulliHead(),
    "counts": qs.heads.CountHead(),
}
MODELS: dict[str, Callable[..., Any]] = {
    "CNP": lambda **o: qs.CNP(width=16, encoder_depth=2, **o),
    "AttentiveCNP": lambda **o: qs.AttentiveCNP(width=16, encoder_depth=2, heads=2, **o),
    "RelativeCNP": lambda **o: qs.RelativeCNP(width=16, pairs=True, **o),
    "ConvCNP": lambda **o: qs.ConvCNP(points_per_unit=4, channels=8, levels=2, **o),
    "TNP": lambda **o: qs.TNP(**SMALL, **o),
    "IncTNP": lambda **o: qs.IncTNP(
        **SMALL, objective="query" if getattr(o["head"], "joint", False) else "prefixes", **o
    ),
    "TNPA": lambda **o: qs.TNPA(**SMALL, **o),
    "LBANP": lambda **o: qs.LBANP(**SMALL, latents=3, **o),
    "TETNP": lambda **o: qs.TETNP(**SMALL, **o),
}
# TNPA has a joint belief of its own
PAIRS = [(model, name) for model in MODELS for name in HEADS if not (model == "TNPA" and HEADS[name].joint)]
every_pair = pytest.mark.parametrize(("model", "name"), PAIRS)


@pytest.fixture(autouse=True)
def double() -> None:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


def outcomes(name: str, points: int) -> Tensor:
    """Possible outcomes `[3, points, 2]`; labels `[3, points]`."""
    noise = torch.randn(3, points, 2)
    if name == "categorical":
        return torch.randint(3, (3, points))
    return {"bernoulli": (noise > 0).double(), "counts": (3 * noise).abs().floor()}.get(name, noise)


def drawn(name: str) -> Tasks:
    x = torch.rand(3, 9, 1) * 4 - 2
    y = outcomes(name, 9)
    return Tasks(Examples(x[:, :5], y[:, :5]), Examples(x[:, 5:], y[:, 5:]))


def made(model: str, name: str) -> Any:
    """A process whose outputs depend on its inputs, as the last layers of new ones are near zero."""
    process = MODELS[model](dy=1 if name == "categorical" else 2, head=HEADS[name])
    with torch.no_grad():
        for module in process.modules():
            if isinstance(module, nn.Linear) and module.weight.abs().max() < 0.02:
                module.weight.mul_(100)
    return process


@every_pair
def test_every_head_in_every_model(model: str, name: str) -> None:
    process, tasks = made(model, name), drawn(name)
    support, query = tasks.support, tasks.query
    loss = process.meta_loss(tasks)
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in process.parameters())
    predictor = process.adapt(support)
    belief = predictor(query.x)
    wide = (3,) if name == "categorical" else (2,)
    assert belief.mean.shape == belief.variance.shape == (3, 4, *wide)
    assert belief.sample(2).shape == (2, *query.y.shape) and belief.sample(2).dtype == query.y.dtype
    if model != "IncTNP" or process.objective == "query":
        expected = belief.log_prob(query.y, joint=process.head.joint or model == "TNPA").sum() / 12
        torch.testing.assert_close(-loss.detach(), expected)
    assert (predictor(query.x).mean - process.adapt(support.first(0))(query.x).mean).abs().max() > 1e-4
    parts = process.append(process.encode(support.first(2)), Examples(support.x[:, 2:], support.y[:, 2:]))
    torch.testing.assert_close(process.predict(parts, query.x).mean, belief.mean)


@every_pair
def test_padding_changes_nothing(model: str, name: str) -> None:
    process, tasks = made(model, name), drawn(name)
    if name == "categorical":  # padding may hold any label
        mask = torch.arange(5) < torch.tensor([3, 5, 0])[:, None]
        dirty = Examples(tasks.support.x, tasks.support.y.where(mask, -7), mask)
        asked = torch.arange(4) < torch.tensor([2, 4, 1])[:, None]
        query = Examples(tasks.query.x, tasks.query.y.where(asked, 99), asked)
    else:
        dirty, query = masked(tasks.support, [3, 5, 0]), masked(tasks.query, [2, 4, 1])
    padded = process.meta_loss(Tasks(dirty, query))
    alone = []
    for i, (known, asked_for) in enumerate(((3, 2), (5, 4), (0, 1))):
        one = tasks.select(i)
        alone.append(process.meta_loss(Tasks(one.support.first(known), one.query.first(asked_for))))
    torch.testing.assert_close(padded, torch.stack(alone).mean())


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("model", ["CNP", "IncTNP", "ConvCNP"])
def test_joint_predictions_and_functions(model: str, name: str) -> None:
    process, tasks = made(model, name), drawn(name)
    (x, y, _), predictor = tasks.query, process.adapt(tasks.support)
    joint = predictor.autoregressive(order="given", samples=3)(x)
    total, known = torch.zeros(3), tasks.support
    for m in range(4):
        total = total + process.adapt(known)(x[:, [m]]).log_prob(y[:, [m]])[:, 0]
        known = known.append(Examples(x[:, [m]], y[:, [m]]))
    torch.testing.assert_close(joint.log_prob(y, joint=True), total)
    for noise in (True, False):
        draws = joint.sample(2, torch.Generator().manual_seed(0), noise=noise)
        assert draws.shape == (2, *y.shape) and draws.isfinite().all()
    assert joint.mean.shape == joint.variance.shape == predictor(x).mean.shape
    assert predictor.autoregressive()(x[:, :0]).sample(2).shape == (2, *y[:, :0].shape)
    functions = predictor.functions(2, torch.Generator().manual_seed(0))
    values, shape = functions(x), predictor(x).mean.shape  # labels as one-hot codes, whose mean is that of the belief
    assert values.shape == (2, *shape) and torch.equal(functions(x), values)
    assert name != "categorical" or torch.equal(values.sum(-1), torch.ones(2, 3, 4))
    assert functions(x[:, :0]).shape == (2, 3, 0, *shape[2:])


@pytest.mark.parametrize("name", HEADS)
def test_a_process_is_saved_with_its_head(name: str, tmp_path: Any) -> None:
    process = made("CNP", name)
    qs.save(process, tmp_path / "learner")
    found = qs.load(tmp_path / "learner")
    assert found.head == process.head
    x, support = drawn(name).query.x, drawn(name).support
    assert torch.equal(found.adapt(support)(x).mean, process.adapt(support)(x).mean)


@dataclass(frozen=True)
class Plain:
    """A head of the user's own, with the four members that every head has; `features` is a name of its own."""

    features: int = 7
    joint = False

    def config(self) -> dict[str, Any]:
        return {}

    def size(self, dy: int) -> int:
        return dy

    def __call__(self, output: Tensor, dy: int) -> Gaussian:
        return Gaussian(output, torch.ones_like(output))


@pytest.mark.parametrize("model", MODELS)
def test_a_head_may_leave_out_what_it_says_about_outcomes(model: str) -> None:
    torch.manual_seed(0)
    process, tasks = MODELS[model](dy=2, head=Plain()), drawn("plain")
    process.meta_loss(tasks).backward()
    state = process.append(process.encode(tasks.support), tasks.query)
    assert process.predict(state, tasks.query.x).mean.shape == (3, 4, 2)
    gaussian = MODELS[model](dy=2, head=qs.heads.GaussianHead())  # the encoder of learners that were saved before
    shapes = [p.shape for p in process.parameters()]
    assert [p.shape for p in gaussian.parameters()][:-2] == shapes[:-2]


CATEGORICAL, COUNT, BINARY = (HEADS[name] for name in ("categorical", "counts", "bernoulli"))


@pytest.mark.parametrize(
    ("head", "y", "message"),
    [
        (
            CATEGORICAL,
            torch.zeros(3, 5, 1),
            r"support\.y is torch\.float32 .*labels, use support\.y\.squeeze\(-1\)\.long",
        ),
        (CATEGORICAL, torch.zeros(3, 5, 4).long(), r"integer labels \[T, N\]; it takes one label for each point"),
        (
            CATEGORICAL,
            torch.tensor([0, 1, 2, 5, 3]).repeat(3, 1),
            r"support\.y has 6 values .*the first, 5, at task 0, point 3; expected labels 0 to 2",
        ),
        (
            COUNT,
            torch.full((3, 5, 1), 0.5),
            r"CountHead\(\) gives no probability, the first, 0\.5, at task 0, point 0,",
        ),
        (COUNT, torch.full((3, 5, 1), -1.0), r"the first, -1, .* expected whole numbers of at least 0"),
        (BINARY, torch.full((3, 5, 1), 2.0), r"the first, 2, at task 0, point 0, output 0; expected 0 or 1"),
        (COUNT, torch.zeros(3, 5).long(), r"for real outcomes or counts use y\.float\(\)"),
        (COUNT, torch.full((3, 5, 1), torch.nan), r"support\.y has a NaN or infinite value at 15 of its real points"),
    ],
)
def test_outcomes_that_a_head_does_not_take(head: Any, y: Tensor, message: str) -> None:
    torch.set_default_dtype(torch.float32)
    process, bad = qs.CNP(width=8, head=head), Examples(torch.zeros(3, 5, 1), y)
    for call in (process.encode, process.adapt, lambda s: process.meta_loss(Tasks(s, s))):
        with pytest.raises(ValueError, match=message):
            call(bad)
    good = Examples(torch.zeros(3, 5, 1), torch.zeros(3, 5).long() if head == CATEGORICAL else torch.zeros(3, 5, 1))
    with pytest.raises(ValueError, match=message.replace("support", "examples")):
        process.append(process.encode(good), bad)
    if y.dtype == good.y.dtype and y.shape == good.y.shape and not y.isnan().any():
        with pytest.raises(ValueError, match=message.replace("support", "query")):
            process.meta_loss(Tasks(good, bad))
    padded = bad._replace(mask=torch.zeros(3, 5, dtype=torch.bool))
    if y.dtype == good.y.dtype and y.shape == good.y.shape:
        assert torch.equal(process.encode(padded).seen, torch.zeros(3).long())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: qs.heads.CategoricalHead(1), "classes=1"),
        (
            lambda: qs.CNP(dy=3, head=qs.heads.CategoricalHead(3)),
            "dy=3 with head=CategoricalHead.*a point has one label",
        ),
        (lambda: qs.heads.BarHead((0.0, 1.0, 1.0)), "edges 1 and 2 are 1 and 1; .*remove repeated edges"),
        (lambda: qs.heads.BarHead([0.0]), "expected at least two numbers"),
        (lambda: qs.heads.BarHead((0.0, math.inf)), "an edge=inf"),
        (lambda: qs.heads.BarHead(["a", "b"]), "^an edge='a'; expected a finite number$"),
        (lambda: qs.heads.BarHead.between(-math.inf, 3), "^low=-inf; expected a finite number"),
        (lambda: qs.heads.BarHead.between("a", "b"), "^low='a'; expected a finite number"),
        (lambda: qs.heads.BarHead.between(3, -3), "^low=3 and high=-3; expected low < high"),
        (lambda: qs.heads.BarHead.of_quantiles(torch.full((2, 3), 2.0)), "all outcomes of y are 2;"),
        (lambda: qs.heads.BarHead.of_quantiles(torch.tensor([1.0, math.nan])), "NaN or infinite; give the finite ones"),
        (lambda: qs.heads.DenseHead(0), "features=0"),
        (lambda: qs.IncTNP(head=qs.heads.DenseHead()), "objective='query', or a head for each point"),
    ],
)
def test_arguments_of_heads(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_bars_at_quantiles_hold_equal_shares_and_fewer_bars_where_outcomes_repeat() -> None:
    y = torch.randn(1001)
    head = qs.heads.BarHead.of_quantiles(y, 10)
    counts = torch.histogram(y, torch.tensor(head.edges)).hist
    assert len(counts) == 10 and counts.min() >= 99 and counts.max() <= 101
    assert qs.heads.BarHead.of_quantiles(torch.tensor([0.0, 0, 0, 0, 1]), 4).edges == (0.0, 1.0)


def test_bars_in_other_precisions() -> None:
    """Edges that are equal in float32 would give infinite densities; bfloat16 cannot tell 300 edges apart."""
    narrow = qs.heads.BarHead.between(1e6, 1e6 + 1, 100)
    assert narrow(torch.zeros(1, 2, 102), 1).log_prob(torch.full((1, 2, 1), 1e6 + 0.5)).isfinite().all()
    with pytest.raises(ValueError, match="are equal in torch.float32; rescale y, use wider bars, or float64"):
        narrow(torch.zeros(1, 2, 102, dtype=torch.float32), 1)
    fine = qs.heads.BarHead.between(-4, 4, 300)
    output, y = torch.randn(2, 5, 302), torch.randn(2, 5, 1)
    half = fine(output.bfloat16(), 1)
    exact = fine(output.bfloat16().float(), 1)
    assert half.sample(3).dtype == half.mean.dtype == half.variance.dtype == torch.bfloat16
    torch.testing.assert_close(half.log_prob(y.bfloat16()).float(), exact.log_prob(y.bfloat16().float()))
    torch.testing.assert_close(half.cdf(y.bfloat16()), exact.cdf(y.bfloat16().float()))


def test_extreme_outputs_of_a_network_give_finite_densities() -> None:
    """A Gamma function of 0 and the logarithm of 0 are near where counts have a large or small mean or dispersion."""
    raw = torch.tensor([-1e3, -100.0, -1.0, 0.0, 1.0, 100.0, 1e3], dtype=torch.float32)
    output = torch.cartesian_prod(raw, raw).unsqueeze(0).requires_grad_()
    for y in (0.0, 1.0, 1e6):
        belief = COUNT(output, 1)
        density = belief.log_prob(torch.full((1, 49, 1), y, dtype=torch.float32))
        (gradient,) = torch.autograd.grad(density.sum(), output)
        assert density.isfinite().all() and density.dtype == torch.float32 and gradient.isfinite().all()
    assert belief.mean.isfinite().all() and (belief.variance > 0).all() and belief.variance.isfinite().all()
    assert belief.sample(2).isfinite().all()
    far = qs.heads.DenseHead(3)(1e3 * torch.randn(1, 40, 6, dtype=torch.float32), 1)
    assert far.log_prob(torch.zeros(1, 40, 1, dtype=torch.float32), joint=True).isfinite().all()
    same = qs.heads.DenseHead(3, 1e-6)(torch.tensor([0, -50.0, 0, 1, 1, 1]).float().expand(1, 40, 6), 1)  # singular
    assert same.log_prob(torch.zeros(1, 40, 1, dtype=torch.float32), joint=True).isfinite().all()


@pytest.mark.parametrize("off", [0.0, 3.0, 30.0])
def test_a_dense_covariance_of_near_or_far_features_is_exact_in_float32(off: float) -> None:
    head, t, output = qs.heads.DenseHead(8), torch.linspace(0, 1, 40), torch.zeros(1, 40, 11)
    output[..., 1], output[..., 2], output[0, :, 3], output[0, :, 4] = -9.0, 0.5, off + 2 * t, off - t
    output, y = output.float(), (0.3 * torch.sin(3 * t)).view(1, 40, 1).float()
    belief, wide = head(output, 1), output.double()
    places, scale = wide[0, :, 3:], nn.functional.softplus(wide[0, :, 2])
    function = scale.outer(scale) * torch.exp(-0.5 * (places[:, None] - places).square().sum(-1))
    noise = torch.diag((1e-3 + nn.functional.softplus(wide[0, :, 1])).square())
    exact = torch.distributions.MultivariateNormal(torch.zeros(40), function + noise).log_prob(y[0, :, 0].double())
    found = belief.log_prob(y, joint=True)
    assert found.dtype == belief.variance.dtype == belief.sample(1).dtype == torch.float32
    torch.testing.assert_close(found[0].double(), exact, rtol=0, atol=1e-2)


def test_the_gradient_of_a_dense_covariance() -> None:
    output = torch.randn(2, 4, 12)
    output[:, 1] = output[:, 0]  # two points at the same place
    output.requires_grad_()
    assert torch.autograd.gradcheck(lambda o: qs.heads.DenseHead(3)(o, 2).covariance, output)
    assert torch.autograd.gradgradcheck(lambda o: qs.heads.DenseHead(3)(o, 2).covariance, output)


@pytest.mark.parametrize(("x", "y"), [(1e6, 1.0), (1.0, 1e8)])
@pytest.mark.parametrize("make", [qs.RelativeCNP, lambda **o: qs.AttentiveCNP(self_attention=0, **o)])
def test_a_dense_covariance_after_an_extreme_support_point(make: Callable[..., Any], x: float, y: float) -> None:
    torch.set_default_dtype(torch.float32)
    predictor = make(head=qs.heads.DenseHead()).adapt(Examples(torch.full((1, 1, 1), x), torch.full((1, 1, 1), y)))
    assert predictor(torch.randn(1, 30, 1)).log_prob(torch.zeros(1, 30, 1), joint=True).isfinite().all()


SCALED: list[Callable[[float], Any]] = [
    qs.heads.GaussianHead,
    lambda floor: qs.heads.MixtureHead(3, floor),
    lambda floor: qs.heads.LowRankHead(3, floor),
    lambda floor: qs.heads.DenseHead(3, floor),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("head", SCALED)
def test_a_floor_of_0_gives_finite_densities_and_gradients(head: Callable[[float], Any], dtype: torch.dtype) -> None:
    zero = head(0.0)
    output = torch.full((1, 3, zero.size(1)), -800.0, dtype=dtype, requires_grad=True)
    belief = zero(output, 1)
    mean = belief.mean.detach()
    for joint in (False, True):
        density = belief.log_prob(mean + 0.5 * mean.abs() / 800, joint=joint)
        (gradient,) = torch.autograd.grad(density.sum(), output, retain_graph=True)
        assert density.isfinite().all() and gradient.isfinite().all()
    usual = torch.randn(1, 3, zero.size(1), dtype=dtype)
    assert torch.equal(head(0.0)(usual, 1).variance, head(1e-12)(usual, 1).variance) or dtype == torch.float64


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    "head", [*(make(1e-3) for make in SCALED), *(HEADS[n] for n in ("bars", "bernoulli", "counts"))]
)
def test_every_head_in_half_precision(head: Any, dtype: torch.dtype) -> None:
    output, y = torch.randn(2, 4, head.size(2)).to(dtype), torch.zeros(2, 4, 2, dtype=dtype)
    exact, missing = head(output.float(), 2), y.clone()
    missing[0, 1, 0] = torch.nan
    for belief, outcome in ((head(output, 2), y), (qs.heads.WithMissing(head)(output, 2), missing)):
        for joint in (False, True):
            assert belief.log_prob(outcome, joint=joint).isfinite().all()
        assert belief.mean.dtype == belief.variance.dtype == belief.sample(2).dtype == dtype
        torch.testing.assert_close(belief.mean.float(), exact.mean, atol=0.02, rtol=0.02)


@pytest.mark.parametrize("head", [qs.heads.GaussianHead, "mixture", qs.heads, torch.ones(2)])
@pytest.mark.parametrize("make", [*MODELS.values(), lambda **o: qs.GridConvCNP((4, 4), **o), qs.heads.WithMissing])
def test_what_is_no_head(make: Callable[..., Any], head: Any) -> None:
    with pytest.raises(TypeError, match=r"^head=.*expected an instance .*such as quickstudy\.heads\.GaussianHead"):
        make(head=head)


def test_edges_from_an_array() -> None:
    assert qs.heads.BarHead(np.array([-1.0, 0.5, 2.0])) == qs.heads.BarHead((-1.0, 0.5, 2.0))


def test_it_learns_labels() -> None:
    """The class of a point is the side of a threshold; trained for seconds, the process predicts it from examples."""
    torch.set_default_dtype(torch.float32)
    torch.manual_seed(0)

    def batch(count: int) -> Tasks:
        x = torch.rand(count, 20, 1) * 2 - 1
        y = (x > torch.rand(count, 1, 1) - 0.5).long().squeeze(-1)
        return Tasks(Examples(x[:, :12], y[:, :12]), Examples(x[:, 12:], y[:, 12:]))

    process = qs.CNP(width=32, head=qs.heads.CategoricalHead(2))
    optimizer = torch.optim.Adam(process.parameters(), 3e-3)
    for _ in range(100):
        optimizer.zero_grad()
        process.meta_loss(batch(16)).backward()
        optimizer.step()
    test = batch(200)
    right = process.adapt(test.support)(test.query.x).probs.argmax(-1) == test.query.y
    assert right.float().mean() > 0.9
