"""A gymnasium environment whose actions have two discrete components."""

from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box, MultiDiscrete
from torch import Tensor

from quickstudy.rl import from_gymnasium


class Levers(gymnasium.Env[Any, Any]):
    """One lever pushes a point left, not at all or right (-1, 0, 1), the other one up or not (0, 1).

    The reward is minus the distance to the task's goal on a line.
    """

    observation_space = Box(-np.inf, np.inf, (2,))

    def __init__(self, shape: tuple[int, ...] = (2,)):
        self.action_space = MultiDiscrete(np.reshape([3, 2], shape), start=np.reshape([-1, 0], shape))
        self.goal, self.place = 0.0, np.zeros(2, np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.place = self.np_random.normal(size=2).astype(np.float32) / 10
        return self.place.copy(), {}

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action), action
        self.place = self.place + np.float32(0.1) * action.reshape(2).astype(np.float32)
        return self.place.copy(), -float(abs(self.place[0] - self.goal)), False, False, {}


def _set(env: Any, task: dict[str, Any]) -> None:
    env.goal = task["goal"]


def _goals(num_tasks: int, generator: torch.Generator) -> dict[str, Tensor]:
    return {"goal": torch.randn(num_tasks, generator=generator)}


def levers(num_envs: int = 4, horizon: int = 8, shape: tuple[int, ...] = (2,)) -> Any:
    """Levers as an environment of many tasks."""
    return from_gymnasium(lambda: Levers(shape), _set, _goals, num_envs=num_envs, horizon=horizon)
