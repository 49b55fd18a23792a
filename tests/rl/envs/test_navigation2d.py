"""The point on the plane: by hand, against closed forms, and its other boards."""

import math
from typing import Any

import pytest
import torch

from quickstudy.rl import Navigation2D, Simulator


def _at(goal: list[float], env: Navigation2D | None = None) -> Navigation2D:
    env = env or Navigation2D(num_envs=1)
    env.set_tasks({"goal": torch.tensor([goal])})
    env.reset(generator=torch.Generator().manual_seed(0))
    return env


def _move(env: Navigation2D, *action: float) -> Any:
    return env.step(torch.tensor(action).view(1, 1, 2))


def test_a_step_by_hand() -> None:
    env = _at([0.3, -0.4])
    step = _move(env, 0.5, -3.0)
    torch.testing.assert_close(step.observation, torch.tensor([[[0.05, -0.1]]]))
    assert step.reward.item() == pytest.approx(-math.hypot(0.25, 0.3))
    assert not step.terminated and not step.truncated


@pytest.mark.parametrize(("goal", "there"), [([0.109, 0.0], True), ([0.109, 0.009], True), ([0.111, 0.0], False)])
def test_arrives_in_a_box(goal: list[float], there: bool) -> None:
    assert bool(_move(_at(goal), 1.0, 0.0).terminated) is there


def test_arrives_in_a_disc() -> None:
    env = Navigation2D(num_envs=1, arrival="disc")
    assert not _move(_at([0.109, 0.009], env), 1.0, 0.0).terminated
    assert _move(_at([0.109, 0.004], env), 1.0, 0.0).terminated


def _return(env: Navigation2D, greedy: bool) -> float:
    """Mean over tasks of the return of staying where one is, or of walking straight to the goal."""
    goal = env.tasks["goal"][:, None]
    observation, _ = env.reset()
    total = torch.zeros(env.num_tasks, env.num_envs)
    for _ in range(env.horizon):
        step = env.step((goal - observation) / 0.1 * greedy)
        observation, total = step.observation, total + step.reward
    assert bool((step.terminated if greedy else step.truncated).float().mean() > 0.99)
    return float(total.mean())


def test_returns_of_staying_and_of_walking_straight() -> None:
    """Over 1,000 goals of U(-0.5, 0.5)², beside the exact expectations.

    Staying costs the mean distance from a unit square's middle to its points, (√2 + ln(1 + √2)) / 6, 100 times.
    Straight on, after k steps what is left of each coordinate u ~ U(0, 0.5) is max(u - k/10, 0): both are left with
    probability (2c)², c = 0.5 - k/10, and then uniform on [0, c]², whose mean norm is 2c times the above; one alone
    with probability 2 (2c) (1 - 2c), and c/2 on average.
    """
    mean = (math.sqrt(2) + math.log(1 + math.sqrt(2))) / 6
    left = [0.5 - k / 10 for k in range(1, 5)]
    straight = sum((2 * c) ** 2 * 2 * c * mean + 2 * (2 * c) * (1 - 2 * c) * c / 2 for c in left)
    assert (round(100 * mean, 2), round(straight, 2)) == (38.26, 0.51)
    env = Navigation2D(num_envs=1)
    env.set_tasks(env.sample_tasks(1000, generator=torch.Generator().manual_seed(0)))
    error = 100 * math.sqrt(1 / 6 - mean**2) / math.sqrt(1000)  # E|g|² = 1/6
    assert _return(env, False) == pytest.approx(-100 * mean, abs=3 * error)
    assert _return(env, True) == pytest.approx(-straight, abs=0.05)


def test_goals_of_each_board() -> None:
    draw = torch.Generator().manual_seed(0)
    goal = Navigation2D().sample_tasks(4000, generator=draw)["goal"]
    assert goal.abs().max() <= 0.5 and goal.std(0) == pytest.approx(math.sqrt(1 / 12), abs=0.01)
    goal = Navigation2D.unit_board().sample_tasks(4000, generator=draw)["goal"]
    assert goal.min() >= 0 and goal.max() <= 1 and goal.mean() == pytest.approx(0.5, abs=0.02)
    goal = Navigation2D.semicircle().sample_tasks(4000, generator=draw)["goal"]
    torch.testing.assert_close(goal.norm(dim=1), torch.ones(4000))
    assert goal[:, 1].min() >= -1e-6 and goal[:, 0].mean() == pytest.approx(0, abs=0.05)
    goal = Navigation2D.corners().sample_tasks(4000, generator=draw)["goal"]
    corners, counts = goal.unique(dim=0, return_counts=True)
    assert corners.tolist() == [[-2, -2], [-2, 2], [2, -2], [2, 2]] and counts.min() > 900


def test_the_unit_board_moves_by_the_mean_of_two_actions() -> None:
    env = _at([0.9, 0.9], Navigation2D.unit_board(num_envs=1, noise=0.0))
    torch.testing.assert_close(_move(env, 0.1, -5.0).observation, torch.tensor([[[0.55, 0.45]]]))
    torch.testing.assert_close(_move(env, 0.0, 0.0).observation, torch.tensor([[[0.6, 0.4]]]))
    torch.testing.assert_close(_move(env, 0.0, 0.0).observation, torch.tensor([[[0.6, 0.4]]]))


def test_a_new_episode_forgets_the_last_action() -> None:
    env = Navigation2D.unit_board(num_envs=2, noise=0.0)
    env.set_tasks({"goal": torch.tensor([[0.9, 0.9]])})
    env.reset()
    env.step(torch.full((1, 2, 2), 0.1))
    env.reset(torch.tensor([[True, False]]))
    observation = env.step(torch.zeros(1, 2, 2)).observation
    torch.testing.assert_close(observation, torch.tensor([[[0.5, 0.5], [0.6, 0.6]]]))


def test_walls_reflect_and_noise_is_as_large_as_said() -> None:
    env = Navigation2D.unit_board(num_envs=20_000)
    tasks = {"goal": torch.tensor([[5.0, 5.0]])}
    state, still = torch.zeros(1, 20_000, 4), torch.zeros(1, 20_000, 2)
    state[..., :2] = 0.5
    moved = env.dynamics(tasks, state, still, torch.Generator().manual_seed(0))[0][..., :2]
    assert float(moved.std()) == pytest.approx(0.1, rel=0.02) and float(moved.mean()) == pytest.approx(0.5, abs=0.003)
    quiet = Navigation2D(walls=(0.0, 1.0), scaled=False, reach=10.0)
    places = torch.tensor([[[0.2, 0.9], [0.2, 0.9], [0.5, 0.5]]])
    moves = torch.tensor([[[-0.3, 0.3], [1.0, -1.0], [2.2, -1.7]]])
    found = quiet.dynamics(tasks, places, moves)[0]
    torch.testing.assert_close(found, torch.tensor([[[0.1, 0.8], [0.8, 0.1], [0.7, 0.8]]]))


def test_near_is_rewarded_within_its_radius_only() -> None:
    env = Navigation2D.semicircle()
    places = torch.tensor([[[0.0, 0.0], [0.0, 0.79], [0.0, 0.81], [0.0, 1.0]]])
    _, reward, ended = env.dynamics({"goal": torch.tensor([[0.0, 1.0]])}, places, torch.zeros(1, 4, 2))
    torch.testing.assert_close(reward, torch.tensor([[0.0, 0.0, 0.81, 1.0]]))
    assert not bool(ended.any())


def test_walks_on_the_semicircle_are_those_of_a_plain_loop() -> None:
    """100 steps from (0, 0), by up to 0.1 in each coordinate; 1 - |s' - g| within 0.2 of the goal, 0 elsewhere."""
    torch.set_default_dtype(torch.float64)
    env, chance = Navigation2D.semicircle(num_envs=4), torch.Generator().manual_seed(0)
    env.set_tasks(env.sample_tasks(3, generator=chance))
    observation, _ = env.reset()
    assert observation.shape == (3, 4, 2) and not observation.any()
    goal = env.tasks["goal"][:, None]
    action = (goal - observation).expand(100, 3, 4, 2) + 2 * torch.randn(100, 3, 4, 2, generator=chance)
    steps = [env.step(a) for a in action]
    assert [bool(step.truncated.all()) for step in steps] == [False] * 99 + [True]
    paid = 0
    for t, e in ((t, e) for t in range(3) for e in range(4)):
        x = y = 0.0
        goal_x, goal_y = env.tasks["goal"][t].tolist()
        for h, step in enumerate(steps):
            dx, dy = (0.1 * min(max(move, -1.0), 1.0) for move in action[h, t, e].tolist())
            x, y = x + dx, y + dy
            away = math.hypot(x - goal_x, y - goal_y)
            assert step.observation[t, e].tolist() == pytest.approx([x, y])
            assert float(step.reward[t, e]) == pytest.approx(1 - away if away <= 0.2 else 0.0)
            paid += away <= 0.2
        assert not bool(step.terminated[t, e])
    assert paid > 10


def test_progress_is_rewarded_in_the_goals_quadrant_only() -> None:
    env = Navigation2D.corners()
    places = torch.tensor([[[0.0, 0.0], [1.0, 1.0], [1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0]]])
    moves = torch.tensor([[[0.2, 0.2], [0.2, 0.2], [-0.2, -0.2], [0.2, 0.2], [0.2, 0.2]]])
    _, reward, ended = env.dynamics({"goal": torch.tensor([[2.0, 2.0]])}, places, moves)
    step = math.sqrt(0.08)
    torch.testing.assert_close(reward, torch.tensor([[0.0, step, -step, 0.0, 0.0]]))
    assert not bool(ended.any())


@pytest.mark.parametrize("board", [Navigation2D, Navigation2D.semicircle, Navigation2D.corners])
def test_a_step_is_the_dynamics(board: Any) -> None:
    env = board(num_envs=5)
    assert isinstance(env, Simulator)
    env.set_tasks(env.sample_tasks(3))
    state, _ = env.reset()
    for _ in range(3):
        action = torch.randn(3, 5, 2)
        expected, reward, ended = env.dynamics(env.tasks, state, action)
        step = env.step(action)
        assert torch.equal(step.observation, expected) and torch.equal(step.reward, reward)
        assert torch.equal(step.terminated, ended)
        many = env.dynamics(env.tasks, state[:, None].expand(3, 4, 5, 2), action[:, None].expand(3, 4, 5, 2))
        torch.testing.assert_close(many[0][:, 2], expected)
        torch.testing.assert_close(many[1][:, 3], reward)
        state = expected


def test_the_dynamics_can_be_differentiated() -> None:
    env, action = Navigation2D(), torch.full((1, 2), 0.3, requires_grad=True)
    _, reward, _ = env.dynamics({"goal": torch.tensor([[0.5, 0.0]])}, torch.zeros(1, 2), action)
    reward.sum().backward()
    assert action.grad is not None and action.grad[0, 0] > 0 > action.grad[0, 1]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"goals": "moon"}, "goals='moon'"),
        ({"start": (1.0, 0.0)}, "low <= high"),
        ({"noise": -1.0}, "noise=-1.0"),
        ({"walls": (1.0, 1.0)}, "low < high"),
        ({"inertia": 1.0}, "below 1"),
        ({"reward": "fame"}, "reward='fame'; choose one of distance, near, progress"),
        ({"arrival": "late"}, "arrival='late'; choose one of box, disc, never"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_bad_options_are_refused(change: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        Navigation2D(**change)
