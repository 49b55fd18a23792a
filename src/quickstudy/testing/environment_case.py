"""An environment under test: how it is built, and how checks run it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from gymnasium.spaces import Box, MultiDiscrete
from torch import Tensor

from quickstudy.rl.environment import EnvironmentTasks, Step, choices_of

TASKS = 3  # number of tasks in each batch
PARTS = ("observation", "reward", "terminated", "truncated")


@dataclass(frozen=True)
class EnvironmentCase:
    """An environment under test.

    Args:
        make: builds a new environment, with no tasks set.
    """

    make: Callable[[], Any]

    def ready(self, seed: int = 0) -> Any:
        """Return a new environment with tasks set."""
        env = self.make()
        env.set_tasks(self.tasks(env, seed=seed))
        return env

    def tasks(self, env: Any, num_tasks: int = TASKS, *, seed: int = 0) -> EnvironmentTasks:
        """Draw tasks of the environment from a seeded generator."""
        return env.sample_tasks(num_tasks, generator=seeded(seed))


def seeded(seed: int = 0) -> torch.Generator:
    """Return a seeded generator on the CPU."""
    return torch.Generator("cpu").manual_seed(seed)


def actions_for(env: Any, steps: int | None = None, *, seed: int = 5) -> list[Tensor]:
    """Draw actions for all environments within their space, for `steps` steps; by default for one episode."""
    shape, draw = (env.num_tasks, env.num_envs), seeded(seed)
    steps = env.horizon if steps is None else steps
    space: Any = env.action_space
    if choices := choices_of(space):
        whole = [[torch.randint(n, shape, generator=draw, device="cpu") for n in choices] for _ in range(steps)]
        return [torch.stack(parts, -1) if isinstance(space, MultiDiscrete) else parts[0] for parts in whole]
    dtype = torch.get_default_dtype()
    low, high = (torch.as_tensor(end, dtype=dtype, device="cpu") for end in (space.low, space.high))
    return [torch.randn(*shape, *space.shape, generator=draw, device="cpu").clamp(low, high) for _ in range(steps)]


def run(env: Any, actions: list[Tensor], seed: int = 9) -> tuple[Tensor, list[Step]]:
    """Reset with a seed and take these actions; returns the first observation and all steps."""
    observation, _ = env.reset(generator=seeded(seed))
    return observation, [env.step(action) for action in actions]


def differing_part(a: Step, b: Step, task: int | slice = slice(None)) -> str:
    """Return the name of the first part in which two steps differ; empty if there is none."""
    for name in PARTS:
        if not torch.equal(getattr(a, name)[task], getattr(b, name)[task]):
            return name
    return ""


def mask_of(env: Any, value: bool = False) -> Tensor:
    """Return a mask `[T, E]` filled with `value`."""
    return torch.full((env.num_tasks, env.num_envs), value, device="cpu")


def is_continuous(env: Any) -> bool:
    """Return whether actions are real numbers."""
    return isinstance(env.action_space, Box)
