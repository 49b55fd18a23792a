"""Resets and steps of any environment, whose answers are checked before they are used.

An environment of somebody's own may raise, return tensors of other shapes or types, or hand out the same tensors at
every step. Everything that acts in environments calls them here, and copies what it keeps before the next call.
"""

from typing import Any

import torch
from torch import Tensor

from quickstudy.learner import Split
from quickstudy.rl.environment import Environment, Step
from quickstudy.rl.envs.failure import EnvironmentFailure, failure

FLAGS = ("terminated", "truncated")


def begin(
    environment: Environment,
    mask: Tensor | None = None,
    *,
    generator: torch.Generator | None = None,
    step: int = 0,
    seed: int | None = None,
) -> Tensor:
    """Reset the environment where `mask` is True, everywhere for None; returns its observations `[T, E, *do]`.

    Args:
        environment: the environment.
        mask, generator: as in `Environment.reset`.
        step, seed: for messages: the number of steps so far, and the seed of the generator of an earlier reset.

    Raises:
        EnvironmentFailure: if it raises an exception, or returns something else than observations of its space.
    """
    seed = seed if generator is None else generator.initial_seed()
    try:
        answer: Any = environment.reset(mask, generator=generator)
    except EnvironmentFailure:
        raise
    except Exception as error:
        raise _failed(environment, f"reset failed: {error!r}", step, seed) from error
    if not (isinstance(answer, tuple) and len(answer) == 2):
        raise _failed(environment, f"reset returned {_described(answer)}; expected (observation, info)", step, seed)
    _check_tensor(environment, "reset's observation", answer[0], _observed(environment), step, seed)
    return answer[0]


def advance(environment: Environment, action: Tensor, like: Tensor, *, step: int, seed: int | None) -> Step:
    """Step the environment; returns its answer.

    Args:
        environment: the environment.
        action: `[T, E, *da]`.
        like: earlier observations, which have the type of the new ones.
        step: the number of steps before this one, for messages.
        seed: seed of its random numbers, for messages.

    Raises:
        EnvironmentFailure: if it raises an exception, or returns something else than the contract says: another number
            of values, no tensors, other shapes, other types.
    """
    try:
        answer: Any = environment.step(action)
    except EnvironmentFailure:
        raise
    except Exception as error:
        raise _failed(environment, f"step failed: {error!r}", step, seed) from error
    if not (isinstance(answer, tuple) and len(answer) == 5):
        expected = "expected quickstudy.rl.Step(observation, reward, terminated, truncated, info)"
        raise _failed(environment, f"step returned {_described(answer)}; {expected}", step, seed)
    answer = Step(*answer)
    shape = like.shape[:2]
    for name, wanted in (("observation", like.shape), ("reward", shape), *((flag, shape) for flag in FLAGS)):
        _check_tensor(environment, name, getattr(answer, name), wanted, step, seed)
    if answer.observation.dtype != like.dtype:
        what = f"the observation is {answer.observation.dtype}, and after reset it was {like.dtype}"
        raise _failed(environment, f"{what}; all must have one type, torch's default", step, seed)
    if not answer.reward.is_floating_point():
        raise _failed(environment, f"the reward is {answer.reward.dtype}; expected real numbers", step, seed)
    for name in FLAGS:
        if getattr(answer, name).dtype != torch.bool:
            raise _failed(environment, f"{name} is {getattr(answer, name).dtype}; expected torch.bool", step, seed)
    return answer


def name_of(environment: Environment) -> str:
    """The name of the environment in messages; a wrapper has that of what it wraps."""
    return type(getattr(environment, "environment", environment)).__name__


def set_drawn(
    environment: Environment, num_tasks: int, *, split: Split = "train", generator: torch.Generator | None = None
) -> None:
    """Draw tasks of the environment and set them.

    Raises:
        ValueError: if it draws another number of tasks.
    """
    tasks = environment.sample_tasks(num_tasks, split=split, generator=generator)
    check_drawn(environment, tasks, num_tasks)
    environment.set_tasks(tasks)
    if environment.num_tasks != num_tasks:
        raise ValueError(
            f"{name_of(environment)} has num_tasks={environment.num_tasks} after set_tasks with {num_tasks} tasks; "
            "expected as many"
        )


def check_drawn(environment: Environment, tasks: Any, num_tasks: int) -> None:
    """Raise ValueError unless `tasks`, which the environment drew, are a dictionary of tensors `[num_tasks, ...]`."""
    if not isinstance(tasks, dict) or not all(isinstance(value, Tensor) for value in tasks.values()):
        raise ValueError(
            f"{name_of(environment)}.sample_tasks returned {_described(tasks)}; expected a dictionary of tensors "
            f"[{num_tasks}, ...]"
        )
    for name, value in tasks.items():
        if value.shape[:1] != (num_tasks,):
            raise ValueError(
                f"{name_of(environment)}.sample_tasks({num_tasks}) returned {name} of shape {list(value.shape)}; "
                f"expected [{num_tasks}, ...]: as many tasks as were asked for, drawn with replacement if there are "
                "fewer"
            )


def _observed(environment: Environment) -> tuple[int, ...]:
    return (environment.num_tasks, environment.num_envs, *(environment.observation_space.shape or ()))


def _check_tensor(
    environment: Environment, name: str, value: Any, shape: tuple[int, ...], step: int, seed: int | None
) -> None:
    if not isinstance(value, Tensor):
        raise _failed(environment, f"{name} is {_described(value)}; expected a tensor {list(shape)}", step, seed)
    if value.shape != shape:
        what = f"{name} has shape {list(value.shape)}; expected [T, E, ...] = {list(shape)}"
        raise _failed(environment, what, step, seed)


def _failed(environment: Environment, what: str, step: int, seed: int | None) -> EnvironmentFailure:
    return failure(what, name=name_of(environment), task=None, step=step, seed=seed)


def _described(value: Any) -> str:
    return f"a tuple of {len(value)}" if isinstance(value, tuple) else f"a {type(value).__name__}"
