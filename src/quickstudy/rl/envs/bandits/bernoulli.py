"""Bernoulli bandits: each arm pays with a probability that the learner does not know."""

from typing import Any, final

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from torch import Tensor

from quickstudy.checks import check_whole
from quickstudy.learner import Split
from quickstudy.rl.environment import EnvironmentTasks, Step
from quickstudy.rl.envs.stage import DEVICE, NUM_TASKS, TASKS, Stage, numpy_dtype, task_generator
from quickstudy.tasks.sampling import Range, as_range, stretch, uniform


@final
class Bandit:
    """A bandit with k arms: arm i gives the reward r ~ Bernoulli(p_i), and every task has its own p_i ~ U(0, 1).

    This is the bandit of Duan et al. 2016 (RL²), section 3.1, with k = 5, 10 or 50 and episodes of 10, 100 or 500
    pulls. The observation is always 1 (one feature): a learner must remember its actions and rewards itself.

    A task consists of `probability [T, k]`, the probability of a reward for each arm.

    Args:
        arms: k.
        probability: one number for all arms, or the `(low, high)` range from which each arm's probability is drawn.
        num_envs: E, environments of each task.
        horizon: pulls until an episode is truncated.
        device: device of tasks, observations and rewards; None is torch's default device.

    Raises:
        ValueError: for fewer than one arm, and probabilities outside [0, 1].

    >>> env = Bandit(arms=2, num_envs=3)
    >>> env.set_tasks({"probability": torch.tensor([[0.0, 1.0]])})
    >>> _ = env.reset()
    >>> env.step(torch.tensor([[0, 1, 1]])).reward
    tensor([[0., 1., 1.]])
    """

    num_tasks, device, tasks = NUM_TASKS, DEVICE, TASKS

    def __init__(
        self,
        *,
        arms: int = 5,
        probability: Range = (0.0, 1.0),
        num_envs: int = 20,
        horizon: int = 100,
        device: torch.device | str | None = None,
    ):
        self.arms = check_whole("arms", arms)
        self._range = as_range("probability", probability, least=0.0)
        if max(probability if isinstance(probability, tuple | list) else (probability,)) > 1:
            raise ValueError(f"probability={probability!r}; expected values from 0 to 1")
        self.num_envs, self.horizon = num_envs, horizon
        self.observation_space = Box(0.0, 1.0, (1,), dtype=numpy_dtype())
        self.action_space = Discrete(arms)
        self._last = torch.empty(0, dtype=torch.long)
        self._stage = Stage("Bandit", num_envs=num_envs, horizon=horizon, action_space=self.action_space, device=device)

    def config(self) -> dict[str, Any]:
        """The arguments that rebuild this environment."""
        size = {"num_envs": self.num_envs, "horizon": self.horizon}
        return {"arms": self.arms, "probability": self._range, **size}

    def __repr__(self) -> str:
        return f"Bandit({', '.join(f'{word}={value!r}' for word, value in self.config().items())})"

    def sample_tasks(
        self, num_tasks: int, *, split: Split = "train", generator: torch.Generator | None = None
    ) -> EnvironmentTasks:
        """Draw the probabilities `[T, k]`; equal seeds give different tasks in different splits."""
        generator = task_generator(num_tasks, split, generator)
        return {"probability": stretch(uniform(num_tasks, self.arms, generator=generator), self._range)}

    def set_tasks(self, tasks: EnvironmentTasks) -> None:
        """Set the probabilities `[T, k]`; call `reset` before the next step.

        Raises:
            TypeError, ValueError: for other names or shapes, and probabilities outside [0, 1].
        """
        given = tasks.get("probability") if isinstance(tasks, dict) else None
        if isinstance(given, Tensor) and bool(((given < 0) | (given > 1)).any()):
            raise ValueError(
                f"Bandit.set_tasks: probability goes from {given.min():g} to {given.max():g}; expected 0 to 1"
            )
        self._stage.set_tasks(tasks, {"probability": (self.arms,)})

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
        pays = stage.uniform() < stage.tasks["probability"].gather(1, action)
        self._last = torch.where(running, action, self._last)
        terminated, truncated = stage.tick(torch.zeros_like(running))
        return Step(self._observation(), (pays & running).to(stage.dtype), terminated, truncated, {})

    def _observation(self) -> Tensor:
        stage = self._stage
        return torch.ones(stage.num_tasks, self.num_envs, 1, dtype=stage.dtype, device=stage.device)

    def render(self, task: int = 0, environment: int = 0) -> np.ndarray:
        """A picture `[height, width, 3]` of one environment: the probability of each arm, and the last arm pulled."""
        from quickstudy.rl.envs.rendering import bars

        self._stage.running()
        return bars(self._stage.tasks["probability"][task].tolist(), int(self._last[task, environment]))
