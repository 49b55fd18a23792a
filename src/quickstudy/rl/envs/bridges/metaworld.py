"""Benchmarks of Meta-World: a robot arm with many tasks (Yu et al. 2020, arXiv 1910.10897)."""

import inspect
from collections.abc import Sequence
from typing import Any, Literal, Protocol, final

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box

from quickstudy.checks import check_choice, check_whole
from quickstudy.learner import Split
from quickstudy.rl.environment import EnvironmentTasks
from quickstudy.rl.envs.from_gymnasium import GymnasiumEnvironment, from_gymnasium


class Benchmark(Protocol):
    """What is used of `metaworld.ML1`, `ML10`, `ML25` and `ML45`: classes by name, and tasks with `env_name`."""

    train_classes: Any
    test_classes: Any
    train_tasks: Any
    test_tasks: Any


def from_metaworld(
    benchmark: Benchmark,
    *,
    num_envs: int = 10,
    horizon: int | None = None,
    validation_goals: int = 5,
    reward: Literal["v1", "v2"] = "v2",
    device: torch.device | str | None = None,
) -> GymnasiumEnvironment:
    """A benchmark of Meta-World as an environment of many tasks.

    A task is one goal of one of the benchmark's environments, `task [T]`: its place in `tasks_of(benchmark)`. Draws are
    even over environments, then over goals, as the benchmark asks for. Observations `[39]` do not tell the goal.
    `Episodes.info["success"]` tells success at each step; `evaluate` counts an episode as a success if there was one at
    any step, for `num_envs` episodes of each goal. Meta-World's own `metalearning_evaluation` counts the first episodes
    that end, and ends an episode at success: goals that are reached soon count more often.

    Install the extra: `pip install "quickstudy[metaworld]"`. It needs MuJoCo 3.3.0.

    Args:
        benchmark: for example `metaworld.ML1("reach-v3", seed=0)` or `metaworld.ML10(seed=0)`.
        num_envs: E, episodes of each task at a time; 10 in the publication.
        horizon: steps until an episode is truncated; by default that of the environments, 500.
        validation_goals: the last goals of each training environment, of 50, which are kept for validation.
        reward: version of the reward function; published results differ by it (arXiv 2505.11289).
        device: device of observations and rewards; None is torch's default device.

    Raises:
        TypeError: for anything but a benchmark.
        ValueError: unless `validation_goals` leaves goals for training.

    >>> import metaworld  # doctest: +SKIP
    >>> env = from_metaworld(metaworld.ML1("reach-v3", seed=0))  # doctest: +SKIP
    """
    for name in ("train_classes", "test_classes", "train_tasks", "test_tasks"):
        if not hasattr(benchmark, name):
            raise TypeError(
                f"benchmark is a {type(benchmark).__name__} without {name}; expected a benchmark of Meta-World such as "
                'metaworld.ML10(seed=0); to install Meta-World: pip install "quickstudy[metaworld]"'
            )
    check_choice("reward", reward, ("v1", "v2"))
    if not len(benchmark.train_tasks) or not len(benchmark.test_tasks):
        raise ValueError(
            f"{type(benchmark).__name__} has {len(benchmark.train_tasks)} training tasks and "
            f"{len(benchmark.test_tasks)} test tasks; expected a benchmark for meta-learning, such as ML1 or ML10"
        )
    deal = _Deal(benchmark, check_whole("validation_goals", validation_goals))
    classes = {**benchmark.test_classes, **benchmark.train_classes}
    tasks = tasks_of(benchmark)
    first = next(iter(classes.values()))
    steps = int(getattr(first, "max_path_length", 500)) if horizon is None else horizon
    return from_gymnasium(
        lambda: _Arm(classes, tasks, reward),
        _set_task,
        deal,
        num_envs=num_envs,
        horizon=steps,
        device=device,
    )


def _set_task(env: Any, task: dict[str, Any]) -> None:
    env.unwrapped.set_task(task["task"])


def tasks_of(benchmark: Benchmark) -> list[Any]:
    """All tasks of the benchmark: those of training, then those of test."""
    return [*benchmark.train_tasks, *benchmark.test_tasks]


@final
class _Deal:
    """Draws tasks of a split: an environment first, each as often as the others, then one of its goals."""

    def __init__(self, benchmark: Benchmark, validation_goals: int):
        count = len(benchmark.train_tasks)
        training = _by_environment(benchmark.train_tasks, 0)
        fewest = min(map(len, training.values()))
        if validation_goals >= fewest:
            raise ValueError(
                f"validation_goals={validation_goals}; an environment has {fewest} goals for training, and at least "
                "one must be left"
            )
        self._places: dict[str, list[list[int]]] = {
            "train": [places[:-validation_goals] for places in training.values()],
            "validation": [places[-validation_goals:] for places in training.values()],
            "test": list(_by_environment(benchmark.test_tasks, count).values()),
        }

    def __call__(self, num_tasks: int, generator: torch.Generator, split: Split) -> EnvironmentTasks:
        environments = self._places[split]
        rounds = -(-num_tasks // len(environments))
        draw: Any = {"generator": generator, "device": generator.device}
        order = torch.cat([torch.randperm(len(environments), **draw) for _ in range(rounds)])[:num_tasks].tolist()
        goals = torch.rand(num_tasks, **draw).tolist()
        chosen = [environments[e][int(goal * len(environments[e]))] for e, goal in zip(order, goals, strict=True)]
        return {"task": torch.tensor(chosen, dtype=torch.get_default_dtype(), device=generator.device)}


def _by_environment(tasks: Sequence[Any], first: int) -> dict[str, list[int]]:
    """The places of the tasks of each environment, from place `first` on."""
    places: dict[str, list[int]] = {}
    for place, task in enumerate(tasks):
        places.setdefault(task.env_name, []).append(first + place)
    return places


class _Arm(gymnasium.Env[Any, Any]):
    """One robot arm, which becomes an environment of the class that its task needs."""

    def __init__(self, classes: dict[str, Any], tasks: Sequence[Any], reward: str):
        self._classes, self._tasks, self._reward = classes, tasks, reward
        self._made: dict[str, Any] = {}
        self._name = next(iter(classes))
        env = self._env(self._name)
        size = env.observation_space.shape
        self.observation_space = Box(-np.inf, np.inf, size, dtype=np.float64)  # the bounds differ between tasks
        self.action_space = env.action_space

    def set_task(self, place: float) -> None:
        """Become the environment of the task at this place."""
        if place not in range(len(self._tasks)):
            raise ValueError(f"task={place:g}; expected a whole number from 0 to {len(self._tasks) - 1}")
        task = self._tasks[int(place)]
        self._name = task.env_name
        self._env(self._name).set_task(task)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self._env(self._name).reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        return self._env(self._name).step(action)

    def render(self) -> Any:
        return self._env(self._name).render()

    def close(self) -> None:
        for env in self._made.values():
            env.close()

    def _env(self, name: str) -> Any:
        if name not in self._made:
            kind = self._classes[name]
            takes = inspect.signature(kind).parameters
            self._made[name] = kind(reward_function_version=self._reward) if _VERSION in takes else kind()
        return self._made[name]


_VERSION = "reward_function_version"
