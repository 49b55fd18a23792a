"""Slot machines."""

import math
from typing import Any

import pytest
import torch

from quickstudy.rl import Bandit


def test_arms_pay_as_often_as_they_should() -> None:
    env = Bandit(arms=3, num_envs=3000)
    probability = torch.tensor([[0.1, 0.5, 0.9], [1.0, 0.0, 0.3]])
    env.set_tasks({"probability": probability})
    observation, _ = env.reset(generator=torch.Generator().manual_seed(0))
    action = torch.arange(3).repeat(1000).expand(2, 3000)
    total = torch.zeros(2, 3000)
    for _ in range(10):
        step = env.step(action)
        assert set(step.reward.unique().tolist()) <= {0.0, 1.0} and torch.equal(step.observation, observation)
        total += step.reward
    mean = torch.stack([total[:, arm::3].mean(1) / 10 for arm in range(3)], 1)
    error = (probability * (1 - probability)).sqrt() / math.sqrt(10_000)
    assert bool(((mean - probability).abs() <= 4 * error).all())
    assert bool((observation == 1).all())


def test_an_episode_is_n_pulls() -> None:
    env = Bandit(arms=2, num_envs=1, horizon=3)
    env.set_tasks({"probability": torch.ones(1, 2)})
    env.reset()
    steps = [env.step(torch.zeros(1, 1, dtype=torch.long)) for _ in range(4)]
    assert [s.reward.item() for s in steps] == [1, 1, 1, 0]
    assert [s.truncated.item() for s in steps] == [False, False, True, True]


@pytest.mark.parametrize("change", [{"arms": 0}, {"probability": (0.0, 1.5)}, {"probability": -0.1}], ids=str)
def test_bad_options_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected|must be"):
        Bandit(**change)


def test_bad_probabilities_are_refused() -> None:
    with pytest.raises(ValueError, match=r"probability goes from 0\.5 to 1\.5; expected 0 to 1"):
        Bandit(arms=2).set_tasks({"probability": torch.tensor([[0.5, 1.5]])})
