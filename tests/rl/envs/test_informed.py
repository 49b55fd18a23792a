"""Observations that hold the task."""

from typing import Any

import pytest
import torch

from quickstudy.rl import Bandit, CartPole, GridNavi, Informed, Navigation2D, TabularMDP
from quickstudy.testing import check_environment


@pytest.mark.parametrize(
    ("make", "show", "size"),
    [
        (lambda: CartPole(num_envs=2, horizon=4), ("masspole",), 1),
        (lambda: CartPole(num_envs=2, horizon=4), ("masspole", "force_mag", "gravity"), 3),
        (lambda: Navigation2D(num_envs=2, horizon=4), ("goal",), 2),
        (lambda: Bandit(arms=3, num_envs=2, horizon=4), ("probability",), 3),
        (lambda: GridNavi(num_envs=2, horizon=4), ("goal",), 2),
        (lambda: TabularMDP(states=3, actions=2, num_envs=2, horizon=4), ("reward", "transition"), 6 + 18),
    ],
    ids=["a number", "numbers", "a vector", "a row", "a cell", "tables"],
)
def test_observations_end_with_the_task(make: Any, show: Any, size: int) -> None:
    env = Informed(make(), show)
    tasks = env.sample_tasks(3, generator=torch.Generator().manual_seed(0))
    env.set_tasks(tasks)
    observation, _ = env.reset(generator=torch.Generator().manual_seed(1))
    expected = torch.cat([tasks[name].reshape(3, -1) for name in show], 1)
    assert expected.shape == (3, size) and env.observation_space.shape == observation.shape[2:]
    assert torch.equal(observation[:, 0, -size:], expected) and torch.equal(observation[:, 1, -size:], expected)


def test_a_cart_that_knows_its_masses_keeps_the_contract() -> None:
    assert check_environment(lambda: Informed(CartPole(num_envs=4, horizon=6), ("masscart", "masspole"))).passed


def test_tasks_that_were_refused_are_not_shown() -> None:
    env = Informed(CartPole(num_envs=2), ("masspole",))
    tasks = env.sample_tasks(2)
    env.set_tasks(tasks)
    with pytest.raises(ValueError, match="masspole of task 0 is -1"):
        env.set_tasks(tasks | {"masspole": torch.tensor([-1.0, 1.0])})
    assert torch.equal(env.reset()[0][:, 0, -1], tasks["masspole"])
