"""Environments as gymnasium knows them: by name, one by one, and many at once with automatic resets."""

import subprocess
import sys
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from quickstudy.rl import Bandit, CartPole, Navigation2D, SingleEnv, VectorEnv
from quickstudy.rl.envs.register import NAMES, register

endless = pytest.mark.filterwarnings("ignore:.*A Box observation space m.*imum value is -?infinity:UserWarning")
physical = pytest.mark.filterwarnings("ignore:.*we recommend using a symmetric and normalized space:UserWarning")
every_name = pytest.mark.parametrize("name", NAMES)
GOALS = ([0.15, 0.0], [0.35, 0.0], [0.3, 0.3], [-0.5, 0.5])  # reached after 2, 4 and 3 steps, and not within 4


@every_name
@endless
@physical
def test_gymnasiums_own_checks(name: str) -> None:
    check_env(gymnasium.make(f"quickstudy/{name}-v0").unwrapped)


@every_name
def test_make_runs_an_episode(name: str) -> None:
    env = gymnasium.make(f"quickstudy/{name}-v0", render_mode="rgb_array")  # with gymnasium's passive checks
    env.action_space.seed(0)
    env.reset(seed=0)
    steps, terminated, truncated = 0, False, False
    while not (terminated or truncated):
        _, reward, terminated, truncated, _ = env.step(env.action_space.sample())
        steps += 1
    assert isinstance(reward, float) and steps <= NAMES[name][1]
    assert truncated is (steps == NAMES[name][1])
    picture: Any = env.render()
    assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3
    env.close()


@every_name
@pytest.mark.parametrize("mode", ["vector_entry_point", "sync"])
def test_make_vec_runs_episodes(name: str, mode: str) -> None:
    envs = gymnasium.make_vec(f"quickstudy/{name}-v0", num_envs=3, vectorization_mode=mode)
    assert isinstance(envs.metadata["autoreset_mode"], AutoresetMode) and envs.num_envs == 3
    observation, _ = envs.reset(seed=0)
    for _ in range(5):
        assert envs.observation_space.contains(observation)
        observation, reward, terminated, truncated, _ = envs.step(envs.action_space.sample())
        assert reward.shape == (3,) and terminated.dtype == truncated.dtype == np.bool_
    envs.close()


def test_names_are_registered_once() -> None:
    register()  # again: no warning
    assert {f"quickstudy/{name}-v0" for name in NAMES} <= gymnasium.registry.keys()


def test_options_reach_the_environment() -> None:
    env: Any = gymnasium.make("quickstudy/CartPole-v0", masscart=2.0, max_episode_steps=7).unwrapped
    assert {task["masscart"] for task in env.sample_tasks(3)} == {2.0}
    envs: Any = gymnasium.make_vec("quickstudy/Bandit-v0", num_envs=6, num_tasks=2, arms=4, max_episode_steps=3)
    assert envs.env.num_envs == 3 and envs.env.horizon == 3 and envs.single_action_space.n == 4
    with pytest.raises(ValueError, match="horizon=7; use gymnasium's max_episode_steps=7"):
        gymnasium.make("quickstudy/CartPole-v0", horizon=7)
    with pytest.raises(ValueError, match="num_envs=5 and num_tasks=2.*expected a multiple"):
        gymnasium.make_vec("quickstudy/CartPole-v0", num_envs=5, num_tasks=2)


def _one(goal: list[float]) -> SingleEnv:
    env = SingleEnv(Navigation2D(num_envs=1, horizon=4))
    env.reset_task({"goal": goal})
    return env


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_automatic_resets_are_gymnasiums(mode: AutoresetMode) -> None:
    """Beside gymnasium's own SyncVectorEnv, through terminations, truncations and resets of some."""
    theirs = SyncVectorEnv([lambda goal=goal: _one(goal) for goal in GOALS], autoreset_mode=mode)
    ours = VectorEnv(Navigation2D(num_envs=1, horizon=4), num_tasks=4, autoreset_mode=mode)
    ours.reset_task([{"goal": goal} for goal in GOALS])
    assert np.array_equal(ours.reset()[0], theirs.reset()[0])
    ended = 0
    for _ in range(20):
        action = np.clip(np.array(GOALS, np.float32) * 10, -1, 1) - 0.02
        found, expected = ours.step(action), theirs.step(action)
        for a, b in zip(found[:4], expected[:4], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6)
        done = found[2] | found[3]
        ended += int(done.sum())
        assert ("final_obs" in found[4]) == ("final_obs" in expected[4]) == (mode.name == "SAME_STEP" and done.any())
        if "final_obs" in found[4]:
            assert np.array_equal(found[4]["_final_obs"], expected[4]["_final_obs"])
            assert np.array_equal(found[4]["_final_info"], expected[4]["_final_info"])
            for a, b in zip(found[4]["final_obs"], expected[4]["final_obs"], strict=True):
                assert (a is None) == (b is None) and (a is None or np.allclose(a, b))
        if mode is AutoresetMode.DISABLED and done.any():
            again = ours.reset(options={"reset_mask": done})[0]
            assert np.allclose(again, theirs.reset(options={"reset_mask": done.copy()})[0])
    assert ended > 12


def test_next_step_ignores_actions_after_the_end_of_an_episode() -> None:
    envs = VectorEnv(Navigation2D(num_envs=2, horizon=1))
    envs.reset(seed=0)
    envs.step(np.ones((2, 2), np.float32))
    observation, reward, terminated, truncated, _ = envs.step(np.full((2, 2), np.nan, np.float32))
    assert not observation.any() and not reward.any() and not terminated.any() and not truncated.any()


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_a_seed_determines_everything(mode: str) -> None:
    """Tasks included, until somebody sets them."""
    runs = []
    for _ in range(2):
        envs = VectorEnv(CartPole(num_envs=2), num_tasks=3, autoreset_mode=mode)
        envs.action_space.seed(1)
        for seed in (5, 5, 6):
            observation, _ = envs.reset(seed=seed)
            runs.append([observation, *(envs.step(np.arange(6) % 2)[0] for _ in range(60))])
    assert all(np.array_equal(a, b) for run in (1, 3, 4) for a, b in zip(runs[0], runs[run], strict=True))
    assert not np.array_equal(runs[0][5], runs[2][5])
    tasks = envs.sample_tasks(3)
    envs.reset_task(tasks)
    envs.reset(seed=1)
    torch.testing.assert_close(envs.env.tasks["masspole"], torch.tensor([task["masspole"] for task in tasks]))
    kept = dict(envs.env.tasks)
    envs.reset()
    assert all(torch.equal(kept[k], v) for k, v in envs.env.tasks.items())


def test_a_list_of_seeds_is_a_seed() -> None:
    """gymnasium's tools give each sub-environment a seed of its own."""
    runs = []
    for seed in ([1, 2, 3, 4], (1, 2, 3, 4), np.arange(1, 5), [4, 3, 2, 1], [1, 2, 3, 5], 1):
        envs = VectorEnv(CartPole(num_envs=2), num_tasks=2)
        runs.append(envs.reset(seed=seed)[0])  # type: ignore[arg-type]
    assert np.array_equal(runs[0], runs[1]) and np.array_equal(runs[0], runs[2])
    assert all(not np.array_equal(a, b) for i, a in enumerate(runs[2:]) for b in runs[2:][:i])
    envs.reset(seed=[None] * 4)  # as no seed
    for wrong in ([1, 2], [1, 2, 3, None]):
        with pytest.raises(ValueError, match="expected one number, or 4 of them, one for each sub-environment"):
            envs.reset(seed=wrong)


def test_made_by_name_without_an_import() -> None:
    """gymnasium imports the module before the colon; since 1.0 it reads no entry points of packages."""
    code = (
        "import gymnasium, sys; assert 'quickstudy' not in sys.modules;"
        "env = gymnasium.make('quickstudy.rl:quickstudy/CartPole-v0'); print(env.reset(seed=0)[0].shape)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "(4,)"


def test_tasks_as_dictionaries() -> None:
    envs = VectorEnv(Navigation2D(num_envs=2), num_tasks=3)
    tasks = envs.sample_tasks(4)
    assert len(tasks) == 4 and all(isinstance(t["goal"], np.ndarray) and t["goal"].shape == (2,) for t in tasks)
    with pytest.raises(ValueError, match="4 tasks were given; expected 3"):
        envs.reset_task(tasks)
    with pytest.raises(ValueError, match="tasks hold different names"):
        envs.reset_task([*tasks[:2], {"gaol": [0.0, 0.0]}])
    envs.reset_task({"goal": (0.1, 0.2)})
    assert envs.env.tasks["goal"].tolist() == torch.tensor([[0.1, 0.2]] * 3).tolist()
    own = Navigation2D(num_envs=2)
    own.set_tasks({"goal": torch.ones(5, 2)})
    assert VectorEnv(own).num_envs == 10 and VectorEnv(own).reset(seed=0)[0].shape == (10, 2)
    assert bool((own.tasks["goal"] == 1).all())


def test_bad_input_is_refused() -> None:
    envs = VectorEnv(Navigation2D(num_envs=2), num_tasks=3)
    with pytest.raises(RuntimeError, match="step before reset"):
        envs.step(np.zeros((6, 2)))
    envs.reset(seed=0)
    with pytest.raises(ValueError, match=r"actions have shape \[5, 2\]; expected 6 of them"):
        envs.step(np.zeros((5, 2)))
    with pytest.raises(ValueError, match=r"is float64 \[6\]; expected a bool array \[6\]"):
        envs.reset(options={"reset_mask": np.zeros(6)})
    with pytest.raises(ValueError, match="render_mode='human'"):
        VectorEnv(Bandit(num_envs=2), render_mode="human")
    with pytest.raises(ValueError, match="give one with num_envs=1"):
        SingleEnv(Bandit(num_envs=2))


def test_pictures_of_all() -> None:
    envs = gymnasium.make_vec("quickstudy/CartPole-v0", num_envs=3, render_mode="rgb_array", length=(0.3, 1.0))
    envs.reset(seed=0)
    pictures = envs.render()
    assert pictures is not None and len(pictures) == 3 and len({p.shape for p in pictures}) == 1
    assert not np.array_equal(pictures[0], pictures[1])
    assert VectorEnv(CartPole(num_envs=1)).render() is None
