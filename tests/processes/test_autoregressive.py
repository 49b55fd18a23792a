"""Joint predictions by the chain rule, against a predictor that is made anew for each point."""

import math

import pytest
import torch
from learner_table import Lines, made

import quickstudy as qs
from quickstudy.data import Examples
from quickstudy.processes.cnp import CNP


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)


@pytest.fixture(params=["CNP", "CNP, mixture", "TNP", "IncTNP"])
def process(request):
    """Of these, IncTNP has ways of its own for densities and for draws."""
    return made(request.param)


@pytest.fixture
def batch():
    return Lines().sample(3, support=4, query=4, generator=torch.Generator().manual_seed(0))


def chained(process, support, query, order):
    """log p(y | support) in one order, each factor from a process that encodes all points before it again."""
    total = 0.0
    for m in order:
        belief = process.adapt(support)(query.x[:, [m]])
        total = total + belief.log_prob(query.y[:, [m]])[:, 0]
        support = Examples(torch.cat([support.x, query.x[:, [m]]], 1), torch.cat([support.y, query.y[:, [m]]], 1))
    return total


@pytest.mark.parametrize("order", ["given", (2, 0, 3, 1)])
def test_the_chain_rule_in_one_order(process, batch, order):
    joint = process.adapt(batch.support).autoregressive(order=order)(batch.query.x)
    expected = chained(process, batch.support, batch.query, range(4) if order == "given" else order)
    torch.testing.assert_close(joint.log_prob(batch.query.y, joint=True), expected)
    alone = process.adapt(batch.support)(batch.query.x).log_prob(batch.query.y)
    assert torch.equal(joint.log_prob(batch.query.y), alone)
    assert (expected - alone.sum(1)).abs().min() > 1e-3


def test_random_orders_are_a_mixture(process, batch):
    predictor = process.adapt(batch.support)
    joint = predictor.autoregressive(samples=5, generator=torch.Generator().manual_seed(1))(batch.query.x)
    assert len({tuple(order) for order in joint.orders.tolist()}) > 1
    each = torch.stack([chained(process, batch.support, batch.query, order) for order in joint.orders.tolist()])
    expected = each.logsumexp(0) - math.log(5)
    torch.testing.assert_close(joint.log_prob(batch.query.y, joint=True), expected)
    again = predictor.autoregressive(samples=5, generator=torch.Generator().manual_seed(1))(batch.query.x)
    assert torch.equal(joint.orders, again.orders)


@pytest.mark.parametrize("process", ["CNP", "IncTNP"], indirect=True)
def test_the_density_of_two_points_integrates_to_one(process, batch):
    grid = torch.linspace(-30, 30, 121)
    y = torch.cartesian_prod(grid, grid).unsqueeze(-1)  # a task for each pair of values
    same = torch.zeros(len(y), dtype=torch.long)
    joint = process.adapt(batch.support.select(same)).autoregressive(order="given")(batch.query.x[same, :2])
    density = joint.log_prob(y, joint=True).exp()
    assert density.sum().item() * (60 / 120) ** 2 == pytest.approx(1, abs=1e-3)


def test_draws_are_taken_from_the_beliefs_after_the_points_before(process, batch):
    predictor, (x, _, _) = process.adapt(batch.support), batch.query
    joint = predictor.autoregressive(order=(1, 0, 2, 3))(x)
    draws, means = (joint.sample(2, torch.Generator().manual_seed(0), noise=noise) for noise in (True, False))
    for draw, mean in zip(draws, means, strict=True):
        torch.testing.assert_close(mean[:, 1], predictor(x[:, [1]]).mean[:, 0])
        seen = predictor.append(Examples(x[:, [1]], draw[:, [1]]))
        torch.testing.assert_close(mean[:, 0], seen(x[:, [0]]).mean[:, 0])
        seen = seen.append(Examples(x[:, [0]], draw[:, [0]]))
        torch.testing.assert_close(mean[:, 2], seen(x[:, [2]]).mean[:, 0])


@pytest.mark.parametrize("process", ["CNP", "IncTNP"], indirect=True)
def test_moments_are_those_of_the_draws(process, batch):
    joint = process.adapt(batch.support).autoregressive(order="given", samples=5_000)(batch.query.x)
    draws = joint.sample(5_000, torch.Generator().manual_seed(0))
    torch.testing.assert_close(joint.mean, draws.mean(0), rtol=0.1, atol=0.2)
    torch.testing.assert_close(joint.variance, draws.var(0), rtol=0.2, atol=0.2)


def test_padding_has_no_effect(process, batch):
    query = batch.query
    mask = torch.tensor([[True] * 4, [True, True, False, False], [True, False, True, True]])
    y = torch.where(mask.unsqueeze(-1), query.y, torch.nan)
    joint = process.adapt(batch.support).autoregressive(order="given")(query.x)
    found = joint.log_prob(y, mask, joint=True)
    for t in range(3):
        real = Examples(query.x[[t]][:, mask[t]], query.y[[t]][:, mask[t]])
        expected = chained(process, batch.support.select([t]), real, range(int(mask[t].sum())))
        torch.testing.assert_close(found[[t]], expected)


def test_gradients_of_densities_reach_the_process_if_asked(process, batch):
    for graph in (False, True):
        joint = process.adapt(batch.support, create_graph=graph).autoregressive(samples=2)(batch.query.x)
        assert joint.log_prob(batch.query.y, joint=True).requires_grad is graph
    assert not joint.sample(2).requires_grad


def test_no_points_and_an_empty_support_set(process, batch):
    joint = process.adapt(batch.support.first(0)).autoregressive()(batch.query.x[:, :0])
    assert torch.equal(joint.log_prob(batch.query.y[:, :0], joint=True), torch.zeros(3))
    assert joint.sample(2).shape == (2, 3, 0, 1)
    assert process.adapt(batch.support.first(0)).autoregressive()(batch.query.x).sample(2).isfinite().all()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"order": "sorted"}, ValueError, "order='sorted'; expected 'random', 'given', or a permutation"),
        ({"order": (0, 1)}, ValueError, "not a permutation of the points 0 to 3 of x"),
        ({"order": [0.9, 1.2, 2.9, 3.0]}, ValueError, r"order=\[0.9, 1.2, 2.9, 3.0\] does not hold whole numbers; exp"),
        ({"order": ["a", "b", "c", "d"]}, ValueError, "does not hold whole numbers; expected 'random', 'given'"),
        ({"order": None}, TypeError, "order=None; expected 'random', 'given', or a permutation"),
        ({"order": 3}, TypeError, "order=3; expected"),
        ({"samples": 0}, ValueError, "samples=0"),
        ({"generator": 3}, TypeError, "generator must be a torch.Generator"),
    ],
)
def test_arguments(process, batch, options, error, message):
    with pytest.raises(error, match=message):
        process.adapt(batch.support).autoregressive(**options)(batch.query.x)


def test_it_is_better_than_independence_where_points_are_tied():
    """Trained for seconds on lines of unknown height, the second point is known once the first is seen."""
    torch.set_default_dtype(torch.float32)
    torch.manual_seed(0)
    process = CNP(width=32)
    with pytest.warns(UserWarning, match="kept in memory"):
        qs.fit(process, qs.tasks.Sinusoid(), steps=400, support=(0, 10))
    tasks = qs.tasks.Sinusoid().sample(50, support=0, query=8, generator=torch.Generator().manual_seed(0))
    predictor = process.adapt(tasks.support)
    alone = predictor(tasks.query.x).log_prob(tasks.query.y, joint=True).mean()
    joint = predictor.autoregressive(generator=torch.Generator().manual_seed(0))(tasks.query.x)
    assert joint.log_prob(tasks.query.y, joint=True).mean() > alone + 1


@pytest.mark.parametrize("kind", ["CNP", "IncTNP", "TNPA", "TNPA, its own chain", "FlowNP"])
def test_densities_have_gradients_with_respect_to_points(kind, batch):
    """They are those of finite differences, and the parameters of the process are constants."""
    process = made(kind.split(",")[0])
    if kind == "FlowNP":
        process.solver_steps = 1
    predictor = process.adapt(batch.support)
    function = predictor if kind == "TNPA, its own chain" else predictor.autoregressive(order=(2, 0, 3, 1))
    x, y, mask = batch.query.x.requires_grad_(), batch.query.y.requires_grad_(), batch.query.x[..., 0] > -9
    mask[0, 1] = False
    belief = function(x)
    density = belief.log_prob(y, mask, joint=True)
    assert density.requires_grad and belief.log_prob(y).requires_grad
    slopes, step = torch.autograd.grad(density.sum(), (x, y)), 1e-5
    directions = torch.randn(2, *x.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        high, low = (
            function(x + h * directions[0]).log_prob(y + h * directions[1], mask, joint=True).sum()
            for h in (step, -step)
        )
    found = (slopes[0] * directions[0] + slopes[1] * directions[1]).sum()
    torch.testing.assert_close(found, (high - low) / (2 * step), rtol=1e-5, atol=1e-7)
    belief.log_prob(y, joint=True).sum().backward()
    assert all(p.grad is None for p in process.parameters())
    with torch.no_grad():
        assert not belief.log_prob(y, joint=True).requires_grad


@pytest.mark.parametrize("name", ["IncTNP", "TNPA", "FlowNP"])
def test_a_frozen_process_keeps_the_graph_to_the_support_set(name, batch):
    process, support = made(name).requires_grad_(False), batch.support
    support.x.requires_grad_()
    belief = process.adapt(support, create_graph=True)(batch.query.x)
    assert belief.log_prob(batch.query.y, joint=True).requires_grad


@pytest.mark.parametrize("model", [qs.CNP, qs.TNPA])
def test_outcomes_that_cannot_be_are_refused_by_name(model):
    """By the name that they were given, and the place in what was given, whatever the order and its copies."""
    x, y = torch.randn(2, 3, 1), torch.randn(2, 3, 1)
    y[1, 2] = torch.nan
    real = y[..., 0].isfinite()
    predictor = model().adapt(Examples(x, x))
    for belief in (predictor(x), predictor.autoregressive()(x))[model is qs.CNP :]:
        with pytest.raises(ValueError, match=r"^y has a NaN or infinite value at 1 of .* at task 1, point 2;"):
            belief.log_prob(y, joint=True)
        assert belief.log_prob(y, real, joint=True).isfinite().all()
    labels = torch.tensor([[0, 1, 1], [0, 7, 1]])
    predictor = model(head=qs.heads.CategoricalHead(2)).adapt(Examples(x, labels % 2))
    for belief in (predictor(x), predictor.autoregressive()(x))[model is qs.CNP :]:
        with pytest.raises(ValueError, match="^y has 1 value that .* the first, 7, at task 1, point 1; expected label"):
            belief.log_prob(labels, joint=True)
        with pytest.raises(ValueError, match="^y is torch.float64 .* expects integer labels"):
            belief.log_prob(labels.double(), joint=True)


def test_a_latent_process_says_that_it_is_joint_already():
    x = torch.randn(1, 3, 1)
    with pytest.raises(NotImplementedError, match="a NeuralProcess has a latent variable, .* use predictor"):
        qs.NeuralProcess().adapt(Examples(x, x)).autoregressive(order="given")
