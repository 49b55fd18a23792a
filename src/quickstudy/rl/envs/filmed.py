"""A wrapper that records pictures of one environment while an agent acts in it."""

from collections.abc import Collection
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quickstudy.checks import check_whole
from quickstudy.learner import Split
from quickstudy.rl.environment import Environment, EnvironmentTasks, Step, home


@final
class Filmed:
    """Records a film of every episode in one environment; the agent sees `environment` unchanged.

    A film holds pictures of the start of the episode, of every `every`-th step, and of the end. A `Filmed` environment
    can be wrapped by `Informed`.

    Args:
        environment: an environment with a method `render(task, environment)`.
        which: indices (task, environment) of the environment that is filmed.
        every: steps between two pictures; the end of an episode is always included.
        episodes: numbers of the episodes to film, counted from 0; None films all. A film of 500 large pictures takes
            200 MB.
        shrink: pictures are reduced by this factor, by the mean over squares of pixels.

    Raises:
        TypeError: for an environment without `render`.
        ValueError: unless `every` and `shrink` are at least 1; from `reset`, if there is no such task or environment.

    >>> from quickstudy.rl.envs.navigation2d import Navigation2D
    >>> filmed = Filmed(Navigation2D(num_envs=2), which=(4, 1), every=5)
    >>> filmed.set_tasks(filmed.sample_tasks(6))
    >>> observation, info = filmed.reset()
    >>> for _ in range(10):
    ...     step = filmed.step(torch.ones(6, 2, 2))
    >>> filmed.films[0].shape
    (3, 300, 300, 3)
    """

    def __init__(
        self,
        environment: Environment,
        *,
        which: tuple[int, int] = (0, 0),
        every: int = 1,
        episodes: Collection[int] | None = None,
        shrink: int = 1,
    ):
        if not callable(getattr(environment, "render", None)):
            raise TypeError(f"{type(environment).__name__} has no render(task, environment), so it cannot be filmed")
        self.environment: Any = environment  # Any: `tasks` and `render` are not in the contract
        self.which = which
        self.every, self.shrink = check_whole("every", every), check_whole("shrink", shrink)
        self.num_envs, self.horizon = environment.num_envs, environment.horizon
        self.observation_space, self.action_space = environment.observation_space, environment.action_space
        self._episodes, self._films = episodes, dict[int, list[NDArray[np.uint8]]]()
        self._episode, self._steps, self._running = -1, 0, False

    def __repr__(self) -> str:
        return f"Filmed({self.environment!r}, which={self.which})"

    @property
    def num_tasks(self) -> int:
        """`T`."""
        return self.environment.num_tasks

    @property
    def device(self) -> torch.device | None:
        """The device of the wrapped environment's observations."""
        return home(self.environment)

    @property
    def tasks(self) -> EnvironmentTasks:
        """The tasks of the wrapped environment, if it has this attribute."""
        return self.environment.tasks

    @property
    def films(self) -> dict[int, NDArray[np.uint8]]:
        """The films so far: pictures `[F, height, width, 3]`, by the number of the episode."""
        return {number: np.stack(pictures) for number, pictures in self._films.items()}

    def sample_tasks(
        self, num_tasks: int, *, split: Split = "train", generator: torch.Generator | None = None
    ) -> EnvironmentTasks:
        """Draw tasks of the wrapped environment."""
        return self.environment.sample_tasks(num_tasks, split=split, generator=generator)

    def set_tasks(self, tasks: EnvironmentTasks) -> None:
        """Set the tasks of the wrapped environment; the films so far are kept."""
        self.environment.set_tasks(tasks)
        self._running = False

    def reset(
        self, mask: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, dict[str, Any]]:
        """Reset the wrapped environment; if the filmed one starts an episode, a new film begins."""
        observation, info = self.environment.reset(mask, generator=generator)
        task, number = self.which
        if not (0 <= task < self.num_tasks and 0 <= number < self.num_envs):
            raise ValueError(
                f"which={self.which}: there are {self.num_tasks} tasks with {self.num_envs} environments each"
            )
        if mask is None or bool(mask[self.which]):
            self._episode, self._steps, self._running = self._episode + 1, 0, True
            self._shoot()
        return observation, info

    def step(self, action: Tensor) -> Step:
        """Step the wrapped environment, and take a picture if one is due."""
        step = self.environment.step(action)
        if self._running:
            self._steps += 1
            self._running = not bool(step.terminated[self.which] | step.truncated[self.which])
            if not self._running or self._steps % self.every == 0:
                self._shoot()
        return step

    def render(self, task: int = 0, environment: int = 0) -> NDArray[np.uint8]:
        """A picture by the wrapped environment."""
        return self.environment.render(task, environment)

    def _shoot(self) -> None:
        if self._episodes is not None and self._episode not in self._episodes:
            return
        picture, n = self.render(*self.which), self.shrink
        if n > 1:
            height, width = (size // n for size in picture.shape[:2])
            blocks = picture[: height * n, : width * n].reshape(height, n, width, n, 3)
            picture = np.round(blocks.mean((1, 3))).astype(np.uint8)
        self._films.setdefault(self._episode, []).append(np.array(picture))  # a copy of what may be drawn over
