"""Tables: against all trajectories, enumerated."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from quickstudy.rl import TabularMDP


def _enumerated(transition: Tensor, reward: Tensor, policy: Tensor, horizon: int) -> tuple[float, float]:
    """Mean and variance of the return, over every trajectory from state 0."""
    states, actions = reward.shape
    mean = square = 0.0
    for path in itertools.product(*[range(actions), range(states)] * horizon):
        state, probability, total = 0, 1.0, 0.0
        for action, following in zip(path[::2], path[1::2], strict=True):
            probability *= float(policy[state, action] * transition[state, action, following])
            total += float(reward[state, action])
            state = following
        mean, square = mean + probability * total, square + probability * total**2
    return mean, square - mean**2


def test_the_return_of_a_policy_is_its_expectation() -> None:
    torch.set_default_dtype(torch.float64)
    count, horizon = 20_000, 2
    draw = torch.Generator().manual_seed(0)
    env = TabularMDP(states=3, actions=2, noise=0.5, num_envs=count, horizon=horizon)
    env.set_tasks(env.sample_tasks(2, generator=draw))
    policy = torch.rand(3, 2, generator=draw)
    policy /= policy.sum(1, keepdim=True)
    observation, _ = env.reset(generator=draw)
    total = torch.zeros(2, count)
    for _ in range(horizon):
        odds = observation @ policy
        step = env.step((torch.rand(2, count, generator=draw) > odds[..., 0]).long())
        observation, total = step.observation, total + step.reward
    for t in range(2):
        mean, variance = _enumerated(env.tasks["transition"][t], env.tasks["reward"][t], policy, horizon)
        variance += horizon * 0.5**2
        assert float(total[t].mean()) == pytest.approx(mean, abs=4 * math.sqrt(variance / count))
        assert float(total[t].var()) == pytest.approx(variance, rel=0.05)


def test_states_follow_the_table() -> None:
    env = TabularMDP(states=4, actions=2, num_envs=50_000, horizon=5)
    env.set_tasks(env.sample_tasks(1, generator=torch.Generator().manual_seed(0)))
    env.reset(generator=torch.Generator().manual_seed(1))
    found = env.step(torch.ones(1, 50_000, dtype=torch.long)).observation.mean((0, 1))
    torch.testing.assert_close(found, env.tasks["transition"][0, 0, 1], atol=0.01, rtol=0.0)


def test_a_state_without_probability_is_never_entered() -> None:
    row = torch.tensor([0.0, 0.1, 0.0, 0.9, 0.0]) * (1 - 1e-6)  # rounding may leave a little to nobody
    env = TabularMDP.from_tables(row.expand(5, 1, 5), torch.zeros(5, 1), num_envs=100_000, horizon=3)
    env.reset(generator=torch.Generator().manual_seed(0))
    seen = env.step(torch.zeros(1, 100_000, dtype=torch.long)).observation.sum((0, 1))
    assert seen[[0, 2, 4]].tolist() == [0, 0, 0] and seen[1] / 100_000 == pytest.approx(0.1, abs=0.01)


def test_random_tables_are_those_of_the_paper() -> None:
    tasks = TabularMDP().sample_tasks(200, generator=torch.Generator().manual_seed(0))
    transition, reward = tasks["transition"], tasks["reward"]
    assert transition.shape == (200, 10, 5, 10) and reward.shape == (200, 10, 5)
    torch.testing.assert_close(transition.sum(-1), torch.ones(200, 10, 5))
    assert transition.min() >= 0
    assert float(reward.mean()) == pytest.approx(1, abs=0.04) and float(reward.std()) == pytest.approx(1, abs=0.03)
    assert float(transition.var(unbiased=False)) == pytest.approx(9 / (100 * 11), rel=0.03)  # a flat Dirichlet's


def test_tables_of_one_task_and_of_several() -> None:
    transition, reward = torch.eye(3)[:, None].expand(3, 2, 3), torch.arange(6.0).view(3, 2)
    one = TabularMDP.from_tables(transition, reward, num_envs=2, horizon=4)
    two = TabularMDP.from_tables(transition.expand(2, 3, 2, 3), torch.stack([reward, -reward]), num_envs=2)
    assert (one.num_tasks, one.states, one.actions, one.horizon, two.num_tasks) == (1, 3, 2, 4, 2)
    two.reset()
    assert two.step(torch.tensor([[0, 1], [0, 1]])).reward.tolist() == [[0, 1], [0, -1]]


def test_bad_tables_are_refused() -> None:
    with pytest.raises(ValueError, match=r"transition of task 0, state 0, action 0 is \[0\.5, 0\.4.*sum to 1"):
        TabularMDP.from_tables(torch.tensor([[[0.5, 0.4]], [[0.5, 0.5]]]), torch.zeros(2, 1))
    with pytest.raises(ValueError, match=r"expected \[S, A, S\] and \[S, A\]"):
        TabularMDP.from_tables(torch.eye(2), torch.zeros(2, 1))
    with pytest.raises(ValueError, match="states=0"):
        TabularMDP(states=0)
    with pytest.raises(ValueError, match="noise=-1"):
        TabularMDP(noise=-1.0)
