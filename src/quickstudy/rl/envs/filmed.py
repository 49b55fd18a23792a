"""Environments with a camera: pictures of what happens in one of them, whoever acts."""

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
    """`environment` as it is, and a film of every episode in one of its places: what it looks like at the start, after
    steps, and at the end.

    Whoever acts in it does not notice: it goes wherever an environment does, and `Informed` around it.

    Args:
        environment: with a method `render(task, environment)`.
        which: task and environment to look at.
        every: steps from one picture to the next; the end of an episode is always in it.
        episodes: numbers of those to film, from 0 on; None films all. A film of 500 large pictures fills 200 MB.
        shrink: pixels of each side whose mean becomes one.

    Raises:
        TypeError: for environments that cannot be drawn.
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
        self.environment: Any = environment  # what it has beyond the contract is handed on
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
        """As the environment's."""
        return home(self.environment)

    @property
    def tasks(self) -> EnvironmentTasks:
        """As the environment's, if it tells them."""
        return self.environment.tasks

    @property
    def films(self) -> dict[int, NDArray[np.uint8]]:
        """Pictures `[F, height, width, 3]` by the number of the episode."""
        return {number: np.stack(pictures) for number, pictures in self._films.items()}

    def sample_tasks(
        self, num_tasks: int, *, split: Split = "train", generator: torch.Generator | None = None
    ) -> EnvironmentTasks:
        """As the environment's."""
        return self.environment.sample_tasks(num_tasks, split=split, generator=generator)

    def set_tasks(self, tasks: EnvironmentTasks) -> None:
        """As the environment's; films that there are stay."""
        self.environment.set_tasks(tasks)
        self._running = False

    def reset(
        self, mask: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, dict[str, Any]]:
        """As the environment's; where it starts the place that is looked at, a new film begins."""
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
        """As the environment's."""
        step = self.environment.step(action)
        if self._running:
            self._steps += 1
            self._running = not bool(step.terminated[self.which] | step.truncated[self.which])
            if not self._running or self._steps % self.every == 0:
                self._shoot()
        return step

    def render(self, task: int = 0, environment: int = 0) -> NDArray[np.uint8]:
        """As the environment's."""
        return self.environment.render(task, environment)

    def _shoot(self) -> None:
        if self._episodes is not None and self._episode not in self._episodes:
            return
        picture, n = self.render(*self.which), self.shrink
        if n > 1:
            height, width = (size // n for size in picture.shape[:2])
            blocks = picture[: height * n, : width * n].reshape(height, n, width, n, 3)
            picture = np.round(blocks.mean((1, 3))).astype(np.uint8)
        self._films.setdefault(self._episode, []).append(picture)
