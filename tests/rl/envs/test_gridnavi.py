"""The grid: against a plain loop, and by hand."""

import pytest
import torch

from quickstudy.rl import GridNavi, Simulator


def walked(goal: list[float], actions: list[int], cells: int) -> tuple[list[list[float]], list[float]]:
    """The cells and rewards of one walker, step by step."""
    x, y, places, rewards = 0.0, 0.0, [], []
    for action in actions:
        if action == 1:
            y = min(y + 1, cells - 1)
        elif action == 2:
            x = min(x + 1, cells - 1)
        elif action == 3:
            y = max(y - 1, 0)
        elif action == 4:
            x = max(x - 1, 0)
        places.append([x, y])
        rewards.append(1.0 if [x, y] == goal else -0.1)
    return places, rewards


@pytest.mark.parametrize("cells", [3, 5])
def test_walks_are_those_of_a_plain_loop(cells: int) -> None:
    env = GridNavi(cells=cells, num_envs=30, horizon=15)
    env.set_tasks({"goal": env.goals})
    action = torch.randint(5, (15, env.num_tasks, 30), generator=torch.Generator().manual_seed(0))
    observation, _ = env.reset()
    assert observation.shape == (cells**2 - 4, 30, 2) and not observation.any()
    steps = [env.step(a) for a in action]
    rewarded = 0
    for t, goal in enumerate(env.goals.tolist()):
        for e in range(30):
            places, rewards = walked(goal, action[:, t, e].tolist(), cells)
            assert [step.observation[t, e].tolist() for step in steps] == places
            assert [float(step.reward[t, e]) for step in steps] == pytest.approx(rewards)
            rewarded += 1.0 in rewards
    assert rewarded > 30  # walks that were on their goal
    assert [bool(step.truncated.all()) for step in steps] == [False] * 14 + [True]
    assert not any(bool(step.terminated.any()) for step in steps)


def test_the_goals_are_all_cells_but_those_around_the_start() -> None:
    env = GridNavi()
    near = [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert env.goals.tolist() == [[x, y] for x in range(5) for y in range(5) if [x, y] not in near]
    for split in ("train", "validation", "test"):
        goal = env.sample_tasks(21_000, split=split, generator=torch.Generator().manual_seed(0))["goal"]
        found, counts = goal.unique(dim=0, return_counts=True)
        assert torch.equal(found, env.goals) and 850 < int(counts.min()) and int(counts.max()) < 1150  # 4.8 sd


def test_one_walker_begins_again_and_the_others_go_on() -> None:
    env = GridNavi(num_envs=2, horizon=3)
    env.set_tasks({"goal": torch.tensor([[2.0, 0.0], [0.0, 2.0]])})
    env.reset()
    right = torch.full((2, 2), 2)
    for _ in range(2):
        env.step(right)
    observation, _ = env.reset(torch.tensor([[True, False], [False, False]]))
    assert observation.tolist() == [[[0, 0], [2, 0]], [[2, 0], [2, 0]]]
    step = env.step(right)
    assert step.truncated.tolist() == [[False, True], [True, True]]
    again = env.step(right)  # those that are truncated stay, without reward
    assert again.observation.tolist() == [[[2, 0], [3, 0]], [[3, 0], [3, 0]]]
    assert again.reward.tolist() == [[1, 0], [0, 0]]


def test_a_step_is_the_dynamics() -> None:
    env = GridNavi(num_envs=5)
    assert isinstance(env, Simulator)
    env.set_tasks(env.sample_tasks(3, generator=torch.Generator().manual_seed(0)))
    state, _ = env.reset()
    for _ in range(6):
        action = torch.randint(5, (3, 5))
        expected, reward, ended = env.dynamics(env.tasks, state, action)
        step = env.step(action)
        assert torch.equal(step.observation, expected) and torch.equal(step.reward, reward)
        assert torch.equal(step.terminated, ended)
        many = env.dynamics(env.tasks, state[:, None].expand(3, 4, 5, 2), action[:, None].expand(3, 4, 5))
        assert torch.equal(many[0][:, 2], expected) and torch.equal(many[1][:, 3], reward)
        state = expected


@pytest.mark.parametrize("goal", [[5.0, 0.0], [-1.0, 3.0], [2.5, 3.0], [1.0, 1.0]])
def test_a_goal_that_cannot_be_is_refused(goal: list[float]) -> None:
    with pytest.raises(
        ValueError, match=r"goal of task 1 is \[.*expected a cell \(x, y\) of whole numbers from 0 to 4"
    ):
        GridNavi().set_tasks({"goal": torch.tensor([[2.0, 2.0], goal])})


def test_goals_may_be_integers() -> None:
    env = GridNavi(num_envs=1)
    env.set_tasks({"goal": torch.tensor([[2, 0]])})
    env.reset()
    assert env.step(torch.tensor([[2]])).reward.item() == pytest.approx(-0.1)
    assert env.step(torch.tensor([[2]])).reward.item() == 1


def test_bad_options_are_refused() -> None:
    with pytest.raises(ValueError, match="cells=2"):
        GridNavi(cells=2)
