"""Policies' distributions, against torch.distributions, and inside vmap and double backward."""

import math

import pytest
import torch
from torch.distributions import Categorical, Independent, Normal, kl_divergence

import quickstudy as qs
from quickstudy.rl.policy import CategoricalPolicy, GaussianPolicy


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)


def gaussian(da: int = 3) -> GaussianPolicy:
    return GaussianPolicy(qs.nets.MLP(4, [8], da), da)


def normal(outputs):
    mean, log_std = outputs.chunk(2, -1)
    return Independent(Normal(mean, log_std.exp()), 1)


def categorical(k: int = 3) -> CategoricalPolicy:
    return CategoricalPolicy(qs.nets.MLP(4, [8], k))


CASES = {"gaussian": (gaussian, normal), "categorical": (categorical, lambda outputs: Categorical(logits=outputs))}


def outputs_like(policy, *shape):
    return torch.randn(*shape, policy(torch.zeros(1, 4)).shape[-1])


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("shape", [(), (5,), (2, 3, 4)])
def test_functions_of_outputs_are_those_of_the_distribution(name, shape):
    make, distribution = CASES[name]
    policy = make()
    old, new = outputs_like(policy, *shape), outputs_like(policy, *shape)
    action = 3 * policy.sample(old) if name == "gaussian" else policy.sample(old)
    assert action.shape[: len(shape)] == shape
    torch.testing.assert_close(policy.log_prob(new, action), distribution(new).log_prob(action))
    torch.testing.assert_close(policy.entropy(new), distribution(new).entropy())
    torch.testing.assert_close(policy.kl(old, new), kl_divergence(distribution(old), distribution(new)))
    torch.testing.assert_close(policy.mode(new), distribution(new).mode)
    assert policy.kl(old, new).shape == policy.entropy(new).shape == shape


@pytest.mark.parametrize("name", CASES)
def test_kl_and_its_gradient_are_zero_where_nothing_changed(name):
    policy = CASES[name][0]()
    old = outputs_like(policy, 6)
    new = old.clone().requires_grad_()
    kl = policy.kl(old, new).sum()
    (gradient,) = torch.autograd.grad(kl, new)
    assert abs(kl.item()) < 1e-14 and gradient.abs().max() < 1e-14


@pytest.mark.parametrize("name", CASES)
def test_samples_are_of_the_distribution(name, generator):
    policy = CASES[name][0]()
    outputs, n = outputs_like(policy), 40_000
    action = policy.sample(outputs.expand(n, -1), generator)
    if name == "gaussian":
        expected = normal(outputs)
        assert ((action.mean(0) - expected.mean) / (expected.stddev / n**0.5)).abs().max() < 4
        assert (action.std(0) / expected.stddev - 1).abs().max() < 4 / (2 * n) ** 0.5
    else:
        share, p = action.bincount(minlength=3) / n, outputs.softmax(0)
        assert ((share - p) / (p * (1 - p) / n).sqrt()).abs().max() < 4


@pytest.mark.parametrize("name", CASES)
def test_one_generator_gives_all_random_numbers(name):
    policy = CASES[name][0]()
    outputs = outputs_like(policy, 2, 5)
    draw = lambda seed: policy.sample(outputs, torch.Generator().manual_seed(seed))  # noqa: E731
    assert torch.equal(draw(1), draw(1)) and not torch.equal(draw(1), draw(2))
    noise = policy.noise(outputs, steps=4, generator=torch.Generator().manual_seed(1))
    assert len(noise) == 4 and policy.act(outputs, noise[3]).shape == draw(1).shape
    with pytest.raises(TypeError, match=r"torch\.Generator"):
        policy.sample(outputs, 3)


@pytest.mark.parametrize("name", CASES)
def test_vmap_and_second_derivatives(name):
    policy = CASES[name][0]()
    old, outputs = outputs_like(policy, 4), outputs_like(policy, 4)
    action = policy.sample(old)
    for function in (
        lambda o, a, q: policy.log_prob(o, a),
        lambda o, a, q: policy.kl(q, o),
        lambda o, a, q: policy.entropy(o),
        lambda o, a, q: policy.mode(o).to(o.dtype).sum(-1) if name == "gaussian" else policy.mode(o),
    ):
        torch.testing.assert_close(torch.vmap(function)(outputs, action, old), function(outputs, action, old))
    leaf = outputs.clone().requires_grad_()
    fixed = (action, old)
    assert torch.autograd.gradgradcheck(lambda o: policy.log_prob(o, fixed[0]) + policy.kl(fixed[1], o), leaf)


def test_gaussian_log_std_is_learned_shared_and_bounded():
    policy = GaussianPolicy(qs.nets.MLP(4, [8], 2), 2)
    assert policy(torch.randn(5, 4))[:, 2:].eq(0).all() and "log_std" in dict(policy.named_parameters())
    with torch.no_grad():
        policy.log_std.fill_(-100)
    torch.testing.assert_close(policy(torch.randn(5, 4))[:, 2:], torch.full((5, 2), math.log(1e-6)))
    assert GaussianPolicy(qs.nets.MLP(4, [], 2), 2, log_std=-0.5)(torch.zeros(1, 4))[0, 2] == -0.5


def test_with_bounds_mean_and_deviation_are_in_units_of_the_box():
    low, high = [-0.1, 0.0], [0.1, 10.0]
    plain = GaussianPolicy(qs.nets.MLP(4, [8], 2), 2, log_std=-0.3)
    scaled = GaussianPolicy(plain.network, 2, log_std=-0.3, low=low, high=high)
    center, half = torch.tensor([0.0, 5.0]), torch.tensor([0.1, 5.0])
    observation = torch.randn(6, 4)
    before, outputs = plain(observation), scaled(observation)
    noise = plain.noise(before)[0]
    action = scaled.act(outputs, noise)
    torch.testing.assert_close(action, center + half * plain.act(before, noise))
    expected = plain.log_prob(before, plain.act(before, noise)) - half.log().sum()
    torch.testing.assert_close(scaled.log_prob(outputs, action), expected)
    torch.testing.assert_close(scaled.entropy(outputs), plain.entropy(before) + half.log().sum())
    other = plain(torch.randn(6, 4))
    rescaled = torch.cat([center + half * other[:, :2], other[:, 2:] + half.log()], 1)
    torch.testing.assert_close(scaled.kl(outputs, rescaled), plain.kl(before, other))
    again = GaussianPolicy(**scaled.config())
    assert torch.equal(again(observation), outputs)


@pytest.mark.parametrize(("low", "high"), [([0.0], [1.0]), ([0.0, 0.0], None), ([0.0, 1.0], [1.0, 1.0])])
def test_bounds_of_another_size_are_refused(low, high):
    with pytest.raises(ValueError, match="low"):
        GaussianPolicy(qs.nets.MLP(4, [8], 2), 2, low=low, high=high)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="action_dim=0"):
        GaussianPolicy(qs.nets.MLP(4, [8], 2), 0)
    with pytest.raises(ValueError, match="min_std"):
        GaussianPolicy(qs.nets.MLP(4, [8], 2), 2, min_std=0.0)
    with pytest.raises(ValueError, match="last layer must have 3 outputs"):
        GaussianPolicy(qs.nets.MLP(4, [8], 2), 3)(torch.zeros(1, 4))


@pytest.mark.parametrize("name", CASES)
def test_config_rebuilds_it(name):
    policy = CASES[name][0]()
    again = type(policy)(**policy.config())
    assert torch.equal(policy(torch.ones(2, 4)), again(torch.ones(2, 4)))
