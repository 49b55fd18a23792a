"""Registers the environments in gymnasium: `gymnasium.make("quickstudy/CartPole-v0")`, `gymnasium.make_vec(...)`.

Importing `quickstudy.rl` calls `register`. Keyword arguments go to the environment's class, except the horizon, which
is gymnasium's `max_episode_steps`.
"""

from importlib import import_module
from typing import Any

import gymnasium

# name in gymnasium: (the class or class method in `quickstudy.rl.envs`, steps until an episode is truncated)
NAMES: dict[str, tuple[str, int]] = {
    "Navigation2D": ("navigation2d.Navigation2D", 100),
    "Navigation2DUnitBoard": ("navigation2d.Navigation2D.unit_board", 100),
    "Navigation2DSemicircle": ("navigation2d.Navigation2D.semicircle", 100),
    "Navigation2DCorners": ("navigation2d.Navigation2D.corners", 100),
    "CartPole": ("cartpole.CartPole", 500),
    "Pendulum": ("swing_up.pendulum.Pendulum", 200),
    "CartPoleSwingUp": ("swing_up.cartpole.CartPoleSwingUp", 100),
    "Bandit": ("bandits.bernoulli.Bandit", 100),
    "GaussianBandit": ("bandits.gaussian.GaussianBandit", 100),
    "GridNavi": ("gridnavi.GridNavi", 15),
    "TabularMDP": ("tabular_mdp.TabularMDP", 10),
    "HalfCheetah": ("locomotion.half_cheetah.HalfCheetah", 200),
    "Ant": ("locomotion.ant.Ant", 200),
    "Hopper": ("locomotion.hopper.Hopper", 200),
    "Walker2d": ("locomotion.walker2d.Walker2d", 200),
    "Humanoid": ("locomotion.humanoid.Humanoid", 200),
}
UNLIMITED = 10**9


def register() -> None:
    """Register all environments with gymnasium; skip names that are registered already."""
    for name, (_, steps) in NAMES.items():
        known = f"quickstudy/{name}-v0"
        if known not in gymnasium.registry:
            gymnasium.register(
                known,
                entry_point="quickstudy.rl.envs.register:single",
                vector_entry_point="quickstudy.rl.envs.register:vector",
                max_episode_steps=steps,
                kwargs={"environment": name},
            )


def single(
    environment: str, *, render_mode: str | None = None, split: Any = "train", **options: Any
) -> gymnasium.Env[Any, Any]:
    """Make one environment of one task; gymnasium's wrapper for `max_episode_steps` truncates its episodes."""
    from quickstudy.rl.envs.single import SingleEnv

    _check_horizon(options)
    env = _make(environment, **{"num_envs": 1, "horizon": UNLIMITED, **options})
    return SingleEnv(env, render_mode=render_mode, split=split)


def vector(
    environment: str,
    *,
    num_envs: int = 1,
    num_tasks: int | None = None,
    max_episode_steps: int = UNLIMITED,
    autoreset_mode: Any = "NextStep",
    render_mode: str | None = None,
    split: Any = "train",
    **options: Any,
) -> gymnasium.vector.VectorEnv[Any, Any, Any]:
    """Make `num_envs` environments in all, equally many for each of `num_tasks` tasks (by default `num_envs` tasks)."""
    from quickstudy.rl.envs.vector import VectorEnv

    _check_horizon(options)
    tasks = num_envs if num_tasks is None else num_tasks
    if tasks < 1 or num_envs % tasks:
        raise ValueError(
            f"num_envs={num_envs} and num_tasks={num_tasks}; num_envs counts the environments of all tasks: expected a "
            "multiple of num_tasks"
        )
    env = _make(environment, num_envs=num_envs // tasks, horizon=max_episode_steps, **options)
    return VectorEnv(env, num_tasks=tasks, autoreset_mode=autoreset_mode, render_mode=render_mode, split=split)


def _check_horizon(options: dict[str, Any]) -> None:
    if "horizon" in options:
        raise ValueError(f"horizon={options['horizon']}; use gymnasium's max_episode_steps={options['horizon']}")


def _make(environment: str, **options: Any) -> Any:
    words = NAMES[environment][0].split(".")
    first = next(i for i, word in enumerate(words) if word[0].isupper())  # the class
    make: Any = import_module(".".join(["quickstudy.rl.envs", *words[:first]]))
    for name in words[first:]:
        make = getattr(make, name)
    return make(**options)
