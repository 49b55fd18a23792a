"""Checks of what a gymnasium environment returned; a message says what it was and what was expected."""

from typing import Any

import numpy as np
from gymnasium.spaces import Box
from gymnasium.spaces.utils import flatten
from numpy.typing import NDArray

STEP, RESET = ("observation", "reward", "terminated", "truncated", "info"), ("observation", "info")


class WrongAnswer(ValueError):
    """An environment returned something else than gymnasium says."""


def parts(answer: Any, names: tuple[str, ...]) -> Any:
    """`answer`, if it is a tuple of as many parts as `names`, the last of them a dictionary.

    Raises:
        WrongAnswer: otherwise.
    """
    call = "step" if len(names) == len(STEP) else "reset"
    if not isinstance(answer, tuple) or len(answer) != len(names):
        given = f"a tuple of {len(answer)}" if isinstance(answer, tuple) else f"a {type(answer).__name__}"
        raise WrongAnswer(f"{call} returned {given}; expected ({', '.join(names)}), as in gymnasium")
    if not isinstance(answer[-1], dict):
        raise WrongAnswer(f"{call}'s info is a {type(answer[-1]).__name__}; expected a dictionary")
    return answer


def numbers(values: list[Any], action: Any) -> tuple[float, bool, bool]:
    """Reward, terminated and truncated.

    Args:
        values: the three, as they were returned.
        action: for messages.

    Raises:
        WrongAnswer: unless they are a finite number and two truth values.
    """
    for name, value in zip(STEP[1:4], values, strict=True):
        kinds = "biuf" if name == "reward" else "bi"
        found = np.asarray(value)
        if found.size != 1 or found.dtype.kind not in kinds:
            expected = "a number" if name == "reward" else "True or False"
            raise WrongAnswer(f"{name} of action {action} is {value!r}; expected {expected}")
    reward, terminated, truncated = (np.asarray(value).item() for value in values)
    if not np.isfinite(reward):
        raise WrongAnswer(f"the reward of action {action} is {'NaN' if np.isnan(reward) else reward}")
    return reward, bool(terminated), bool(truncated)


def observed(observation: Any, space: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    """The observation as an array of this shape; what is not in a Box is flattened.

    Raises:
        WrongAnswer: if it does not fit the space, has another shape (also one that would broadcast) or no numbers, or
            is not finite.
    """
    try:
        values = np.asarray(observation if isinstance(space, Box) else flatten(space, observation))
    except Exception as error:
        raise WrongAnswer(f"the observation {observation!r} does not fit its space {space}: {error!r}") from error
    if values.shape != shape or values.dtype.kind not in "biuf":
        what = f"the observation is {values.dtype} of shape {list(values.shape)}; expected numbers {list(shape)}"
        raise WrongAnswer(f"{what}, as its observation_space says")
    if not np.isfinite(values).all():
        raise WrongAnswer(f"the observation is {values}")
    return values


def told(info: dict[str, Any]) -> dict[str, float]:
    """The numbers and truth values in `info`."""
    kinds = bool | int | float | np.bool_ | np.number
    return {str(key): float(value) for key, value in info.items() if isinstance(value, kinds)}
