"""gymnasium environments as environments of many tasks, given a function that sets the task of one."""

import contextlib
import weakref
from collections.abc import Callable
from typing import Any, Self, final

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box, Discrete, MultiDiscrete
from gymnasium.spaces.utils import flatten_space
from torch import Tensor

from quickstudy.learner import Split
from quickstudy.rl.environment import EnvironmentTasks, Step
from quickstudy.rl.envs.bridges.answers import RESET, STEP, WrongAnswer, numbers, observed, parts, told
from quickstudy.rl.envs.bridges.layers import check_keeps_no_statistics, options_of
from quickstudy.rl.envs.bridges.samplers import Sampler, SampleTasks
from quickstudy.rl.envs.checks import Actions, check_tasks
from quickstudy.rl.envs.described import described_function
from quickstudy.rl.envs.failure import EnvironmentFailure, failure
from quickstudy.rl.envs.stage import DEVICE, NUM_TASKS, TASKS, Stage, numpy_dtype, task_generator
from quickstudy.rl.envs.task_list import as_list

MakeEnv = Callable[[], gymnasium.Env[Any, Any]]
SetTask = Callable[[gymnasium.Env[Any, Any], dict[str, Any]], Any]
SEEDS = 2**31 - 1  # all of gymnasium's environments accept seeds below this


def from_gymnasium(
    make_env: MakeEnv,
    set_task: SetTask,
    sample_tasks: SampleTasks,
    *,
    num_envs: int = 20,
    horizon: int | None = None,
    device: torch.device | str | None = None,
) -> "GymnasiumEnvironment":
    """An environment of many tasks made of `T * E` gymnasium environments, stepped one after another in this process.

    Args:
        make_env: a function that makes one gymnasium environment.
        set_task: a function `(env, task)` that sets the task of one; `task` maps names to numbers, or to arrays for
            values with several numbers. With wrappers, set attributes of `env.unwrapped`, and recompute there what
            the environment has computed from them.
        sample_tasks: a function `(num_tasks, generator)` that draws tasks, as tensors `[num_tasks, ...]` by name. It
            may take `split`, "train", "validation" or "test", too. If there are only so many tasks, give all of them,
            as tensors `[N, ...]` by name or as a list of dictionaries: each then belongs to one split, so that
            validation and test tasks are held out.
        num_envs: E, environments of each task.
        horizon: steps until an episode is truncated; None takes the environment's `max_episode_steps` in gymnasium.
        device: device of observations and rewards; None is torch's default device.

    Raises:
        ValueError: for actions that are neither Box, Discrete nor MultiDiscrete, observations that gymnasium cannot
            flatten into a Box, horizon=None where gymnasium has no limit, and wrappers that keep running statistics
            (NormalizeObservation, NormalizeReward): use `NormalizedObservations` and `RewardScale`, which belong to the
            learner and its checkpoint.
        TypeError: for a `sample_tasks` that is neither a function nor tasks.

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
    """The environment that `from_gymnasium` returns.

    Every reset draws the seeds of the gymnasium environments from the generator, so that runs are reproducible. Box
    observations are used as they are, others are flattened (a Discrete one becomes one-hot). Real actions are clipped
    to their space; discrete ones start at 0 in every space, and those of a MultiDiscrete space have one axis. Errors
    are `EnvironmentFailure`s, which name task, environment, step and seed.
    """

    num_tasks, device, tasks = NUM_TASKS, DEVICE, TASKS

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
        self._make, self._set_task = make_env, set_task
        self._envs = [self._made(), self._made()]
        self._closing = weakref.finalize(self, _close, self._envs)
        first = self._envs[0]
        self._options = options_of(*self._envs)
        self._name = first.spec.id if first.spec is not None else type(first.unwrapped).__name__
        limit = None if first.spec is None else first.spec.max_episode_steps
        horizon = limit if horizon is None else horizon
        if horizon is None:
            raise ValueError(f"{self._name} has no max_episode_steps in gymnasium; give horizon=...")
        self.num_envs, self.horizon = num_envs, horizon
        self._sample = Sampler(self._name, sample_tasks)
        self._own = first.observation_space, first.action_space
        self.observation_space, self.action_space = _spaces(self._name, *self._own)
        self._stage = Stage(
            self._name, num_envs=num_envs, horizon=self.horizon, action_space=self.action_space, device=device
        )
        self._dtype = self.observation_space.dtype
        self._each_task: list[dict[str, Any]] = []
        self._seeds: list[int] = []

    def __repr__(self) -> str:
        return f"from_gymnasium({self._name}, num_envs={self.num_envs}, horizon={self.horizon})"

    def sample_tasks(
        self, num_tasks: int, *, split: Split = "train", generator: torch.Generator | None = None
    ) -> EnvironmentTasks:
        """Draw tasks by the given function; equal seeds give different tasks in different splits."""
        generator = task_generator(num_tasks, split, generator)
        if generator is None:
            generator = torch.Generator().manual_seed(int(torch.randint(2**62, ())))
        return self._sample(num_tasks, split, generator)

    def set_tasks(self, tasks: EnvironmentTasks) -> None:
        """Set the task of every environment; call `reset` before the next step.

        Raises:
            TypeError, ValueError: unless `tasks` is a dictionary of finite tensors `[T, ...]`.
            EnvironmentFailure: if a task cannot be set, or changes an environment's spaces.
        """
        parts = tasks.items() if isinstance(tasks, dict) else ()
        shapes = {k: tuple(v.shape[1:]) for k, v in parts if isinstance(v, Tensor)}
        check_tasks(self._name, tasks, shapes)
        self._stage.forget()  # if one task cannot be set, no task stays set
        self._each_task = as_list(tasks)
        while len(self._envs) < len(self._each_task) * self.num_envs:
            self._envs.append(self._made())
        for i in range(len(self._each_task) * self.num_envs):
            task = self._each_task[i // self.num_envs]
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
        """Start new episodes where `mask [T, E]` is True (everywhere for None), and return all observations."""
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
                answer = self._envs[i].reset(seed=seeds[i])
            except Exception as error:
                raise self._failure(i, f"reset failed: {error!r}", 0) from error
            try:
                observation, _ = parts(answer, RESET)
            except WrongAnswer as error:
                raise self._failure(i, str(error), 0) from None
            self._observe(i, observation, 0)
        return self._tensor(self._observation), {}

    def step(self, action: Tensor) -> Step:
        """One step of every environment whose episode is running: `action [T, E, *da]`, or integers `[T, E]`.

        Numbers and truth values in gymnasium's `info` are tensors `[T, E]` in `Step.info`, NaN where there is none.
        """
        stage = self._stage
        running, action = stage.running(), stage.check_action(action)
        actions, infos = action.flatten(0, 1).cpu().numpy(), dict[str, Any]()
        reward, ended, cut = (np.zeros(len(actions), dtype=kind) for kind in (self._dtype, np.bool_, np.bool_))
        for i in running.flatten().nonzero().flatten().tolist():
            try:
                answer = self._envs[i].step(self._own_action(actions[i]))
            except Exception as error:
                raise self._failure(i, f"step({actions[i]}) failed: {error!r}", 1) from error
            try:
                observation, *rest, info = parts(answer, STEP)
                reward[i], ended[i], cut[i] = numbers(rest, actions[i])
            except WrongAnswer as error:
                raise self._failure(i, str(error), 1) from None
            self._observe(i, observation, 1)
            for key, value in told(info).items():
                infos.setdefault(key, np.full(len(actions), np.nan, self._dtype))[i] = value
        terminated, truncated = stage.tick(self._tensor(ended), self._tensor(cut))
        told_all = {key: self._tensor(values) for key, values in infos.items()}
        return Step(self._tensor(self._observation), self._tensor(reward), terminated, truncated, told_all)

    def render(self, task: int = 0, environment: int = 0) -> Any:
        """The result of the gymnasium environment's own `render`."""
        return self._envs[task * self.num_envs + environment].render()

    def close(self) -> None:
        """Close all environments. This happens by itself at the end of a `with`, and when this object is dropped."""
        for env in self._envs:
            env.close()
        self._closing.detach()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def description(self) -> dict[str, Any]:
        """The options by name, by which a resumed run recognises this environment."""
        return {
            **self._options,
            "num_envs": self.num_envs,
            "horizon": self.horizon,
            "set_task": described_function(self._set_task),
        }

    def _made(self) -> gymnasium.Env[Any, Any]:
        env = self._make()
        check_keeps_no_statistics(type(env.unwrapped).__name__ if env.spec is None else env.spec.id, env)
        return env

    def _own_action(self, action: Any) -> Any:
        """The action in the form that the gymnasium environment expects."""
        space = self._own[1]
        if isinstance(space, Discrete):
            return space.start + action
        if isinstance(space, MultiDiscrete):
            return (space.start + action.reshape(space.shape)).astype(space.dtype)
        return np.clip(action, space.low, space.high).astype(space.dtype)  # type: ignore[attr-defined]

    def _observe(self, i: int, observation: Any, stepped: int) -> None:
        """Store the observation of environment `i`; `stepped` as in `_failure`."""
        try:
            self._observation[i] = observed(observation, self._own[0], self.observation_space.shape or ())
        except WrongAnswer as error:
            task = self._each_task[i // self.num_envs]
            raise self._failure(i, f"{error}; look at its task {task}", stepped) from error.__cause__

    def _tensor(self, values: Any) -> Tensor:
        """A numpy array `[T * E, ...]`, copied into a tensor `[T, E, ...]`."""
        return torch.tensor(values.reshape(self.num_tasks, self.num_envs, *values.shape[1:]), device=self._stage.device)

    def _failure(self, i: int, what: str, stepped: int | None) -> EnvironmentFailure:
        """The exception for environment `i`.

        Args:
            i: its index in `[T * E]`.
            what: what went wrong.
            stepped: steps of the episode that are not counted yet; None if no episode has begun.
        """
        task, environment = divmod(i, self.num_envs)
        step = None if stepped is None else self._stage.step_of(task, environment) + stepped
        seed = None if step is None else self._seeds[i]
        return failure(what, name=self._name, task=task, environment=environment, step=step, seed=seed)


def _close(envs: list[gymnasium.Env[Any, Any]]) -> None:
    for env in envs:
        with contextlib.suppress(Exception):  # the object that they belong to is gone: nobody can be told
            env.close()


def _spaces(name: str, observation: Any, action: Any) -> tuple[Box, Actions]:
    """Observation and action space of the environment of many tasks."""
    if not isinstance(action, Actions):
        raise ValueError(f"{name} has actions in {action}; expected Box, Discrete or MultiDiscrete: wrap it first")
    seen = observation if isinstance(observation, Box) else flatten_space(observation)
    if not isinstance(seen, Box):
        raise ValueError(f"{name} has observations in {observation}, which cannot be flattened; wrap it first")
    if isinstance(action, Discrete):
        action = Discrete(int(action.n))
    if isinstance(action, MultiDiscrete):
        action = MultiDiscrete(action.nvec.flatten())
    return Box(seen.low.astype(numpy_dtype()), seen.high.astype(numpy_dtype()), dtype=numpy_dtype()), action
