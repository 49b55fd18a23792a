"""Any gymnasium environment with something that sets its task, behind the contract of environments."""

from collections.abc import Callable
from typing import Any, final

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from gymnasium.spaces.utils import flatten, flatten_space
from torch import Tensor

from quickstudy.learner import Split
from quickstudy.rl.environment import EnvironmentTasks, Step
from quickstudy.rl.envs.checks import check_tasks
from quickstudy.rl.envs.failure import EnvironmentFailure, failure
from quickstudy.rl.envs.stage import Stage, numpy_dtype
from quickstudy.rl.envs.task_list import as_list
from quickstudy.tasks.sampling import split_generator

MakeEnv = Callable[[], gymnasium.Env[Any, Any]]
SetTask = Callable[[gymnasium.Env[Any, Any], dict[str, Any]], Any]
SampleTasks = Callable[[int, torch.Generator], EnvironmentTasks]
SEEDS = 2**31 - 1  # below which all of gymnasium's environments take them


def from_gymnasium(
    make_env: MakeEnv,
    set_task: SetTask,
    sample_tasks: SampleTasks,
    *,
    num_envs: int = 20,
    horizon: int | None = None,
    device: torch.device | str | None = None,
) -> "GymnasiumEnvironment":
    """gymnasium's environments, `T * E` of them in this process, one after another.

    Args:
        make_env: makes one.
        set_task: of `(env, task)`; `task` holds numbers, or arrays where a task has several. Beware of wrappers:
            attributes belong to `env.unwrapped`, and what is computed from them must be computed anew.
        sample_tasks: of `(num_tasks, generator)`; draws tasks as tensors `[num_tasks, ...]` by name.
        num_envs: E, environments of each task.
        horizon: steps until an episode is truncated; None is the limit that gymnasium knows of.
        device: where observations and rewards go; None is torch's default.

    Raises:
        ValueError: for spaces other than Box or Discrete actions and what gymnasium can flatten into a Box, and where
            nobody knows a horizon.

    >>> def set_mass(env, task):
    ...     pole = env.unwrapped
    ...     pole.masspole = task["mass"]
    ...     pole.total_mass = pole.masspole + pole.masscart
    ...     pole.polemass_length = pole.masspole * pole.length
    >>> def masses(num_tasks, generator):
    ...     return {"mass": 0.1 + torch.rand(num_tasks, generator=generator)}
    >>> env = from_gymnasium(lambda: gymnasium.make("CartPole-v1"), set_mass, masses, num_envs=2)
    >>> env.set_tasks(env.sample_tasks(3))
    >>> env.reset()[0].shape, env.horizon
    (torch.Size([3, 2, 4]), 500)
    """
    return GymnasiumEnvironment(make_env, set_task, sample_tasks, num_envs=num_envs, horizon=horizon, device=device)


@final
class GymnasiumEnvironment:
    """What `from_gymnasium` makes. Seeds are drawn from the generator at each reset, so that runs can be repeated.

    Box observations are taken as they are, others flattened (a Discrete one is one-hot). Real actions are clipped to
    their space. What goes wrong is an `EnvironmentFailure`, which names task, environment, step and seed.
    """

    def __init__(
        self,
        make_env: MakeEnv,
        set_task: SetTask,
        sample_tasks: SampleTasks,
        *,
        num_envs: int,
        horizon: int | None,
        device: torch.device | str | None,
    ):
        self._make, self._set_task, self._sample = make_env, set_task, sample_tasks
        self._envs = [make_env()]
        first = self._envs[0]
        self._name = first.spec.id if first.spec is not None else type(first.unwrapped).__name__
        limit = None if first.spec is None else first.spec.max_episode_steps
        horizon = limit if horizon is None else horizon
        if horizon is None:
            raise ValueError(f"{self._name} has no limit of steps that gymnasium knows of; give horizon=...")
        self.num_envs, self.horizon = num_envs, horizon
        self._own = first.observation_space, first.action_space
        self.observation_space, self.action_space = _spaces(self._name, *self._own)
        self._stage = Stage(
            self._name, num_envs=num_envs, horizon=self.horizon, action_space=self.action_space, device=device
        )
        self._dtype = self.observation_space.dtype
        self._tasks: list[dict[str, Any]] = []
        self._seeds: list[int] = []

    def __repr__(self) -> str:
        return f"from_gymnasium({self._name}, num_envs={self.num_envs}, horizon={self.horizon})"

    @property
    def num_tasks(self) -> int:
        """`T`; 0 before `set_tasks`."""
        return self._stage.num_tasks

    @property
    def device(self) -> torch.device:
        """Where observations are."""
        return self._stage.device

    @property
    def tasks(self) -> EnvironmentTasks:
        """Those that were set."""
        return dict(self._stage.tasks)

    def sample_tasks(
        self, num_tasks: int, *, split: Split = "train", generator: torch.Generator | None = None
    ) -> EnvironmentTasks:
        """Draw tasks with the function that was given; equal seeds give different ones in different splits."""
        generator = split_generator(num_tasks, 0, 1, split, generator)
        if generator is None:
            generator = torch.Generator().manual_seed(int(torch.randint(2**62, ())))
        return self._sample(num_tasks, generator)

    def set_tasks(self, tasks: EnvironmentTasks) -> None:
        """Give every environment its task; `reset` before the next step.

        Raises:
            EnvironmentFailure: if one cannot be set, or changes the environment's spaces.
        """
        parts = tasks.items() if isinstance(tasks, dict) else ()
        shapes = {k: tuple(v.shape[1:]) for k, v in parts if isinstance(v, Tensor)}
        check_tasks(self._name, tasks, shapes)
        self._stage.forget()  # if one cannot be set, none is
        self._tasks = as_list(tasks)
        while len(self._envs) < len(self._tasks) * self.num_envs:
            self._envs.append(self._make())
        for i in range(len(self._tasks) * self.num_envs):
            task = self._tasks[i // self.num_envs]
            try:
                self._set_task(self._envs[i], task)
            except Exception as error:
                raise self._failure(i, f"set_task failed on {task}: {error!r}", None) from error
            found = self._envs[i].observation_space, self._envs[i].action_space
            if found != self._own:
                what = f"its spaces are {found[0]}, {found[1]} under {task}, and {self._own[0]}, {self._own[1]} before"
                raise self._failure(i, f"{what}; all tasks must share them", None)
        self._stage.set_tasks(tasks, shapes)

    def reset(
        self, mask: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, dict[str, Any]]:
        """Start new episodes where `mask [T, E]` is True (all if None); the observations of all."""
        stage = self._stage
        new = stage.start(mask, generator)
        draw = stage.generator
        where = stage.device if draw is None else draw.device
        seeds = torch.randint(SEEDS, tuple(new.shape), generator=draw, device=where).flatten().tolist()
        if mask is None:
            self._seeds = list(seeds)
            shape = (self.num_tasks * self.num_envs, *(self.observation_space.shape or ()))
            self._observation = np.zeros(shape, dtype=self._dtype)
        for i in new.flatten().nonzero().flatten().tolist():
            self._seeds[i] = seeds[i]
            try:
                observation, _ = self._envs[i].reset(seed=seeds[i])
            except Exception as error:
                raise self._failure(i, f"reset failed: {error!r}", 0) from error
            self._observe(i, observation, 0)
        return self._tensor(self._observation), {}

    def step(self, action: Tensor) -> Step:
        """One step of every environment whose episode runs: `action [T, E, *da]`, or integers `[T, E]`."""
        stage = self._stage
        running, action = stage.running(), stage.check_action(action)
        actions = action.flatten(0, 1).cpu().numpy()
        reward, ended, cut = (np.zeros(len(actions), dtype=kind) for kind in (self._dtype, np.bool_, np.bool_))
        for i in running.flatten().nonzero().flatten().tolist():
            try:
                observation, reward[i], ended[i], cut[i], _ = self._envs[i].step(self._understood(actions[i]))
            except Exception as error:
                raise self._failure(i, f"step({actions[i]}) failed: {error!r}", 1) from error
            self._observe(i, observation, 1)
            if np.isnan(reward[i]):
                raise self._failure(i, f"the reward of action {actions[i]} is NaN", 1)
        terminated, truncated = stage.tick(self._tensor(ended), self._tensor(cut))
        return Step(self._tensor(self._observation), self._tensor(reward), terminated, truncated, {})

    def render(self, task: int = 0, environment: int = 0) -> Any:
        """What the environment's own `render` gives."""
        return self._envs[task * self.num_envs + environment].render()

    def close(self) -> None:
        """Close all environments."""
        for env in self._envs:
            env.close()

    def _understood(self, action: Any) -> Any:
        space = self._own[1]
        if isinstance(space, Discrete):
            return space.start + action
        return np.clip(action, space.low, space.high).astype(space.dtype)  # type: ignore[attr-defined]

    def _observe(self, i: int, observation: Any, stepped: int) -> None:
        space = self._own[0]
        values: Any = observation if isinstance(space, Box) else flatten(space, observation)
        self._observation[i] = values
        if np.isnan(self._observation[i]).any():
            task = self._tasks[i // self.num_envs]
            raise self._failure(i, f"the observation is {values}; look at its task {task}", stepped)

    def _tensor(self, values: Any) -> Tensor:
        """`[T * E, ...]` in numpy as `[T, E, ...]`, a copy."""
        return torch.tensor(values.reshape(self.num_tasks, self.num_envs, *values.shape[1:]), device=self._stage.device)

    def _failure(self, i: int, what: str, stepped: int | None) -> EnvironmentFailure:
        """`stepped`: steps beyond those that count already; None where no episode has begun."""
        task, environment = divmod(i, self.num_envs)
        step = None if stepped is None else self._stage.step_of(task, environment) + stepped
        seed = None if step is None else self._seeds[i]
        return failure(what, name=self._name, task=task, environment=environment, step=step, seed=seed)


def _spaces(name: str, observation: Any, action: Any) -> tuple[Box, Box | Discrete]:
    """Those of the environment as it is seen here."""
    if not isinstance(action, Box | Discrete):
        raise ValueError(f"{name} has actions in {action}; expected Box or Discrete: wrap it first")
    seen = observation if isinstance(observation, Box) else flatten_space(observation)
    if not isinstance(seen, Box):
        raise ValueError(f"{name} has observations in {observation}, which cannot be flattened; wrap it first")
    if isinstance(action, Discrete):
        action = Discrete(int(action.n))
    return Box(seen.low.astype(numpy_dtype()), seen.high.astype(numpy_dtype()), dtype=numpy_dtype()), action
