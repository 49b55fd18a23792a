"""Checks of plain arguments: networks, numbers, switches and choices."""

import math
from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from typing import Any

from torch import Tensor, nn


def check_network(network: Any) -> nn.Module:
    """Return `network`. Raises TypeError unless it is a module."""
    check_made("network", network)
    if not isinstance(network, nn.Module):
        raise TypeError(f"network must be a torch.nn.Module [N, *dx] -> [N, dy], not {type(network).__name__}")
    return network


def check_made(name: str, value: Any, arguments: str = "...") -> None:
    """Raise TypeError if `value` is a class and not an object of it; `arguments` are an example of its arguments."""
    if isinstance(value, type):
        raise TypeError(f"{name} is the class {value.__name__}; make one: {value.__name__}({arguments})")


def check_choice(name: str, value: Any, choices: Iterable[str]) -> None:
    """Raise ValueError unless `value` is one of the `choices`."""
    choices = list(choices)
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name}={shown(value)}; choose one of {', '.join(map(repr, choices))}")


def check_switch(name: str, value: Any) -> bool:
    """Return `value`. Raises TypeError unless it is True or False."""
    if not isinstance(value, bool):
        raise TypeError(f"{name}={shown(value)}; expected True or False")
    return value


def check_whole(name: str, value: Any, least: int = 1) -> int:
    """`value` as a Python int. Raises ValueError unless it is a whole number of at least `least`."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name}={shown(value)}; expected a whole number of at least {least}")
    return int(value)


def check_number(name: str, value: Any) -> float:
    """`value` as a Python number. Raises ValueError unless it is finite and at least 0."""
    if not isinstance(value, Real) or isinstance(value, bool) or not 0 <= value < math.inf:  # type: ignore[operator]
        raise ValueError(f"{name}={shown(value)}; expected a finite number of at least 0")
    return value if isinstance(value, int | float) else float(value)


def check_unit(name: str, value: Any) -> float:
    """`value` as a Python number. Raises ValueError unless it is at least 0 and below 1."""
    number = check_number(name, value)
    if number >= 1:
        raise ValueError(f"{name}={shown(value)}; expected a number of at least 0 and below 1")
    return number


def check_positive(name: str, value: Any) -> int | float:
    """`value` as a Python number. Raises ValueError unless it is finite and above 0."""
    if not isinstance(value, Real) or isinstance(value, bool) or not (math.isfinite(value) and float(value) > 0):
        raise ValueError(f"{name}={shown(value)}; expected a positive number")
    return int(value) if isinstance(value, Integral) else float(value)


def shown(value: Any) -> str:
    """`value` for an error message: its repr if that is short, otherwise its type.

    >>> import torch
    >>> shown(0.5), shown(nn.Linear(1, 2)), shown(torch.zeros(2, 2))
    ('0.5', '<Linear>', 'tensor of shape [2, 2]')
    """
    if isinstance(value, Tensor) and (value.dim() or value.is_meta):
        return f"tensor of shape {list(value.shape)}"
    text = repr(value)
    kept = len(text) <= 60 and "\n" not in text and not isinstance(value, nn.Module)
    if isinstance(value, type):
        return f"<class {value.__name__}>"
    return text if kept else f"<{type(value).__name__}>"


def describe(info: Mapping[str, Any]) -> str:
    """The names and shapes in an `info`, for error messages."""
    return ", ".join(f"{k} {list(v.shape)}" if isinstance(v, Tensor) else k for k, v in info.items()) or "nothing"
