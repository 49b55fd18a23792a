"""The pendulum and its motor, beside gymnasium's own."""

import math
from typing import Any

import gymnasium
import pytest
import torch
from torch import Tensor

from quickstudy.rl import Pendulum, Simulator
from quickstudy.rl.envs.swing_up.pendulum import PHYSICS

STANDARD = {"mass": 1.0, "length": 1.0, "gravity": 10.0, "max_torque": 2.0}
TASKS: list[dict[str, float]] = [
    STANDARD,
    STANDARD | {"mass": 0.3, "max_torque": 3.0},
    STANDARD | {"length": 0.5, "gravity": 3.7},
    STANDARD | {"length": 1.7, "max_torque": 1.0},
]
NAMES = {"mass": "m", "length": "l", "gravity": "g", "max_torque": "max_torque"}


def _as_tensors(tasks: list[dict[str, float]]) -> dict[str, Tensor]:
    return {k: torch.tensor([task[k] for task in tasks]) for k in PHYSICS}


def _theirs(task: dict[str, float], state: Tensor) -> Any:
    """gymnasium's environment with this physics, in this state."""
    env: Any = gymnasium.make("Pendulum-v1").unwrapped
    for name, value in task.items():
        setattr(env, NAMES[name], value)
    env.reset(seed=0)
    cos, sin, speed = state.tolist()
    env.state = torch.tensor([math.atan2(sin, cos), speed]).numpy()
    return env


@pytest.mark.parametrize("strength", [0.5, 4.0], ids=["weak", "beyond the motor"])
def test_step_by_step_as_gymnasium(strength: float) -> None:
    """Pushed in the direction of the motion, so that the pendulum turns over and reaches the largest speed."""
    torch.set_default_dtype(torch.float64)
    ours = Pendulum(num_envs=3, horizon=200)
    ours.set_tasks(_as_tensors(TASKS))
    state, _ = ours.reset(generator=torch.Generator().manual_seed(0))
    theirs = [[_theirs(task, state[t, e]) for e in range(3)] for t, task in enumerate(TASKS)]
    fastest = turns = 0.0
    for _ in range(200):
        action = strength * torch.rand(len(TASKS), 3, 1) * state[..., 2:].sign()
        step = ours.step(action)
        for t, others in enumerate(theirs):
            for e, other in enumerate(others):
                _, reward, terminated, _, _ = other.step(action[t, e].numpy())
                angle, speed = other.state
                expected = torch.tensor([math.cos(angle), math.sin(angle), speed])
                torch.testing.assert_close(step.observation[t, e], expected, rtol=1e-9, atol=1e-9)
                assert step.reward[t, e].item() == pytest.approx(reward, abs=1e-8) and not terminated
                fastest, turns = max(fastest, abs(speed)), max(turns, abs(angle))
        state = step.observation
    assert not bool(step.terminated.any()) and bool(step.truncated.all())
    assert strength < 1 or (fastest == 8.0 and turns > 2 * math.pi)


def test_two_tasks_differ() -> None:
    """In every part of the physics, from the same state by the same torque."""
    env = Pendulum(num_envs=1)
    for name in PHYSICS:
        tasks = _as_tensors([STANDARD, STANDARD | {name: 0.7 * STANDARD[name]}])
        state = torch.tensor([0.6, 0.8, 0.5]).expand(2, 1, 3)
        following, _, _ = env.dynamics(tasks, state, torch.full((2, 1, 1), 1.9))
        assert bool(((following[0] - following[1]).abs() > 1e-4).all()), name


def test_physics_is_drawn_from_its_ranges() -> None:
    env = Pendulum(mass=(0.5, 1.5), length=(0.3, 0.4), max_torque=(1.0, 3.0))
    tasks = env.sample_tasks(2000, generator=torch.Generator().manual_seed(0))
    assert 0.5 <= float(tasks["mass"].min()) < 0.51 and 1.49 < float(tasks["mass"].max()) <= 1.5
    assert 0.3 <= float(tasks["length"].min()) and float(tasks["length"].max()) <= 0.4
    assert bool((tasks["gravity"] == 10).all()) and tasks["max_torque"].mean() == pytest.approx(2.0, abs=0.05)
    assert env.action_space.high.tolist() == [3.0]
    assert {k: float(v[0]) for k, v in Pendulum.standard().sample_tasks(1).items()} == STANDARD


def test_starts_as_gymnasium() -> None:
    env = Pendulum(num_envs=2000)
    env.set_tasks(env.sample_tasks(1))
    start, _ = env.reset(generator=torch.Generator().manual_seed(0))
    angle = torch.atan2(start[..., 1], start[..., 0])
    assert angle.std() == pytest.approx(math.pi / math.sqrt(3), rel=0.03) and angle.abs().max() > 3.1
    assert start[..., 2].abs().max() <= 1 and start[..., 2].std() == pytest.approx(1 / math.sqrt(3), rel=0.04)


def test_a_step_is_the_dynamics_and_the_dynamics_take_any_shape() -> None:
    env = Pendulum(num_envs=5)
    assert isinstance(env, Simulator)
    env.set_tasks(env.sample_tasks(3))
    state, _ = env.reset()
    action = 4 * torch.rand(3, 5, 1) - 2
    expected, _, _ = env.dynamics(env.tasks, state, action)
    torch.testing.assert_close(env.step(action).observation, expected)
    many, reward, ended = env.dynamics(env.tasks, state[:, None].expand(3, 4, 5, 3), action[:, None].expand(3, 4, 5, 1))
    torch.testing.assert_close(many[:, 1], expected)
    assert reward.shape == ended.shape == (3, 4, 5)
    torch.testing.assert_close(env.dynamics(env.tasks, state[:, 0], action[:, 0])[0], expected[:, 0])


def test_gymnasium_makes_it() -> None:
    env = gymnasium.make("quickstudy/Pendulum-v0", mass=1.0, render_mode="rgb_array")
    env.reset(seed=0)
    steps = [env.step(env.action_space.sample()) for _ in range(200)]
    picture: Any = env.render()
    assert [step[3] for step in steps].index(True) == 199 and picture.shape == (300, 300, 3)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"mass": 0.0}, "mass=0.0; every value must be above 0"),
        ({"length": (-1.0, 1.0)}, "every value must be above 0"),
        ({"max_torque": 0.0}, "every value must be above 0"),
        ({"gravity": -9.8}, "every value must be at least 0"),
        ({"mass": (2.0, 1.0)}, "low <= high"),
    ],
    ids=str,
)
def test_bad_options_are_refused(change: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        Pendulum(**change)


def test_bad_masses_are_refused() -> None:
    with pytest.raises(ValueError, match="mass of task 1 is 0; expected a value above 0"):
        Pendulum().set_tasks(_as_tensors([STANDARD, STANDARD | {"mass": 0.0}]))
