"""FlowNP: densities that integrate to one and fit the draws, and what one point tells about another."""

from typing import Any

import pytest
import torch
from learner_table import SMALL, Lines, made

import quickstudy as qs
from quickstudy.data import Examples, Tasks


@pytest.fixture(autouse=True)
def double() -> None:
    torch.set_default_dtype(torch.float64)


@pytest.fixture
def tasks() -> Tasks:
    return Lines().sample(3, support=5, query=4, generator=torch.Generator().manual_seed(0))


def flowing(steps: int = 6, **options: int) -> Any:
    process: Any = made("FlowNP")
    process.solver_steps = steps
    for name, value in options.items():
        setattr(process, name, value)
    return process


def test_the_joint_density_of_two_points_integrates_to_one(tasks: Tasks) -> None:
    grid = torch.linspace(-7, 7, 36)
    y = torch.cartesian_prod(grid, grid).unsqueeze(-1)  # a task for each pair of values
    same = torch.zeros(len(y), dtype=torch.long)
    predictor = flowing(12).adapt(tasks.support.select(same))
    density = predictor(tasks.query.x[same, :2]).log_prob(y, joint=True).exp()
    assert density.sum().item() * (14 / 35) ** 2 == pytest.approx(1, abs=0.01)
    alone = predictor(tasks.query.x[same, :2]).log_prob(y).sum(1).exp()
    assert (alone - density).abs().max() > 0.01 * density.max()  # so the points depend on each other


def test_a_point_by_itself_is_a_flow_of_one_point(tasks: Tasks) -> None:
    predictor, (x, y, _) = flowing().adapt(tasks.support), tasks.query
    alone = [predictor(x[:, [m]]).log_prob(y[:, [m]], joint=True) for m in range(4)]
    torch.testing.assert_close(predictor(x).log_prob(y), torch.stack(alone, 1))


def test_cdf_density_draws_and_moments_of_a_point_fit(tasks: Tasks) -> None:
    same = torch.zeros(400, dtype=torch.long)
    belief = flowing(16).adapt(tasks.support.select(same))(tasks.query.x[same, :1])
    y, h = torch.linspace(-3, 3, 400).view(-1, 1, 1), 1e-4
    slope = (belief.cdf(y + h) - belief.cdf(y - h)) / (2 * h)
    torch.testing.assert_close(slope[..., 0], belief.log_prob(y).exp(), rtol=0.02, atol=1e-3)
    draws = belief.sample(1, torch.Generator().manual_seed(0))[0]
    below = belief.cdf(draws).flatten().sort().values  # uniform, if they fit
    assert (below - torch.linspace(0, 1, 400)).abs().max() < 1.6 / 400**0.5
    one = flowing(16, samples=64).adapt(tasks.support.select([0]))(tasks.query.x[:1, :1])
    assert (one.mean - draws.mean()).abs() < 4 * draws.std() / 20
    torch.testing.assert_close(one.variance[0, 0, 0], draws.var(), rtol=0.25, atol=0)


def test_quantiles_are_those_of_its_distribution_function(tasks: Tasks) -> None:
    """Also where the solver's steps are so long that draws and densities disagree; and they have its derivatives."""
    process, level = flowing(3), torch.tensor([1e-6, 0.2, 0.5, 0.95])
    belief = process.adapt(tasks.support)(tasks.query.x)
    found = belief.quantile(level)
    assert found.shape == (4, 3, 4, 1) and not found.requires_grad
    for p, y in zip(level, found, strict=True):
        torch.testing.assert_close(belief.cdf(y), p.expand_as(y), rtol=1e-8, atol=0)
    assert torch.equal(belief.interval(0.6).lower, belief.quantile(0.2))
    assert belief.quantile([0, 1])[:, 0, 0, 0].tolist() == [-torch.inf, torch.inf]
    assert process.adapt(tasks.support)(tasks.query.x[:, :0]).quantile([0.1, 0.2]).shape == (2, 3, 0, 1)
    (slope,) = torch.autograd.grad(
        process.adapt(tasks.support)(x := tasks.query.x.clone().requires_grad_()).quantile(0.7).sum(), x
    )
    h = 1e-5
    high, low = (process.adapt(tasks.support)(tasks.query.x + step).quantile(0.7) for step in (h, -h))
    torch.testing.assert_close(slope, (high - low) / (2 * h), rtol=1e-3, atol=1e-5)


def test_draws_of_several_points_are_joint(tasks: Tasks) -> None:
    """Two draws in one call are those of two calls with their noise; and they do not depend on how many fit at once."""
    belief = flowing().adapt(tasks.support)(tasks.query.x)
    both = belief.sample(4, torch.Generator().manual_seed(0))
    order = [3, 1, 0, 2]
    noise = torch.randn(4, 3, 4, 1, generator=torch.Generator().manual_seed(0))
    shuffled = flowing().adapt(tasks.support)(tasks.query.x[:, order])._pushed(noise[:, :, order])
    torch.testing.assert_close(shuffled, both[:, :, order])
    assert (belief._pushed(noise[:2])[1] - both[1]).abs().max() < 1e-12


def test_padded_points_do_not_reach_the_others(tasks: Tasks) -> None:
    process, query = flowing(), tasks.query
    mask = torch.tensor([[True] * 4, [False, True, False, True], [False, False, True, False]])
    dirty = query.y.where(mask[..., None], torch.nan)
    found = process.adapt(tasks.support)(query.x).log_prob(dirty, mask, joint=True)
    for t in range(3):
        x, y = query.x[[t]][:, mask[t]], query.y[[t]][:, mask[t]]
        alone = process.adapt(tasks.support.select(t))(x).log_prob(y, joint=True)
        torch.testing.assert_close(found[[t]], alone)


def test_many_points_have_an_estimate_with_a_fixed_seed(tasks: Tasks) -> None:
    (x, y, _), support = tasks.query, tasks.support
    exact, few = (flowing(probes=probes).adapt(support)(x).log_prob(y, joint=True) for probes in (4, 2))
    assert torch.equal(flowing(probes=2).adapt(support)(x).log_prob(y, joint=True), few)
    assert not torch.equal(few, exact)
    torch.testing.assert_close(flowing(probes=9).adapt(support)(x).log_prob(y, joint=True), exact)


def test_the_loss_is_zero_for_the_velocity_of_the_paths(tasks: Tasks, monkeypatch: pytest.MonkeyPatch) -> None:
    process, seen = flowing(), []

    def velocity(self: Any, state: Any, points: Examples, t: Any, *, alone: bool) -> Any:
        assert not alone
        seen.append((points.y, t))
        t = t.view(-1, 1, 1)
        return tasks.query.y - (points.y - t * tasks.query.y) / (1 - t)

    monkeypatch.setattr(type(process), "velocity", velocity)
    assert process.meta_loss(tasks) < 1e-20
    assert process.meta_loss(tasks._replace(query=tasks.query._replace(y=tasks.query.y + 1))) > 0.5
    assert len({float(t) for _, times in seen for t in times}) == 6 and all((0 < t).all() for _, t in seen)


def test_densities_have_gradients_if_asked(tasks: Tasks) -> None:
    process = flowing(2)
    for graph in (False, True):
        belief = process.adapt(tasks.support, create_graph=graph)(tasks.query.x)
        density = belief.log_prob(tasks.query.y, joint=True)
        assert density.requires_grad is belief.mean.requires_grad is belief.sample(1).requires_grad is graph
    step, name = 1e-5, "last.0.bias"
    weight = dict(process.transformer.named_parameters())[name]
    (found,) = torch.autograd.grad(density.sum(), weight)
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            weight[0] += sign * step
            values.append(process.adapt(tasks.support)(tasks.query.x).log_prob(tasks.query.y, joint=True).sum())
            weight[0] -= sign * step
    torch.testing.assert_close((values[0] - values[1]) / (2 * step), found[0], rtol=1e-5, atol=1e-8)


def test_densities_in_inference_mode(tasks: Tasks) -> None:
    process, (x, y, _) = flowing(2), tasks.query
    expected = process.adapt(tasks.support)(x)
    with torch.inference_mode():
        inside = process.adapt(tasks.support)(x + 0)
        found = [inside.log_prob(y + 0, joint=True), inside.log_prob(y), inside.cdf(y), expected.log_prob(y)]
    found += [inside.log_prob(y)]  # of tensors that were made in inference mode
    densities = [expected.log_prob(y, joint=True), expected.log_prob(y), expected.cdf(y), *[expected.log_prob(y)] * 2]
    for one, other in zip(found, densities, strict=True):
        torch.testing.assert_close(one, other)
        assert not one.requires_grad


def test_several_outputs(tasks: Tasks) -> None:
    process = qs.FlowNP(1, 2, **SMALL, solver_steps=3)
    support, query = (Examples(part.x, torch.cat([part.y, -part.y], -1)) for part in tasks[:2])
    belief = process.adapt(support)(query.x)
    assert not hasattr(belief, "cdf") and belief.sample(2).shape == (2, 3, 4, 2)
    for name in ("cdf", "quantile", "interval"):
        with pytest.raises(
            NotImplementedError, match=rf"a FlowNP with 2 outputs has no {name} of one of them; use draws"
        ):
            getattr(belief, name)(0.5)
    one = process.adapt(support)(query.x[:, :2])
    assert one.log_prob(query.y[:, :2], joint=True).isfinite().all()


def test_it_is_evaluated_without_gradient_steps() -> None:
    torch.set_default_dtype(torch.float32)
    family = qs.tasks.GaussianProcess()
    found = qs.evaluate(qs.FlowNP(**SMALL, solver_steps=2), family, tasks=2, support=3, query=5)
    names = {"mse", "log_likelihood", "joint_log_likelihood", "coverage90", "calibration_error"}
    assert set(found) == {f"{name}/k=3" for name in names | {"oracle_log_likelihood", "oracle_joint_log_likelihood"}}


def test_arguments(tasks: Tasks) -> None:
    with pytest.raises(ValueError, match="samples=3"):
        qs.FlowNP(1, 2, samples=3)
    with pytest.raises(ValueError, match="samples=5; expected an even number"):
        qs.FlowNP(1, 2, samples=5)
    with pytest.raises(NotImplementedError, match="cannot tell a function's value from the noise"):
        flowing().adapt(tasks.support)(tasks.query.x).sample(1, noise=False)
