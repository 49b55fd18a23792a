"""Small environments for the tests: points that walk to goals, an MDP small enough to enumerate, two arms."""

from typing import Any

import torch
from gymnasium.spaces import Box, Discrete
from torch import Tensor, nn

from quickstudy.rl import Bandit, CategoricalPolicy
from quickstudy.rl.environment import EnvironmentTasks, Step


class World:
    """What both share: rows that are done stay done, and all chance comes from the generator of the last reset."""

    def __init__(self, num_envs: int, horizon: int):
        self.num_envs, self.horizon, self.num_tasks, self.generator = num_envs, horizon, 0, None
        self.tasks: EnvironmentTasks = {}

    def set_tasks(self, tasks: EnvironmentTasks) -> None:
        self.tasks, self.num_tasks = tasks, len(next(iter(tasks.values())))

    def reset(self, mask: Tensor | None = None, *, generator: torch.Generator | None = None) -> tuple[Tensor, dict]:
        if generator is not None:
            self.generator = generator
        shape = (self.num_tasks, self.num_envs)
        if mask is None:
            mask = torch.ones(shape, dtype=torch.bool)
            self.state = self.start(shape)
            self.clock, self.done = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.bool)
        fresh = self.start(shape)
        self.state = torch.where(mask.reshape(*shape, *[1] * (fresh.dim() - 2)), fresh, self.state)
        self.clock, self.done = self.clock.masked_fill(mask, 0), self.done & ~mask
        return self.seen(), {}

    def step(self, action: Tensor) -> Step:
        was = self.done
        state, reward, terminated = self.move(action)
        self.state = torch.where(was.reshape(*was.shape, *[1] * (state.dim() - 2)), self.state, state)
        self.clock = self.clock + (~was).long()
        terminated = terminated & ~was
        truncated = (self.clock >= self.horizon) & ~was & ~terminated
        self.done = was | terminated | truncated
        return Step(self.seen(), torch.where(was, 0.0, reward), terminated, truncated, {})


class Points(World):
    """Points in the plane, from the origin to a goal each task has; an episode ends near it, at `radius`."""

    def __init__(self, num_envs: int = 4, horizon: int = 6, radius: float = 0.3, start: float = 0.1):
        super().__init__(num_envs, horizon)
        self.radius, self.spread = radius, start
        self.observation_space, self.action_space = Box(-10, 10, (2,)), Box(-1, 1, (2,))
        self.actions: list[Tensor] = []

    def sample_tasks(self, num_tasks: int, *, split: str = "train", generator: Any = None) -> EnvironmentTasks:
        return {"goal": torch.rand(num_tasks, 2, generator=generator) * 2 - 1}

    def start(self, shape: tuple[int, int]) -> Tensor:
        return self.spread * torch.randn(*shape, 2, generator=self.generator)

    def seen(self) -> Tensor:
        return self.state

    def move(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        self.actions.append(action)
        state = self.state + 0.5 * action.clamp(-1, 1)
        away = (state - self.tasks["goal"][:, None]).norm(dim=-1)
        return state, -away, away < self.radius


class Chain(World):
    """Three states, two actions, two steps; every task has its rewards `[T, 3, 2]`. States are seen one-hot.

    An episode begins in state 0. Action `a` leads to state 1 with probability `ahead[a]`, or else to state 2.
    """

    ahead = (0.8, 0.3)

    def __init__(self, num_envs: int = 4):
        super().__init__(num_envs, 2)
        self.observation_space, self.action_space = Box(0, 1, (3,)), Discrete(2)

    def sample_tasks(self, num_tasks: int, *, split: str = "train", generator: Any = None) -> EnvironmentTasks:
        return {"reward": torch.randn(num_tasks, 3, 2, generator=generator)}

    def start(self, shape: tuple[int, int]) -> Tensor:
        return torch.zeros(shape, dtype=torch.long)

    def seen(self) -> Tensor:
        return torch.nn.functional.one_hot(self.state, 3).to(torch.get_default_dtype())

    def move(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        rewards = self.tasks["reward"].flatten(1)
        reward = rewards.gather(1, 2 * self.state + action)
        ahead = torch.rand(action.shape, generator=self.generator) < torch.tensor(self.ahead)[action]
        return torch.where(ahead, 1, 2), reward, torch.zeros_like(self.state, dtype=torch.bool)


def two_arms() -> Bandit:
    """Ten tasks: the first arm pays in half of them, the second in the others, 9 times of 10."""
    environment = Bandit(arms=2, num_envs=10, horizon=10)
    environment.set_tasks({"probability": torch.tensor([[0.9, 0.1], [0.1, 0.9]]).repeat(5, 1)})
    return environment


def sure_of_the_first() -> CategoricalPolicy:
    """A policy that pulls the second arm twice in a hundred times."""
    policy = CategoricalPolicy(nn.Linear(1, 2))
    with torch.no_grad():
        policy.network.weight.zero_()
        policy.network.bias.copy_(torch.tensor([2.0, -2.0]))
    return policy
