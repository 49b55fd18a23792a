"""A wrapper that adds the task to every observation, for training an oracle."""

from collections.abc import Sequence
from typing import Any, final

import numpy as np
import torch
from gymnasium.spaces import Box
from torch import Tensor

from quickstudy.learner import Split
from quickstudy.rl.environment import Environment, EnvironmentTasks, Step, home


@final
class Informed:
    """Appends values of the tasks to every observation of `environment`.

    Args:
        environment: an environment whose observations are vectors.
        show: the names of these values in the environment's tasks, for example `("goal",)`; a value may be a number
            for each task, as CartPole's "masspole" is.

    Raises:
        ValueError: for observations that are not vectors, and for names that the tasks do not have.

    >>> from quickstudy.rl.envs.navigation2d import Navigation2D
    >>> environment = Informed(Navigation2D(num_envs=3), ("goal",))
    >>> environment.set_tasks(environment.sample_tasks(5))
    >>> environment.reset()[0].shape, environment.observation_space.shape
    (torch.Size([5, 3, 4]), (4,))
    """

    def __init__(self, environment: Environment, show: Sequence[str]):
        self.environment, self.show = environment, tuple(show)
        self.num_envs, self.horizon = environment.num_envs, environment.horizon
        self.action_space = environment.action_space
        space = environment.observation_space
        if not isinstance(space, Box) or len(space.shape) != 1:
            raise ValueError(f"the environment's observations are {space}; Informed needs vectors: a Box of one axis")
        example = self._shown(environment.sample_tasks(1))
        low, high = (np.full(example.shape[-1], sign * np.inf, space.dtype) for sign in (-1, 1))
        self.observation_space = Box(np.append(space.low, low), np.append(space.high, high), dtype=space.dtype)

    def config(self) -> dict[str, Any]:
        """The arguments that rebuild this environment."""
        return {"environment": self.environment, "show": self.show}

    def __repr__(self) -> str:
        return f"Informed({self.environment!r}, {self.show!r})"

    @property
    def num_tasks(self) -> int:
        """`T`."""
        return self.environment.num_tasks

    @property
    def device(self) -> torch.device | None:
        """The device of the wrapped environment's observations."""
        return home(self.environment)

    def sample_tasks(
        self, num_tasks: int, *, split: Split = "train", generator: torch.Generator | None = None
    ) -> EnvironmentTasks:
        """Draw tasks of the wrapped environment."""
        return self.environment.sample_tasks(num_tasks, split=split, generator=generator)

    def set_tasks(self, tasks: EnvironmentTasks) -> None:
        """Set the tasks of the wrapped environment."""
        features = self._shown(tasks)
        self.environment.set_tasks(tasks)  # which may refuse them
        self._features = features

    def reset(
        self, mask: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, dict[str, Any]]:
        """Reset the wrapped environment; the task is appended to the observations."""
        observation, info = self.environment.reset(mask, generator=generator)
        return self._with(observation), info

    def step(self, action: Tensor) -> Step:
        """Step the wrapped environment; the task is appended to the observations."""
        step = self.environment.step(action)
        return step._replace(observation=self._with(step.observation))

    def _shown(self, tasks: EnvironmentTasks) -> Tensor:
        """The values to append, `[T, k]`."""
        missing = [name for name in self.show if name not in tasks]
        if missing:
            raise ValueError(f"show={list(self.show)}: the tasks have no {missing[0]!r}, only {', '.join(tasks)}")
        return torch.cat([tasks[name].reshape(len(tasks[name]), -1) for name in self.show], 1)

    def _with(self, observation: Tensor) -> Tensor:
        features = self._features.to(observation)[:, None].expand(-1, observation.shape[1], -1)
        return torch.cat([observation, features], -1)
