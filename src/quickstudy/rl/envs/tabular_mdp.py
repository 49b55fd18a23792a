"""Markov decision processes with few states and actions, given by tables."""

from typing import Any, Self, final

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from torch import Tensor

from quickstudy.checks import check_whole
from quickstudy.learner import Split
from quickstudy.rl.environment import EnvironmentTasks, Step
from quickstudy.rl.envs.stage import DEVICE, NUM_TASKS, TASKS, Stage, numpy_dtype, task_generator
from quickstudy.tasks.sampling import number, uniform


@final
class TabularMDP:
    """A random MDP for every task: s' ~ P(. | s, a), r ~ N(R(s, a), noise²).

    The defaults are those of Duan et al. 2016 (RL²), section 3.2: 10 states, 5 actions, episodes of 10 steps
    that begin in state 0; R(s, a) ~ N(1, 1), P(. | s, a) from a flat Dirichlet distribution, and noise of standard
    deviation 1. The observation is the state, one-hot.

    A task consists of `transition [T, S, A, S]` and `reward [T, S, A]`; `set_tasks` takes any tables of these shapes.

    Args:
        states, actions: S and A.
        noise: standard deviation of a reward around its mean.
        num_envs: E, environments of each task.
        horizon: steps until an episode is truncated.
        device: device of tasks, observations and rewards; None is torch's default device.

    Raises:
        ValueError: for fewer than one state or action, and a negative noise.

    >>> stay = torch.eye(2)[:, None]  # one action, which leaves the state as it is
    >>> env = TabularMDP.from_tables(stay, torch.tensor([[3.0], [0.0]]), num_envs=1)
    >>> env.reset()[0]
    tensor([[[1., 0.]]])
    >>> env.step(torch.tensor([[0]])).reward
    tensor([[3.]])
    """

    num_tasks, device, tasks = NUM_TASKS, DEVICE, TASKS

    def __init__(
        self,
        *,
        states: int = 10,
        actions: int = 5,
        noise: float = 1.0,
        num_envs: int = 20,
        horizon: int = 10,
        device: torch.device | str | None = None,
    ):
        self.states, self.actions = check_whole("states", states), check_whole("actions", actions)
        self._noise = number("noise", noise)
        self.num_envs, self.horizon = num_envs, horizon
        self.observation_space = Box(0.0, 1.0, (states,), dtype=numpy_dtype())
        self.action_space = Discrete(actions)
        self._state = torch.empty(0, dtype=torch.long)
        self._stage = Stage(
            "TabularMDP", num_envs=num_envs, horizon=horizon, action_space=self.action_space, device=device
        )

    @classmethod
    def from_tables(
        cls,
        transition: Tensor,
        reward: Tensor,
        *,
        noise: float = 0.0,
        num_envs: int = 20,
        horizon: int = 10,
        device: torch.device | str | None = None,
    ) -> Self:
        """An environment whose tasks are set to the MDPs of these tables.

        Args:
            transition: P, `[S, A, S]`, or `[T, S, A, S]` for T tasks.
            reward: R, `[S, A]` or `[T, S, A]`.
            noise: standard deviation of a reward around its mean; 0 by default.
            num_envs, horizon, device: as in the class.
        """
        if transition.dim() not in (3, 4) or reward.dim() != transition.dim() - 1:
            raise ValueError(
                f"transition has shape {list(transition.shape)} and reward {list(reward.shape)}; "
                "expected [S, A, S] and [S, A], or [T, S, A, S] and [T, S, A]"
            )
        if transition.dim() == 3:
            transition, reward = transition[None], reward[None]
        states, actions = transition.shape[1:3]
        env = cls(states=states, actions=actions, noise=noise, num_envs=num_envs, horizon=horizon, device=device)
        env.set_tasks({"transition": transition, "reward": reward})
        return env

    def config(self) -> dict[str, Any]:
        """The arguments that rebuild this environment."""
        size = {"num_envs": self.num_envs, "horizon": self.horizon}
        return {"states": self.states, "actions": self.actions, "noise": self._noise, **size}

    def __repr__(self) -> str:
        return f"TabularMDP({', '.join(f'{word}={value!r}' for word, value in self.config().items())})"

    def sample_tasks(
        self, num_tasks: int, *, split: Split = "train", generator: torch.Generator | None = None
    ) -> EnvironmentTasks:
        """Draw `transition` and `reward`; equal seeds give different tasks in different splits."""
        generator = task_generator(num_tasks, split, generator)
        shape = (num_tasks, self.states, self.actions)
        # normalised exponential draws are a draw from the flat Dirichlet distribution
        weight = -(1 - uniform(*shape, self.states, generator=generator)).log()
        device = None if generator is None else generator.device
        reward = 1 + torch.randn(shape, generator=generator, device=device)
        return {"transition": weight / weight.sum(-1, keepdim=True), "reward": reward}

    def set_tasks(self, tasks: EnvironmentTasks) -> None:
        """Set `transition` and `reward`; call `reset` before the next step.

        Raises:
            TypeError, ValueError: for other names or shapes, and rows of `transition` that do not sum to 1.
        """
        table = tasks.get("transition") if isinstance(tasks, dict) else None
        if isinstance(table, Tensor) and table.dim() == 4:
            wrong = (table < 0).any(-1) | ((table.sum(-1) - 1).abs() > 1e-4)
            if bool(wrong.any()):
                task, state, action = wrong.nonzero()[0].tolist()
                raise ValueError(
                    f"TabularMDP.set_tasks: transition of task {task}, state {state}, action {action} is "
                    f"{table[task, state, action].tolist()}; expected probabilities that sum to 1"
                )
        shape = (self.states, self.actions)
        kept = self._stage.set_tasks(tasks, {"transition": (*shape, self.states), "reward": shape})
        self._cumulative = kept["transition"].cumsum(-1).flatten(0, 2)
        self._rows = torch.arange(self.num_tasks, device=self._stage.device)[:, None] * (self.states * self.actions)

    def reset(
        self, mask: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, dict[str, Any]]:
        """Start new episodes in state 0 where `mask [T, E]` is True (everywhere for None).

        Returns all states, one-hot `[T, E, S]`.
        """
        new = self._stage.start(mask, generator)
        self._state = torch.zeros_like(new, dtype=torch.long) if mask is None else self._state.masked_fill(new, 0)
        return self._observation(), {}

    def step(self, action: Tensor) -> Step:
        """Take action `action [T, E]` in each environment."""
        stage = self._stage
        running, action = stage.running(), stage.check_action(action)
        row = self._rows + self._state * self.actions + action
        reward = stage.tasks["reward"].flatten()[row]
        if self._noise:
            reward = reward + self._noise * stage.normal()
        cumulative = self._cumulative[row]
        # the draw is scaled, as a row may sum to 1 only up to rounding; so a state of probability 0 is never entered
        state = (cumulative <= stage.uniform(1) * cumulative[..., -1:]).sum(-1).clamp_(max=self.states - 1)
        self._state = torch.where(running, state, self._state)
        terminated, truncated = stage.tick(torch.zeros_like(running))
        return Step(self._observation(), torch.where(running, reward, 0.0), terminated, truncated, {})

    def _observation(self) -> Tensor:
        return torch.nn.functional.one_hot(self._state, self.states).to(self._stage.dtype)

    def render(self, task: int = 0, environment: int = 0) -> np.ndarray:
        """A picture `[height, width, 3]` of one environment: each state's best mean reward, and the current state."""
        from quickstudy.rl.envs.rendering import bars

        self._stage.running()
        best = self._stage.tasks["reward"][task].amax(-1)
        heights = (best - best.min()) / (best.max() - best.min() + 1e-9)
        return bars(heights.tolist(), int(self._state[task, environment]))
