"""Policies with several discrete components, against a categorical distribution over all combinations."""

import itertools

import numpy as np
import pytest
import torch
from gymnasium.spaces import MultiDiscrete
from rl.levers import levers
from torch.distributions import Categorical

import quickstudy as qs
from quickstudy.rl import CategoricalPolicy, MultiDiscretePolicy, VectorEnv, rollout

CHOICES = [3, 1, 2]
ACTIONS = torch.tensor(list(itertools.product(*(range(n) for n in CHOICES))))


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)


def made(choices=CHOICES, inputs=4):
    return MultiDiscretePolicy(qs.nets.MLP(inputs, [8], sum(choices)), choices)


def flat_logits(outputs):
    """Log-probabilities `[..., 6]` of all combinations."""
    parts = [part.log_softmax(-1) for part in outputs.split(CHOICES, -1)]
    return sum(part[..., ACTIONS[:, i]] for i, part in enumerate(parts))


@pytest.mark.parametrize("shape", [(), (5,), (2, 3, 4)])
def test_functions_of_outputs_are_those_of_all_combinations(shape):
    policy, old, new = made(), torch.randn(*shape, 6), torch.randn(*shape, 6)
    before, after = Categorical(logits=flat_logits(old)), Categorical(logits=flat_logits(new))
    torch.testing.assert_close(policy.entropy(new), after.entropy())
    torch.testing.assert_close(policy.kl(old, new), torch.distributions.kl_divergence(before, after))
    torch.testing.assert_close(policy.mode(new), ACTIONS[after.mode])
    which = before.sample()
    torch.testing.assert_close(policy.log_prob(new, ACTIONS[which]), after.log_prob(which))
    assert policy.sample(old).shape == (*shape, 3) and policy.kl(old, new).shape == shape


def test_samples_are_of_the_distribution(generator):
    policy, outputs, n = made(), torch.randn(6), 40_000
    action = policy.sample(outputs.expand(n, 6), generator)
    share = torch.stack([(action == one).all(1).double().mean() for one in ACTIONS])
    p = flat_logits(outputs).exp()
    assert ((share - p) / (p * (1 - p) / n).sqrt()).abs().max() < 4


def test_vmap_and_second_derivatives():
    policy, old, outputs = made(), torch.randn(4, 6), torch.randn(4, 6)
    action = policy.sample(old)
    for function in (policy.log_prob, lambda o, a: policy.entropy(o), lambda o, a: policy.mode(o)):
        torch.testing.assert_close(torch.vmap(function)(outputs, action), function(outputs, action))
    leaf = outputs.clone().requires_grad_()
    assert torch.autograd.gradgradcheck(lambda o: policy.log_prob(o, action) + policy.kl(old, o), leaf)


@pytest.mark.parametrize("shape", [(2,), (1, 2)])
def test_actions_of_any_shape_and_start_reach_gymnasium(shape):
    env = levers(shape=shape)
    assert env.action_space == MultiDiscrete([3, 2])
    env.set_tasks({"goal": torch.zeros(2)})
    before, _ = env.reset(generator=torch.Generator().manual_seed(0))
    action = torch.randint(2, (2, 4, 2))
    step = env.step(action)
    torch.testing.assert_close(step.observation, before + 0.1 * (action - torch.tensor([1, 0])), atol=1e-6, rtol=1e-6)


def test_a_policy_adapts_and_learns():
    env, generator = levers(), torch.Generator().manual_seed(0)
    learner = qs.rl.MAMLTRPO(made([3, 2], 2).float(), lr=2.0)
    torch.set_default_dtype(torch.float32)
    env = levers()
    env.set_tasks({"goal": torch.tensor([-5.0, 5.0])})
    found = [learner.update(env, generator=generator) for _ in range(12)]
    assert all(step["kl"] <= 0.01 for step in found)
    actor = learner.actor()
    episodes = actor.rollout(env, generator=generator)
    after = actor.adapt(episodes).rollout(env, generator=generator)
    assert after.action.shape == (2, 4, 8, 2) and after.action.dtype == torch.long
    assert after.action[0, ..., 0].float().mean() < 0.9 < 1.1 < after.action[1, ..., 0].float().mean()


def test_vector_environments_take_them():
    envs = VectorEnv(levers(), num_tasks=3)
    envs.reset(seed=0)
    assert envs.action_space.shape == (12, 2)
    observation, reward, *_ = envs.step(envs.action_space.sample())
    assert observation.shape == (12, 2) and np.isfinite(reward).all()


@pytest.mark.parametrize(
    ("action", "error", "message"),
    [
        (torch.zeros(2, 4, dtype=torch.long), ValueError, r"expected \[T, E, d\] = \[2, 4, 2\]"),
        (torch.zeros(2, 4, 2), TypeError, r"expected integers from 0 to \[2, 1\]"),
        (torch.tensor([0, 2]).expand(2, 4, 2), ValueError, r"action \[0, 2\] at task 0, environment 0; .* \[2, 1\]"),
        (torch.tensor([-1, 0]).expand(2, 4, 2), ValueError, r"action \[-1, 0\]"),
    ],
)
def test_wrong_actions_are_refused(action, error, message):
    env = levers()
    env.set_tasks({"goal": torch.zeros(2)})
    env.reset()
    with pytest.raises(error, match=message):
        env.step(action)


def test_bad_input_is_refused():
    for choices, message in [([], "choices is empty"), ([3, 0], "choices=0"), ([2.5], "choices=2.5")]:
        with pytest.raises(ValueError, match=message):
            MultiDiscretePolicy(qs.nets.MLP(4, [], 3), choices)
    with pytest.raises(ValueError, match="must have 4 outputs"):
        MultiDiscretePolicy(qs.nets.MLP(4, [], 3), [2, 2])(torch.zeros(1, 4))
    torch.set_default_dtype(torch.float32)
    env = levers()
    env.set_tasks({"goal": torch.zeros(2)})
    for other in (CategoricalPolicy(qs.nets.MLP(2, [], 5)), MultiDiscretePolicy(qs.nets.MLP(2, [], 5), [2, 2, 1])):
        with pytest.raises(ValueError, match=r"use MultiDiscretePolicy with a network of 5 outputs, choices=\[3, 2\]"):
            rollout(env, other)


def test_it_is_saved_and_loaded(tmp_path):
    policy = MultiDiscretePolicy(qs.nets.MLP(4, [8], 6), np.array(CHOICES))
    qs.save(policy, tmp_path / "policy")
    assert torch.equal(policy(torch.ones(2, 4)), qs.load(tmp_path / "policy")(torch.ones(2, 4)))
