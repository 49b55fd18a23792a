"""Advice on misspelt keyword arguments."""

import inspect
from collections.abc import Callable
from difflib import get_close_matches
from functools import wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def advises(function: Callable[P, R]) -> Callable[P, R]:
    """Return `function` with a TypeError for unknown keyword arguments that names the nearest known one.

    The signature stays, for completion and for `help`.

    >>> @advises
    ... def grow(*, steps: int) -> int:
    ...     return steps
    >>> grow(step=3)
    Traceback (most recent call last):
    TypeError: grow() has no argument 'step'; did you mean 'steps'?
    """
    names = list(inspect.signature(function).parameters)

    @wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        for name in kwargs:
            if name not in names:
                near = get_close_matches(name, names, n=1, cutoff=0.5)
                advice = f"did you mean {near[0]!r}?" if near else f"its arguments are {', '.join(names)}"
                raise TypeError(f"{function.__name__}() has no argument {name!r}; {advice}")
        return function(*args, **kwargs)

    return wrapped
