"""Squashed normal distributions, against torch.distributions, scipy's integrals and arithmetic of 50 digits."""

import decimal
import itertools
import math

import numpy as np
import pytest
import scipy.integrate
import torch
from torch.distributions import Independent, Normal, TransformedDistribution
from torch.distributions.transforms import AffineTransform, TanhTransform

import quickstudy as qs
from quickstudy.rl import SquashedGaussianPolicy, rollout

LOW, HIGH = [-1.0, -2.0, 0.0], [1.0, 3.0, 10.0]


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)


def made(da=3, log_std=None, **options):
    network = qs.nets.MLP(4, [8], da if log_std is not None else 2 * da)
    return SquashedGaussianPolicy(network, LOW[:da], HIGH[:da], log_std=log_std, **options)


def torch_distribution(policy, outputs):
    mean, log_std = outputs.chunk(2, -1)
    scale = AffineTransform((policy.low + policy.high) / 2, (policy.high - policy.low) / 2, event_dim=1)
    return TransformedDistribution(Independent(Normal(mean, log_std.exp()), 1), [TanhTransform(), scale])


@pytest.mark.parametrize("shape", [(), (5,), (2, 3, 4)])
def test_density_is_that_of_torch_in_the_middle(shape):
    policy = made()
    outputs = 0.5 * torch.randn(*shape, 6)
    action = policy.sample(outputs)
    expected = torch_distribution(policy, outputs)
    torch.testing.assert_close(policy.log_prob(outputs, action), expected.log_prob(action), rtol=1e-7, atol=1e-7)
    assert policy.log_prob(outputs, action).shape == policy.entropy(outputs).shape == shape


@pytest.mark.parametrize(("mean", "std"), [(0.0, 0.3), (1.0, 0.8), (-2.0, 0.5), (0.5, 0.01)])
def test_density_integrates_to_one_and_entropy_is_its_integral(mean, std):
    policy = made(1)
    outputs = torch.tensor([mean, math.log(std)])

    def surprise(a, power):
        log_p = policy.log_prob(outputs, torch.tensor([a])).item()
        return math.exp(log_p) * (-log_p) ** power

    breaks = [math.tanh(mean + k * std) for k in range(-7, 8)]
    total, entropy = (
        sum(scipy.integrate.quad(surprise, a, b, (power,))[0] for a, b in itertools.pairwise(breaks))
        for power in (0, 1)
    )
    assert total == pytest.approx(1, abs=1e-8)
    assert policy.entropy(outputs).item() == pytest.approx(entropy, abs=1e-7)


@pytest.mark.parametrize("std", [1e-3, 1.0, 3.0, math.exp(2)])
@pytest.mark.parametrize("mean", [0.0, 1.0, -4.0, 40.0])
def test_entropy_of_any_spread(mean, std):
    def bend(z):
        u = mean + std * z
        return math.exp(-z * z / 2) * (math.log(4) - np.logaddexp(0, 2 * u) - np.logaddexp(0, -2 * u))

    inner = max(-9, min(9, -mean / std))
    expected = sum(scipy.integrate.quad(bend, a, b, limit=500)[0] for a, b in ((-9, inner), (inner, 9)) if a < b)
    entropy = expected / math.sqrt(2 * math.pi) + math.log(std) + math.log(2 * math.pi * math.e) / 2
    assert made(1).entropy(torch.tensor([mean, math.log(std)])).item() == pytest.approx(entropy, abs=1e-5)


def test_entropy_is_minus_the_mean_log_density_of_samples(generator):
    policy, n = made(), 40_000
    outputs = torch.tensor([0.3, -1.0, 2.0, -0.5, 0.4, -2.0])
    _, log_prob = policy.act_and_log_prob(outputs, policy.noise(outputs, steps=n, generator=generator))
    error = (-log_prob.mean() - policy.entropy(outputs)) / (log_prob.std() / n**0.5)
    assert abs(error) < 4


def exact_log_prob(mean, std, low, high, action):
    """The log-density of one component, from the decimal digits of the action."""
    decimal.getcontext().prec = 50
    mean, std, low, high, action = (decimal.Decimal(v) for v in (mean, std, low, high, action))
    u = ((action - low) / (high - action)).ln() / 2
    density = -(((u - mean) / std) ** 2) / 2 - std.ln() - decimal.Decimal(2 * math.pi).ln() / 2
    return float(density - (2 * (action - low) * (high - action) / (high - low)).ln())


@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (0.0, 1.0), (100.0, 101.0), (-2.0, 0.0)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_log_prob_of_an_action_is_exact_up_to_the_bounds(low, high, dtype):
    policy = SquashedGaussianPolicy(qs.nets.MLP(4, [], 2), [low], [high]).to(dtype)
    outputs = torch.tensor([0.5, math.log(0.7)], dtype=dtype)
    std = outputs[1].double().exp().item()
    for u in (-30.0, -8.0, -3.0, -0.5, 0.0, 1e-3, 0.2, 2.0, 6.0, 9.0, 30.0):
        action = policy.act(torch.tensor([u, -20.0], dtype=dtype), torch.zeros(1, dtype=dtype))
        assert low < action.item() < high
        found = policy.log_prob(outputs, action).item()
        expected = exact_log_prob(0.5, std, low, high, action.item())
        assert found == pytest.approx(expected, rel=30 * torch.finfo(dtype).eps, abs=30 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("u", [-100.0, -12.0, 0.0, 5.0, 12.0, 100.0])
def test_log_prob_of_a_draw_is_exact_beyond_rounding(u):
    policy = made(1).float()
    outputs = torch.tensor([1.0, 2.0])
    action, log_prob = policy.act_and_log_prob(outputs, (torch.tensor([u]) - 1) / math.exp(2))
    bend = math.log(4) - 2 * abs(u) - 2 * math.log1p(math.exp(-2 * abs(u)))
    expected = -(((u - 1) / math.exp(2)) ** 2) / 2 - 2 - math.log(2 * math.pi) / 2 - bend
    assert log_prob.item() == pytest.approx(expected, rel=1e-6) and -1 < action.item() < 1


def test_actions_beyond_the_bounds_have_no_density_and_no_nan():
    policy = made()
    outputs = torch.zeros(4, 6, requires_grad=True)
    low, high = policy.low, policy.high
    log_prob = policy.log_prob(outputs, torch.stack([low - 0.1, high + 0.1, high, low]))
    assert log_prob[:2].eq(-math.inf).all() and log_prob[2:].isfinite().all()
    (gradient,) = torch.autograd.grad(log_prob.sum(), outputs)
    assert gradient.isfinite().all() and gradient[:2].eq(0).all() and gradient[2:, :3].ne(0).all()


def test_kl_is_that_of_the_gaussians_and_the_integral_of_the_densities(generator):
    policy, n = made(), 100_000
    old, new = torch.tensor([0.2, 1.0, -1.0, -1.0, 0.2, 0.0]), torch.tensor([0.0, 0.8, -0.9, -0.8, 0.0, 0.1])
    action, log_prob = policy.act_and_log_prob(old, policy.noise(old, steps=n, generator=generator))
    difference = log_prob - policy.log_prob(new, action)
    assert abs((difference.mean() - policy.kl(old, new)) / (difference.std() / n**0.5)) < 4
    leaf = old.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(policy.kl(old, leaf), leaf)
    assert policy.kl(old, leaf).abs() < 1e-14 and gradient.abs().max() < 1e-14


def test_derivatives_of_draws_and_densities_are_those_of_finite_differences():
    policy = made()
    outputs, noise = 0.5 * torch.randn(4, 6), torch.randn(4, 3)
    action = policy.act(outputs, noise)
    leaf = outputs.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda o: policy.act_and_log_prob(o, noise), leaf)
    assert torch.autograd.gradcheck(policy.log_prob, (leaf, action.clone().requires_grad_()))
    assert torch.autograd.gradgradcheck(lambda o: policy.act_and_log_prob(o, noise), leaf)
    assert torch.autograd.gradgradcheck(lambda o: policy.log_prob(o, action) + policy.entropy(o), leaf)


def test_vmap():
    policy = made()
    outputs, old = torch.randn(4, 6), torch.randn(4, 6)
    action = policy.sample(old)
    for function in (policy.log_prob, lambda o, a: policy.entropy(o), lambda o, a: policy.mode(o)):
        torch.testing.assert_close(torch.vmap(function)(outputs, action), function(outputs, action))


def test_the_mode_is_the_median(generator):
    policy, n = made(), 20_000
    outputs = torch.randn(6)
    share = (policy.sample(outputs.expand(n, 6), generator) < policy.mode(outputs)).double().mean(0)
    assert (share - 0.5).abs().max() < 4 * 0.5 / n**0.5


def test_log_std_is_the_networks_or_a_learned_vector():
    assert "log_std" not in dict(made().named_parameters())
    policy = made(log_std=-0.5)
    assert policy(torch.randn(5, 4))[:, 3:].eq(-0.5).all() and "log_std" in dict(policy.named_parameters())
    bounded = made(log_std_range=(-1.0, 0.1))
    outputs = bounded(100 * torch.randn(50, 4))[:, 3:]
    assert outputs.min() == -1 and outputs.max() == 0.1


@pytest.mark.parametrize("log_std", [None, -1.0])
def test_adapted_policies_act_as_each_by_itself(log_std):
    environment, generator = qs.rl.Navigation2D(num_envs=3, horizon=5), torch.Generator().manual_seed(0)
    bounds = environment.action_space.low, environment.action_space.high
    network = qs.nets.MLP(2, [8], 2 if log_std is not None else 4)
    learner = qs.rl.MAMLTRPO(SquashedGaussianPolicy(network, *bounds, log_std=log_std), lr=0.5)
    environment.set_tasks(environment.sample_tasks(2, generator=generator))
    actor = learner.actor()
    actor = actor.adapt(actor.rollout(environment, generator=generator))
    noise = torch.randn(5, 2, 3, 2)
    together = rollout(environment, actor.policy, adapted=actor.adapted, noise=noise)
    low, high = (torch.as_tensor(bound) for bound in bounds)
    assert (together.action > low).all() and (together.action < high).all()
    for t in range(2):
        outputs = actor.task(t)(together.observation[t].flatten(0, 1)).unflatten(0, (3, 5))
        action = actor.policy.act(outputs, noise[:, t].movedim(0, 1))
        torch.testing.assert_close(together.action[t], action)
    assert learner.update(environment, generator=generator)["kl"] < 0.0101


def test_bad_arguments_are_refused():
    network = qs.nets.MLP(4, [], 2)
    for low, high, message in [
        ([-1.0], [1.0, 2.0], "one number for each component"),
        (-1.0, 1.0, "one number for each component"),
        ([-math.inf], [1.0], "finite bounds"),
        ([1.0], [1.0], "component 0 .* low < high"),
        (None, [1.0], "give both"),
    ]:
        with pytest.raises(ValueError, match=message):
            SquashedGaussianPolicy(network, low, high)
    with pytest.raises(ValueError, match="log_std_range"):
        made(log_std_range=(1.0, 0.0))
    with pytest.raises(ValueError, match="must have 4 outputs: the mean and the log standard deviation of 2"):
        SquashedGaussianPolicy(network, [-1.0, -1.0], [1.0, 1.0])(torch.zeros(1, 4))
    with pytest.raises(ValueError, match="must have 1 outputs: the mean of 1"):
        SquashedGaussianPolicy(network, [-1.0], [1.0], log_std=0.0)(torch.zeros(1, 4))


@pytest.mark.parametrize("log_std", [None, -1.0])
def test_it_is_saved_and_loaded(tmp_path, log_std):
    policy = made(log_std=log_std)
    qs.save(policy, tmp_path / "policy")
    again = qs.load(tmp_path / "policy")
    assert torch.equal(policy(torch.ones(2, 4)), again(torch.ones(2, 4)))
    assert torch.equal(again.high, policy.high)
