"""The exception for environments that fail while they run."""

from typing import Any


class EnvironmentFailure(RuntimeError):
    """An environment failed.

    The message names the environment, its task, the step of the episode and the seed, so that the failure can be
    reproduced; if another exception led to it, that is its `__cause__`.
    """


def failure(
    what: str, *, name: str, task: int | None, environment: int | None = None, step: Any = None, seed: int | None = None
) -> EnvironmentFailure:
    """The exception for one environment, with a message in one line that says where it failed.

    Args:
        what: what went wrong, and what to do about it.
        name: name of the environment.
        task, environment: its indices in `[T, E]`; environment=None means all environments of the task, and task=None
            all environments of all tasks, which failed together.
        step: step of the episode; None if no episode has begun.
        seed: seed of the environment's random numbers; None if none was given.
    """
    place = ["all tasks" if task is None else f"task {task}"]
    if environment is not None:
        place.append(f"environment {environment}")
    if step is not None:
        place.append(f"step {int(step)}")
    if step is not None:
        place.append("no seed (reset without a generator)" if seed is None else f"seed {seed}")
    return EnvironmentFailure(f"{name}, {', '.join(place)}: {what}")
