"""What goes wrong while environments run."""

from typing import Any


class EnvironmentFailure(RuntimeError):
    """An environment could not go on.

    The message names the environment, its task, the step of the episode and the seed, so that it can be run again
    alone; where something else was raised first, that is the `__cause__`.
    """


def failure(
    what: str, *, name: str, task: int, environment: int | None = None, step: Any = None, seed: int | None = None
) -> EnvironmentFailure:
    """The exception for one environment of one task, with its place in one line.

    Args:
        what: went wrong, and what to do about it.
        name: of the environment.
        task, environment: its places in `[T, E]`; None is all of the task.
        step: of the episode; None where none has begun.
        seed: with which its chance began; None if nobody chose one.
    """
    place = [f"task {task}"]
    if environment is not None:
        place.append(f"environment {environment}")
    if step is not None:
        place.append(f"step {int(step)}")
    if step is not None:
        place.append("no seed (reset without a generator)" if seed is None else f"seed {seed}")
    return EnvironmentFailure(f"{name}, {', '.join(place)}: {what}")
