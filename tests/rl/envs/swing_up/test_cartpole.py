"""Cart-pole swing-up against scipy, Lagrange's equations, the balance of energy and linear oscillations."""

import math
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.integrate import solve_ivp
from torch import Tensor

from quickstudy.rl import CartPoleSwingUp, Simulator
from quickstudy.rl.envs.swing_up.cartpole import PHYSICS, TAU

STANDARD = {"masscart": 0.5, "masspole": 0.5, "length": 0.5, "friction": 0.1, "gravity": 9.82, "max_force": 10.0}
TASKS: list[dict[str, float]] = [
    STANDARD,
    STANDARD | {"masscart": 0.3, "masspole": 0.8, "length": 0.4},
    STANDARD | {"masscart": 1.0, "masspole": 0.2, "length": 0.8, "friction": 0.5},
    STANDARD | {"gravity": 3.7, "friction": 0.0, "max_force": 5.0},
]


def _as_tensors(tasks: list[dict[str, float]]) -> dict[str, Tensor]:
    return {k: torch.tensor([task[k] for task in tasks]) for k in PHYSICS}


def _lagrange(task: dict[str, float], now: NDArray[Any], force: float) -> NDArray[Any]:
    """The derivative of (x, dx/dt, angle, its rate), from the mass matrix of a cart with a uniform rod on it."""
    m, reach = task["masspole"], task["masspole"] * task["length"] / 2  # mass times the distance of its centre
    _, speed, angle, spin = now
    mixed = reach * math.cos(angle)
    inertia = np.array([[task["masscart"] + m, mixed], [mixed, m * task["length"] ** 2 / 3]])
    forces = [
        force - task["friction"] * speed + reach * spin**2 * math.sin(angle),
        reach * task["gravity"] * math.sin(angle),
    ]
    return np.array([speed, spin, *np.linalg.solve(inertia, forces)])[[0, 2, 1, 3]]


def _angles(state: Tensor) -> Tensor:
    """States `[..., 5]` as `[..., 4]`: (x, dx/dt, angle, its rate)."""
    x, speed, cos, sin, spin = state.unbind(-1)
    return torch.stack([x, speed, torch.atan2(sin, cos), spin], -1)


def _energy(tasks: dict[str, Tensor], state: Tensor) -> Tensor:
    """Kinetic energy of the cart and of the pole, which moves and turns, and the height of the pole's centre."""
    cart, pole, length, gravity = (tasks[k][:, None] for k in ("masscart", "masspole", "length", "gravity"))
    _, speed, cos, sin, spin = state.unbind(-1)
    across, up = speed + length / 2 * spin * cos, -length / 2 * spin * sin
    moving = cart * speed**2 + pole * (across**2 + up**2) + pole * length**2 / 12 * spin**2
    return moving / 2 + pole * gravity * length / 2 * cos


def test_steps_are_those_of_a_fine_integration() -> None:
    """From anywhere, by forces beyond the motor: each step beside scipy's, of equations derived in another way."""
    torch.set_default_dtype(torch.float64)
    env = CartPoleSwingUp(start="anywhere", num_envs=3)
    env.set_tasks(_as_tensors(TASKS))
    state, _ = env.reset(generator=torch.Generator().manual_seed(0))
    for _ in range(20):
        action = 30 * torch.rand(len(TASKS), 3, 1) - 15
        following = env.step(action).observation
        for t, task in enumerate(TASKS):
            for e in range(3):
                force = float(action[t, e, 0].clamp(-task["max_force"], task["max_force"]))
                start = _angles(state[t, e]).numpy()
                found = solve_ivp(
                    lambda _, now, task=task, force=force: _lagrange(task, now, force),
                    (0.0, TAU),
                    start,
                    rtol=1e-9,
                    atol=1e-11,
                )
                x, speed, angle, spin = found.y[:, -1]
                expected = torch.tensor([x, speed, math.cos(angle), math.sin(angle), spin])
                torch.testing.assert_close(following[t, e], expected, rtol=2e-3, atol=2e-3)
        state = following


@pytest.mark.parametrize("friction", [0.0, 0.4])
def test_energy_is_lost_to_friction_alone(friction: float) -> None:
    torch.set_default_dtype(torch.float64)
    env = CartPoleSwingUp(friction=friction, start="anywhere", num_envs=5)
    env.set_tasks(env.sample_tasks(20, generator=torch.Generator().manual_seed(0)))
    state, _ = env.reset(generator=torch.Generator().manual_seed(0))
    first = last = _energy(env.tasks, state)
    slack = 2e-3 * (first.abs() + 1)
    for _ in range(100):
        now = _energy(env.tasks, env.step(torch.zeros(20, 5, 1)).observation)
        assert bool((now <= last + slack).all())
        last = now
    assert bool((last < first - 10 * slack).any()) if friction else bool(((last - first).abs() < 5 * slack).all())


def test_the_frequency_of_small_oscillations() -> None:
    """A hanging pole on a free cart: w^2 = 6 (M + m) g / (l (4 M + m)), which Lagrange's equations give near rest."""
    torch.set_default_dtype(torch.float64)
    env = CartPoleSwingUp(friction=0.0)
    tasks = env.sample_tasks(10, generator=torch.Generator().manual_seed(0))
    cart, pole, length = (tasks[k] for k in ("masscart", "masspole", "length"))
    omega = (6 * (cart + pole) * 9.82 / (length * (4 * cart + pole))).sqrt()
    lean = 1e-3
    state = torch.tensor([0.0, 0.0, -math.cos(lean), math.sin(lean), 0.0]).expand(10, 5)
    for step in range(1, 101):
        state, _, _ = env.dynamics(tasks, state, torch.zeros(10, 1))
        torch.testing.assert_close(state[:, 3], lean * torch.cos(omega * TAU * step), rtol=0, atol=0.05 * lean)


def test_the_reward_is_the_nearness_of_the_tip() -> None:
    env = CartPoleSwingUp.standard()
    tasks = env.sample_tasks(1)
    still = {"upright": [0.0, 0, 1, 0, 0], "aside": [0.25, 0, 1, 0, 0], "hanging": [0.0, 0, -1, 0, 0]}
    expected = {"upright": 1.0, "aside": math.exp(-0.5), "hanging": math.exp(-8.0)}
    for name, state in still.items():
        _, reward, _ = env.dynamics(tasks, torch.tensor([state]), torch.zeros(1, 1))
        assert float(reward) == pytest.approx(expected[name], abs=0.02), name


def test_two_tasks_differ() -> None:
    """In every part of the physics, from the same state by the same force."""
    env = CartPoleSwingUp(num_envs=1)
    for name in PHYSICS:
        tasks = _as_tensors([STANDARD, STANDARD | {name: 0.7 * STANDARD[name]}])
        state = torch.tensor([0.1, 1.0, 0.6, 0.8, 0.5]).expand(2, 1, 5)
        following, _, _ = env.dynamics(tasks, state, torch.full((2, 1, 1), 9.0))
        assert bool(((following[0] - following[1]).abs() > 1e-5).all()), name


def test_physics_is_drawn_from_its_ranges() -> None:
    env = CartPoleSwingUp(length=(0.3, 0.4), max_force=(5.0, 8.0))
    tasks = env.sample_tasks(2000, generator=torch.Generator().manual_seed(0))
    assert 0.3 <= float(tasks["length"].min()) and float(tasks["length"].max()) <= 0.4
    assert float(tasks["friction"].min()) < 0.01 and 0.49 < float(tasks["friction"].max()) <= 0.5
    assert bool((tasks["gravity"] == 9.82).all()) and env.action_space.high.tolist() == [8.0]
    drawn = {k: float(v[0]) for k, v in CartPoleSwingUp.standard().sample_tasks(1).items()}
    assert drawn == pytest.approx(STANDARD)


def test_starts() -> None:
    hanging, anywhere = (CartPoleSwingUp(start=start, num_envs=4000) for start in ("hanging", "anywhere"))
    for env in (hanging, anywhere):
        env.set_tasks(env.sample_tasks(1))
    state = hanging.reset(generator=torch.Generator().manual_seed(0))[0][0]
    turned = torch.atan2(-state[:, 3], -state[:, 2])
    spread = torch.stack([state[:, 0], state[:, 1], turned, state[:, 4]]).std(1)
    torch.testing.assert_close(spread, torch.full((4,), 0.1), rtol=0.05, atol=0)
    wide = _angles(anywhere.reset(generator=torch.Generator().manual_seed(0))[0][0]).abs().amax(0)
    torch.testing.assert_close(wide, torch.tensor([2.0, 3.0, math.pi, 8.0]), rtol=0.01, atol=0)


def test_a_step_is_the_dynamics_and_the_dynamics_take_any_shape() -> None:
    env = CartPoleSwingUp(num_envs=5)
    assert isinstance(env, Simulator)
    env.set_tasks(env.sample_tasks(3))
    state, _ = env.reset()
    action = 20 * torch.rand(3, 5, 1) - 10
    expected, _, _ = env.dynamics(env.tasks, state, action)
    torch.testing.assert_close(env.step(action).observation, expected)
    many, reward, ended = env.dynamics(env.tasks, state[:, None].expand(3, 4, 5, 5), action[:, None].expand(3, 4, 5, 1))
    torch.testing.assert_close(many[:, 1], expected)
    assert reward.shape == ended.shape == (3, 4, 5)
    torch.testing.assert_close(env.dynamics(env.tasks, state[:, 0], action[:, 0])[0], expected[:, 0])


def test_gymnasium_makes_it() -> None:
    env = gymnasium.make("quickstudy/CartPoleSwingUp-v0", masscart=1.0, render_mode="rgb_array")
    env.reset(seed=0)
    steps = [env.step(env.action_space.sample()) for _ in range(100)]
    picture: Any = env.render()
    assert [step[3] for step in steps].index(True) == 99 and picture.shape[1:] == (600, 3)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"masscart": 0.0}, "masscart=0.0; every value must be above 0"),
        ({"friction": -0.1}, "friction=-0.1; every value must be at least 0"),
        ({"length": (2.0, 1.0)}, "low <= high"),
        ({"start": "upright"}, 'start=\'upright\'; expected "hanging" or "anywhere"'),
    ],
    ids=str,
)
def test_bad_options_are_refused(change: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        CartPoleSwingUp(**change)


def test_bad_tasks_are_refused() -> None:
    with pytest.raises(ValueError, match="max_force of task 1 is 0; expected a value above 0"):
        CartPoleSwingUp().set_tasks(_as_tensors([STANDARD, STANDARD | {"max_force": 0.0}]))
