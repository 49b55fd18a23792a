"""Robots beside gymnasium's own, step by step, and what a task changes."""

import copy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import pytest
import torch
from torch import Tensor

from quickstudy.rl import Ant, HalfCheetah, Hopper, Humanoid, Walker2d
from quickstudy.rl.envs.locomotion.simulation import load

pytest.importorskip("mujoco", reason="the extra `mujoco` is not installed")

NO_FORCES: dict[str, Any] = {"include_cfrc_ext_in_observation": False, "contact_cost_weight": 0.0}
POSITIONS_ONLY = {f"include_{name}_in_observation": False for name in ("cinert", "cvel", "qfrc_actuator")}
FORWARD = {"direction": torch.tensor([[1.0, 0.0]])}
# our environment, gymnasium's with its options, tasks with which they are equal
PAIRS: dict[str, tuple[Callable[..., Any], str, dict[str, Any], dict[str, Tensor] | None]] = {
    "cheetah": (
        lambda: HalfCheetah("direction", control_cost=0.1, num_envs=4),
        "HalfCheetah-v5",
        {},
        {"direction": torch.ones(1)},
    ),
    "cheetah, one physics step": (
        lambda: HalfCheetah("direction", control_cost=0.1, frame_skip=1, num_envs=4),
        "HalfCheetah-v5",
        {"frame_skip": 1},
        {"direction": torch.ones(1)},
    ),
    "ant": (lambda: Ant(control_cost=0.5, healthy_reward=1.0, num_envs=4), "Ant-v5", NO_FORCES, FORWARD),
    "hopper": (lambda: Hopper(num_envs=4), "Hopper-v5", {}, None),
    "walker": (lambda: Walker2d(num_envs=4), "Walker2d-v5", {}, None),
    "humanoid": (lambda: Humanoid(num_envs=4), "Humanoid-v5", NO_FORCES | POSITIONS_ONLY, FORWARD),
}
LATE = ("ant", "humanoid")  # gymnasium takes their velocity from other places; see their docstrings


def _as_it_is(env: Any) -> dict[str, Tensor]:
    return {name: torch.ones(1, *value.shape[1:]) for name, value in env.sample_tasks(1).items()}


@pytest.mark.parametrize("name", PAIRS)
def test_step_by_step_as_gymnasium(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Observations, rewards and terminations from the same state with the same actions, until most have fallen."""
    monkeypatch.chdir(tmp_path)  # MuJoCo writes its warnings of gymnasium's files into the current folder
    torch.set_default_dtype(torch.float64)
    make, theirs, options, tasks = PAIRS[name]
    env, chance = make(), torch.Generator().manual_seed(0)
    env.set_tasks(_as_it_is(env) if tasks is None else {k: v.double() for k, v in tasks.items()})
    env.reset(generator=chance)
    others: list[Any] = [gymnasium.make(theirs, **options).unwrapped for _ in range(4)]
    for e, other in enumerate(others):
        other.reset(seed=0)
        other.set_state(env._simulation.position[e], env._simulation.velocity[e])
    assert env._simulation.seconds == pytest.approx(others[0].dt)
    assert env.observation_space.shape == others[0].observation_space.shape
    assert env.action_space.low == pytest.approx(others[0].action_space.low)
    standing, differences, fallen = [True] * 4, [], 0
    for h in range(25):
        action = env.action_space.high[0] * (3 * torch.rand(1, 4, *env.action_space.shape, generator=chance) - 1.5)
        step = env.step(action)
        for e, other in enumerate(others):
            if not standing[e]:
                continue
            inside = action[0, e].clamp(-env.action_space.high[0], env.action_space.high[0]).numpy()
            observation, reward, terminated, _, info = other.step(inside)
            loose = 1e-10 if h < 10 else 1e-6  # the physics is chaotic, and the solvers start from different points
            torch.testing.assert_close(step.observation[0, e], torch.tensor(observation), rtol=loose, atol=loose)
            assert bool(step.terminated[0, e]) == terminated
            differences.append(abs(float(step.reward[0, e]) - reward))
            if name not in LATE:
                assert float(step.info["x_velocity"][0, e]) == pytest.approx(info["x_velocity"], abs=loose)
            standing[e], fallen = not terminated, fallen + terminated
    assert fallen >= {"hopper": 2, "walker": 2, "humanoid": 2}.get(name, 0)
    worst, mean = max(differences), sum(differences) / len(differences)
    assert worst < (1.5 if name == "humanoid" else 0.1 if name == "ant" else 1e-6)
    assert mean < (0.5 if name == "humanoid" else 0.01 if name == "ant" else 1e-7)


def _one_step(env: Any, tasks: dict[str, Tensor], action: float = 0.3) -> Tensor:
    """Rewards `[T, E]` of a step of so many tasks from the same starts."""
    env.set_tasks(tasks)
    env.reset(generator=torch.Generator().manual_seed(1))
    return env.step(torch.full((env.num_tasks, env.num_envs, *env.action_space.shape), action))


def _cost(env: Any, action: float = 0.3) -> float:
    return env.control_cost * env.action_space.shape[0] * action**2


def test_rewards_of_velocity_and_direction() -> None:
    env = HalfCheetah(num_envs=3)
    step = _one_step(env, {"velocity": torch.tensor([0.0, 1.5])})
    expected = -(step.info["x_velocity"] - torch.tensor([[0.0], [1.5]])).abs() - _cost(env)
    torch.testing.assert_close(step.reward, expected, rtol=1e-5, atol=1e-6)
    env = HalfCheetah("direction", num_envs=3)
    step = _one_step(env, {"direction": torch.tensor([1.0, -1.0])})
    torch.testing.assert_close(step.reward + _cost(env), step.info["x_velocity"] * torch.tensor([[1.0], [-1.0]]))
    assert step.info["x_velocity"].abs().min() > 1e-3


@pytest.mark.parametrize("aim", ["velocity", "direction", "goal"])
def test_rewards_of_the_ant(aim: Any) -> None:
    env = Ant(aim, directions="all", num_envs=3)
    tasks = env.sample_tasks(2, generator=torch.Generator().manual_seed(0))
    step = _one_step(env, tasks)
    x, y = step.info["x_velocity"], step.info["y_velocity"]
    wanted = tasks[aim].unsqueeze(1)
    if aim == "velocity":
        earned = 1 - (x - wanted).abs()
    elif aim == "direction":
        assert torch.allclose(wanted.norm(dim=-1), torch.ones(()))
        earned = x * wanted[..., 0] + y * wanted[..., 1]
    else:
        place = torch.from_numpy(env._simulation.position[:, :2].copy()).view(2, 3, 2)
        earned = 4 - (place - wanted).abs().sum(-1)
    torch.testing.assert_close(step.reward, (earned + 0.05 - _cost(env)).float(), rtol=1e-5, atol=1e-5)


def test_masses_damping_and_friction_are_those_of_the_task() -> None:
    """The same as a robot whose model was changed by hand, through gymnasium."""
    torch.set_default_dtype(torch.float64)
    env = Hopper(num_envs=1)
    tasks = env.sample_tasks(2, generator=torch.Generator().manual_seed(0))
    env.set_tasks(tasks)
    env.reset(generator=torch.Generator().manual_seed(0))
    others = []
    for t in range(2):
        other: Any = gymnasium.make("Hopper-v5").unwrapped
        other.reset(seed=0)
        other.model.body_mass[1:] *= tasks["mass"][t].numpy()
        other.model.body_inertia[1:] *= tasks["mass"][t].numpy()[:, None]
        other.model.dof_damping[:] *= tasks["damping"][t].numpy()
        other.model.geom_friction[:] *= tasks["friction"][t].numpy()[:, None]
        import mujoco

        mujoco.mj_setConst(other.model, other.data)
        other.set_state(env._simulation.position[t], env._simulation.velocity[t])
        others.append(other)
    for _ in range(6):
        action = torch.tensor([0.5, -0.3, 0.8]).expand(2, 1, 3)
        step = env.step(action)
        for t, other in enumerate(others):
            observation = torch.tensor(other.step(action[t, 0].numpy())[0])
            torch.testing.assert_close(step.observation[t, 0], observation, rtol=1e-9, atol=1e-9)
    assert not torch.allclose(step.observation[0], step.observation[1], atol=1e-2)


@pytest.mark.parametrize("make", [Hopper, Walker2d])
def test_factors_are_log_uniform(make: Callable[..., Any]) -> None:
    env = make(mass=2.0, damping=1.0, friction=3.0)
    tasks = env.sample_tasks(500, generator=torch.Generator().manual_seed(0))
    assert torch.equal(tasks["damping"], torch.ones_like(tasks["damping"]))
    for name, largest in (("mass", 2.0), ("friction", 3.0)):
        scaled = tasks[name].log() / torch.tensor(largest).log()
        assert float(scaled.abs().max()) <= 1 + 1e-6 and abs(float(scaled.mean())) < 0.08
        assert abs(float(scaled.std()) - 3**-0.5) < 0.03
    with pytest.raises(ValueError, match=r"mass=0.5; every value must be at least 1"):
        make(mass=0.5)
    zero = {name: value[:2].clone() for name, value in tasks.items()}
    zero["friction"][1, 2] = 0.0
    with pytest.raises(ValueError, match="friction of task 1 is 0; expected a value above 0"):
        env.set_tasks(zero)


def test_any_number_of_threads_gives_the_same(generator: torch.Generator) -> None:
    found = []
    for threads in (1, 3):
        env = Walker2d(num_envs=5, threads=threads)
        env.set_tasks(env.sample_tasks(3, generator=torch.Generator().manual_seed(0)))
        env.reset(generator=torch.Generator().manual_seed(1))
        chance = torch.Generator().manual_seed(2)
        found.append([env.step(2 * torch.rand(3, 5, 6, generator=chance) - 1).observation for _ in range(10)])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_a_copy_goes_on_as_the_original() -> None:
    env = HalfCheetah(num_envs=2)
    env.set_tasks(env.sample_tasks(2))
    env.reset(generator=torch.Generator().manual_seed(0))
    action = torch.full((2, 2, 6), 0.5)
    env.step(action)
    other = copy.deepcopy(env)
    assert torch.equal(env.step(action).observation, other.step(action).observation)


def test_a_total_mass_that_the_file_asks_for_is_set(capfd: pytest.CaptureFixture[str]) -> None:
    assert load("half_cheetah").body_mass.sum() == pytest.approx(14.0)
    assert capfd.readouterr().err == ""


def test_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="aim='fly'"):
        HalfCheetah("fly")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="directions='up'"):
        Humanoid(directions="up")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="frame_skip=0; expected a whole number"):
        Ant(frame_skip=0)
    with pytest.raises(ValueError, match="threads=0; expected a whole number"):
        Ant(threads=0)


def test_without_the_extra_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mujoco", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "quickstudy\[mujoco\]"'):
        Hopper()


@pytest.mark.parametrize("name", ["HalfCheetah", "Ant", "Hopper", "Walker2d", "Humanoid"])
def test_gymnasium_makes_them(name: str) -> None:
    env = gymnasium.make(f"quickstudy/{name}-v0")
    observation, _ = env.reset(seed=0)
    assert observation.shape == env.observation_space.shape
    assert env.spec is not None and env.spec.max_episode_steps == 200
    env.close()


def test_a_picture_follows_the_robot() -> None:
    from quickstudy.rl.envs.rendering import BLUE, GREEN, ORANGE

    env = HalfCheetah(num_envs=1)
    env.set_tasks(env.sample_tasks(1))
    env.reset()
    here = env.render()
    env._simulation.position[0, 0] += 7.0
    there = env.render()
    assert here.shape == (230, 400, 3) and not (here == there).all()
    body = [(picture == ORANGE).all(-1) for picture in (here, there)]
    assert body[0].sum() > 500 and (body[0] == body[1]).all() and (here == BLUE).all(-1).sum() > 500
    ant = Ant("goal", num_envs=1)
    ant.set_tasks({"goal": torch.tensor([[1.0, 0.5]])})
    ant.reset()
    rows, columns = (ant.render() == GREEN).all(-1).nonzero()
    assert columns.mean() == pytest.approx(300, abs=8) and len(rows) > 100


def test_directions_have_length_one() -> None:
    with pytest.raises(ValueError, match=r"HalfCheetah.set_tasks: direction of task 1 is 5.0; expected 1 or -1"):
        HalfCheetah("direction").set_tasks({"direction": torch.tensor([1.0, 5.0])})
    with pytest.raises(
        ValueError, match=r"Ant.set_tasks: direction of task 0 is \[3.0, 4.0\]; expected a vector of length"
    ):
        Ant().set_tasks({"direction": torch.tensor([[3.0, 4.0]])})
