"""ALPaCA against the exact Gaussian process it stands for, its own recursion, and its own prior."""

import math

import pytest
import torch
from learner_table import Lines, masked
from torch import nn
from torch.distributions import MultivariateNormal

import quickstudy as qs
from quickstudy.data import Examples, Tasks
from quickstudy.metric.alpaca import ALPaCA
from quickstudy.metric.last_layer import Weights, _cholesky
from quickstudy.nets import MLP
from quickstudy.report import citations
from quickstudy.runs.rebuild.spec import from_spec, to_spec


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)


def learner(features=12, dy=1, noise=0.3, **options):
    """One whose prior is nothing special: a mean, and correlated weights."""
    found = ALPaCA(MLP(1, [16], features, activation="tanh"), dy=dy, noise=noise, **options)
    with torch.no_grad():
        found.prior_mean.normal_()
        found.prior_scale.add_(torch.randn(features) / 2)
        found.prior_coupling.normal_()
        if found.log_noise is not None:
            found.log_noise.add_(torch.randn(dy) / 4)
    return found


def points(n, dy=1, tasks=3):
    return Examples(torch.randn(tasks, n, 1), torch.randn(tasks, n, dy))


def gaussian_process(found, support, x):
    """The posterior at `x`, for one task, by the dense formula: kernel phi^T Lambda0^-1 phi Sigma, mean K0^T phi.

    Returns:
        mean `[M, dy]` and, for each output, the covariance of observations `[dy, M, M]`.
    """
    root = found.prior_coupling.tril(-1) + found.prior_scale.exp().diag()
    inverse = torch.linalg.inv(torch.linalg.inv(root @ root.T))  # by way of Lambda0 itself
    seen, asked = found.network(support.x[0]), found.network(x)
    within, across, among = seen @ inverse @ seen.T, asked @ inverse @ seen.T, asked @ inverse @ asked.T
    gain = across @ torch.linalg.inv(within + torch.eye(len(seen)))
    mean = asked @ found.prior_mean + gain @ (support.y[0] - seen @ found.prior_mean)
    spread = among - gain @ across.T + torch.eye(len(x))
    return mean, found.variance()[:, None, None] * spread


@pytest.mark.parametrize("dy", [1, 2])
@pytest.mark.parametrize("n", [0, 1, 5, 12, 30], ids=lambda n: f"{n} points")
@torch.no_grad()
def test_is_the_exact_gaussian_process(n, dy):
    found = learner(dy=dy)
    support, query = points(n, dy), points(4, dy)
    belief = found.adapt(support)(query.x)
    joint = belief.log_prob(query.y, joint=True)
    for i in range(3):
        mean, covariance = gaussian_process(found, support.select(i), query.x[i])
        torch.testing.assert_close(belief.mean[i], mean)
        torch.testing.assert_close(belief.variance[i], covariance.diagonal(dim1=1, dim2=2).T)
        expected = MultivariateNormal(mean.T, covariance).log_prob(query.y[i].T).sum()
        torch.testing.assert_close(joint[i], expected)


def test_the_meta_loss_is_the_negative_log_density_of_the_process():
    found, support, query = learner(dy=2), points(5, 2), points(4, 2)
    losses = []
    for i in range(3):
        mean, covariance = gaussian_process(found, support.select(i), query.x[i])
        sd = covariance.diagonal(dim1=1, dim2=2).T.sqrt()
        losses.append(-torch.distributions.Normal(mean, sd).log_prob(query.y[i]).sum(1).mean())
    torch.testing.assert_close(found.meta_loss(Tasks(support, query)), torch.stack(losses).mean())


@pytest.mark.parametrize("n", [6, 40], ids=["fewer points than features", "more"])
@torch.no_grad()
def test_the_recursion_is_the_batch(n):
    """Point by point, in any order and in lumps: the same belief about the last layer."""
    found, support = learner(dy=2), points(n, 2)
    whole = found.adapt(support)
    one_by_one, lumps = found.adapt(support.first(0)), found.adapt(support.first(n // 3))
    for i in range(n):
        one_by_one = one_by_one.append(Examples(support.x[:, [i]], support.y[:, [i]]))
    rest = Examples(support.x[:, n // 3 :].flip(1), support.y[:, n // 3 :].flip(1))
    for grown in (one_by_one, lumps.append(rest)):
        torch.testing.assert_close(grown.weights.mean, whole.weights.mean)
        covariances = [p.weights.root @ p.weights.root.mT for p in (grown, whole)]
        torch.testing.assert_close(*covariances)


@torch.no_grad()
def test_both_sizes_of_the_system_agree():
    """Padding makes the points more than the features, and takes the other way to the same belief."""
    found, support = learner(), points(8)
    long = Examples(*(torch.cat([part, torch.full((3, 20, 1), math.nan)], 1) for part in support[:2]))
    few, many = found.adapt(support), found.adapt(masked(long, [8, 8, 8]))
    torch.testing.assert_close(few.weights.mean, many.weights.mean)
    torch.testing.assert_close(few.weights.root @ few.weights.root.mT, many.weights.root @ many.weights.root.mT)


@torch.no_grad()
def test_samples_and_functions_have_the_moments_of_the_process():
    found, support, x = learner(), points(4, tasks=1), torch.randn(1, 3, 1)
    mean, covariance = gaussian_process(found, support, x[0])
    quiet = covariance[0] - found.variance() * torch.eye(3)
    predictor, n = found.adapt(support), 40_000
    draws = {
        "observations": (predictor(x).sample(n, torch.Generator().manual_seed(0)), covariance[0]),
        "values": (predictor(x).sample(n, torch.Generator().manual_seed(0), noise=False), quiet),
        "functions": (predictor.functions(n, torch.Generator().manual_seed(0))(x), quiet),
    }
    for name, (drawn, expected) in draws.items():
        drawn, scale = drawn[:, 0, :, 0], expected.diagonal().sqrt()
        assert ((drawn.mean(0) - mean[:, 0]) / scale).abs().max() < 5 / n**0.5, name
        assert ((torch.cov(drawn.T) - expected) / scale / scale[:, None]).abs().max() < 8 / n**0.5, name


@torch.no_grad()
def test_its_own_tasks_are_covered_as_they_should_be():
    """Of tasks drawn from the prior, 90% intervals hold 90%. A task is one draw, so the tolerance is that of tasks."""
    torch.manual_seed(0)
    found, tasks = learner(dy=2, noise=0.5), 2000
    x = torch.randn(tasks, 12, 1)
    y = found.adapt(Examples(x[:, :0], torch.zeros(tasks, 0, 2)))(x).sample(1)[0]
    query = Examples(x[:, 7:], y[:, 7:])
    belief = found.adapt(Examples(x[:, :7], y[:, :7]))(query.x)
    found_share = ((belief.cdf(query.y) - 0.5).abs() <= 0.45).double().mean((1, 2))
    assert abs(found_share.mean() - 0.9) < 4 * found_share.std() / tasks**0.5
    # the joint density, too: its squares are chi-squared with one degree of freedom for each number
    squares = -2 * belief.log_prob(query.y, joint=True) + 2 * belief.log_prob(belief.mean, joint=True)
    assert abs(squares.mean() - 10) < 4 * (20 / tasks) ** 0.5


@torch.no_grad()
def test_float32_is_enough_where_the_noise_is_small():
    """Thousands of prior standard deviations to one of the noise: the same numbers as in float64 but for rounding."""
    found, support, x = learner(features=24, noise=1e-3), points(10), torch.randn(3, 4, 1)
    exact, found32 = found.adapt(support)(x), found.float()
    rough = found32.adapt(support.to(dtype=torch.float32))(x.float())
    assert rough.mean.dtype == rough.variance.dtype == torch.float32
    sd = exact.variance.sqrt()
    scale = sd + 1e-4 * exact.mean.abs().max()
    assert ((rough.mean.double() - exact.mean) / scale).abs().max() < 1
    assert (rough.variance.double() / exact.variance - 1).abs().max() < 0.2


def test_a_task_is_a_plain_module():
    found, support, x = learner(dy=2), points(5, 2), torch.randn(3, 4, 1)
    predictor = found.adapt(support)
    module = predictor.task(-1)
    torch.testing.assert_close(module(x[2]), predictor(x).mean[2])
    assert not any(p is q for p in module.parameters() for q in found.parameters())
    with pytest.raises(IndexError, match="tasks 0 to 2"):
        predictor.task(3)


def test_the_graph_is_kept_only_when_asked():
    found, support, query = learner(), points(5), points(4)
    assert not found.adapt(support)(query.x).log_prob(query.y).requires_grad
    x = query.x.clone().requires_grad_()
    found.adapt(support)(x).mean.sum().backward()
    assert x.grad.abs().sum() > 0 and all(p.grad is None for p in found.parameters())
    kept = found.adapt(support, create_graph=True)(query.x)
    kept.log_prob(query.y).sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in found.parameters())


def test_any_network_and_what_batch_statistics_do():
    """Images in; in training mode `meta_loss` leaves running statistics, `adapt` and predictions none."""
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(18, 6))
    found = ALPaCA(network, features=6)
    support, query = (Examples(torch.randn(2, n, 1, 5, 5), torch.randn(2, n, 1)) for n in (4, 3))
    before = network[1].running_mean.clone()
    predictor = found.adapt(support)
    assert predictor.append(query)(query.x).mean.shape == (2, 3, 1)
    assert torch.equal(network[1].running_mean, before)
    found.meta_loss(Tasks(support, query))
    assert not torch.equal(network[1].running_mean, before)
    pad = torch.full((2, 2, 1, 5, 5), math.nan)
    padded = masked_images(support, pad)
    torch.testing.assert_close(found.meta_loss(Tasks(padded, query)), found.meta_loss(Tasks(support, query)))
    rebuilt = from_spec(to_spec(found), network=network)
    assert isinstance(rebuilt, ALPaCA) and rebuilt.network is network and rebuilt.features == 6


def masked_images(examples, pad):
    mask = torch.tensor([True] * examples.num_points + [False] * pad.shape[1]).expand(len(pad), -1)
    y = torch.cat([examples.y, torch.full((*pad.shape[:2], 1), math.nan)], 1)
    return Examples(torch.cat([examples.x, pad], 1), y, mask)


@pytest.mark.parametrize("points", [2, 3])
@pytest.mark.parametrize("size", [1e12, 1e155])
def test_features_that_overflow_give_nan_or_the_right_number(points, size):
    """Equal points: I + A A^T loses its 1 and is singular, where rounding does not save it; or it is infinite."""
    features = torch.full((1, points, 2), size)
    mean = Weights(torch.zeros(2, 1), torch.eye(2)).given(features, torch.ones(1, points, 1)).mean
    assert mean.isnan().all() or (size * mean.sum(1) - 1).abs().max() < 0.01
    if size > 1e150:
        assert mean.isnan().all()


def test_a_task_without_a_factor_has_nan_alone():
    factors = _cholesky(torch.tensor([[[3.0, 0.0], [0.0, 8.0]], [[3.0, 0.0], [0.0, -3.0]]]))
    assert torch.equal(factors[0], torch.tensor([[2.0, 0.0], [0.0, 3.0]])) and factors[1].isnan().all()


def test_evaluate_reports_its_calibration():
    torch.set_default_dtype(torch.float32)
    found = qs.evaluate(ALPaCA(), qs.tasks.Sinusoid(noise=0.3), tasks=10, support=(0, 5), query=10)
    names = ("mse", "log_likelihood", "joint_log_likelihood", "coverage90", "calibration_error")
    assert set(found) == {f"{name}/k={k}" for name in names for k in (0, 5)}


def test_a_run_is_kept_loaded_and_cited(tmp_path):
    torch.set_default_dtype(torch.float32)
    family = qs.tasks.Sinusoid(noise=0.3)
    found = ALPaCA(MLP(1, [4], 3), noise=0.2)
    run = qs.fit(found, family, steps=3, out=tmp_path / "run", support=(0, 4), tasks=2, validation_tasks=2)
    tasks, back = family.sample(2, support=4, query=3), qs.load(run.path, which="last")
    beliefs = [learner.eval().adapt(tasks.support)(tasks.query.x) for learner in (found, back)]
    assert all(map(torch.equal, *beliefs))
    config = {"learner": to_spec(found), "optimizer": "torch.optim.SGD"}
    assert list(citations.keys_of_config(config)) == ["harrison2018alpaca"]


def test_a_batch_of_many_sizes_trains():
    found, tasks = learner(), Lines().sample(3, support=30, query=4)
    unequal = Tasks(masked(tasks.support, [0, 5, 30]), masked(tasks.query, [4, 1, 2]))
    found.meta_loss(unequal).backward()
    assert all(p.grad.isfinite().all() for p in found.parameters())


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"noise": 0.0}, ValueError),
        ({"dy": 0}, ValueError),
        ({"features": 0}, ValueError),
        ({"dx": -1}, ValueError),
        ({"learn_noise": 1}, TypeError),
        ({"network": 1}, TypeError),
        ({"network": nn.Linear(1, 4)}, ValueError),
        ({"network": MLP(1, [4], 4), "dx": 1}, ValueError),
    ],
)
def test_bad_options(options, error):
    with pytest.raises(
        error, match="features=" if isinstance(options.get("network"), nn.Linear) else "=|must be"
    ) as refusal:
        ALPaCA(**options)
    assert "\n" not in str(refusal.value)


def test_what_it_refuses():
    found, support = learner(), points(4)
    with pytest.raises(ValueError, match="dy=1"):
        found.adapt(points(4, dy=2))
    with pytest.raises(ValueError, match="dy=1"):
        found.adapt(Examples(support.x, torch.zeros(3, 4, dtype=torch.long)))
    with pytest.raises(ValueError, match="steps=-1"):
        found.adapt(support, steps=-1)
    with pytest.raises(TypeError, match=r"torch\.Generator"):
        found.adapt(support, generator=0)
    with pytest.raises(ValueError, match=r"\[12, 5\]: give its width as features="):
        ALPaCA(MLP(1, [4], 4), features=5).adapt(support)
    prior = found.adapt(support, steps=0)
    torch.testing.assert_close(prior.append(support)(support.x).mean, prior(support.x).mean)
    with pytest.raises(ValueError, match="n=0"):
        prior.functions(0)
