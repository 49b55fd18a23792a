"""Gaussian bandits: each arm pays a normal amount around a mean that the learner does not know."""

from typing import Any, final

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from torch import Tensor

from quickstudy.checks import check_positive, check_whole
from quickstudy.learner import Split
from quickstudy.rl.environment import EnvironmentTasks, Step
from quickstudy.rl.envs.stage import (
    DEVICE,
    NUM_TASKS,
    TASKS,
    Stage,
    numpy_dtype,
    standard_normal,
    task_generator,
)


@final
class GaussianBandit:
    """A bandit with k arms: arm i gives the reward r ~ N(m_i, noise²), and every task has its own m_i ~ N(0, spread²).

    The observation is always 1 (one feature): a learner must remember its actions and rewards itself. Policies that
    know the prior are in `quickstudy.rl.envs.references.gaussian_bandit`; with five arms and 100 pulls, the index
    policy earns 103.2 ± 1.0, Thompson sampling 96.3 and greed 86.5.

    A task consists of `mean [T, k]`, the mean reward of each arm.

    Args:
        arms: k.
        spread: standard deviation of the means.
        noise: standard deviation of the rewards of an arm.
        num_envs: E, environments of each task.
        horizon: pulls until an episode is truncated.
        device: device of tasks, observations and rewards; None is torch's default device.

    Raises:
        ValueError: for fewer than one arm, and a spread or noise that is not above 0.

    >>> env = GaussianBandit(arms=2, noise=1e-3, num_envs=3)
    >>> env.set_tasks({"mean": torch.tensor([[-1.0, 2.0]])})
    >>> _ = env.reset()
    >>> env.step(torch.tensor([[0, 1, 1]])).reward.round()
    tensor([[-1.,  2.,  2.]])
    """

    num_tasks, device, tasks = NUM_TASKS, DEVICE, TASKS

    def __init__(
        self,
        *,
        arms: int = 5,
        spread: float = 1.0,
        noise: float = 1.0,
        num_envs: int = 20,
        horizon: int = 100,
        device: torch.device | str | None = None,
    ):
        self.arms = check_whole("arms", arms)
        self.spread, self.noise = float(check_positive("spread", spread)), float(check_positive("noise", noise))
        self.num_envs, self.horizon = num_envs, horizon
        self.observation_space = Box(0.0, 1.0, (1,), dtype=numpy_dtype())
        self.action_space = Discrete(arms)
        self._last = torch.empty(0, dtype=torch.long)
        self._stage = Stage(
            "GaussianBandit", num_envs=num_envs, horizon=horizon, action_space=self.action_space, device=device
        )

    def config(self) -> dict[str, Any]:
        """The arguments that rebuild this environment."""
        size = {"num_envs": self.num_envs, "horizon": self.horizon}
        return {"arms": self.arms, "spread": self.spread, "noise": self.noise, **size}

    def __repr__(self) -> str:
        return f"GaussianBandit({', '.join(f'{word}={value!r}' for word, value in self.config().items())})"

    def sample_tasks(
        self, num_tasks: int, *, split: Split = "train", generator: torch.Generator | None = None
    ) -> EnvironmentTasks:
        """Draw the means `[T, k]`; equal seeds give different tasks in different splits."""
        generator = task_generator(num_tasks, split, generator)
        where = self._stage.device if generator is None else generator.device
        return {"mean": self.spread * standard_normal((num_tasks, self.arms), generator, where, self._stage.dtype)}

    def set_tasks(self, tasks: EnvironmentTasks) -> None:
        """Set the means `[T, k]`; call `reset` before the next step.

        Raises:
            TypeError, ValueError: for other names or shapes.
        """
        self._stage.set_tasks(tasks, {"mean": (self.arms,)})

    def reset(
        self, mask: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, dict[str, Any]]:
        """Start new episodes where `mask [T, E]` is True (everywhere for None); observations are 1, `[T, E, 1]`."""
        new = self._stage.start(mask, generator)
        none = torch.full_like(new, -1, dtype=torch.long)
        self._last = none if mask is None else torch.where(new, none, self._last)
        return self._observation(), {}

    def step(self, action: Tensor) -> Step:
        """Pull arm `action [T, E]` in each environment."""
        stage = self._stage
        running, action = stage.running(), stage.check_action(action)
        pays = stage.tasks["mean"].gather(1, action) + self.noise * stage.normal()
        self._last = torch.where(running, action, self._last)
        terminated, truncated = stage.tick(torch.zeros_like(running))
        return Step(self._observation(), torch.where(running, pays, 0.0), terminated, truncated, {})

    def _observation(self) -> Tensor:
        stage = self._stage
        return torch.ones(stage.num_tasks, self.num_envs, 1, dtype=stage.dtype, device=stage.device)

    def render(self, task: int = 0, environment: int = 0) -> np.ndarray:
        """A picture `[height, width, 3]` of one environment: each arm's mean, from -3 to 3 spreads; the last pull."""
        from quickstudy.rl.envs.rendering import bars

        self._stage.running()
        heights = (self._stage.tasks["mean"][task] / (6 * self.spread) + 0.5).clamp(0, 1)
        return bars(heights.tolist(), int(self._last[task, environment]))
