"""Environments and their distributions of tasks as JSON, by which a resumed run recognises them."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch

from quickstudy.rl.environment import Environment
from quickstudy.rl.envs.stepping import check_drawn
from quickstudy.runs.config import without_addresses

_FIRST = 8  # numbers of each value of a task that are kept


def described(environment: Any) -> dict[str, Any]:
    """The options of an environment by name.

    They come from its method `description()` or `config()`, whichever it has; otherwise from its `repr`, which then
    should name every option.

    >>> from quickstudy.rl.envs.bandits.bernoulli import Bandit
    >>> described(Bandit(arms=3, num_envs=2, horizon=9))
    {'arms': 3, 'probability': [0.0, 1.0], 'num_envs': 2, 'horizon': 9}
    """
    for name in ("description", "config"):
        method = getattr(environment, name, None)
        found = method() if callable(method) else None
        if isinstance(found, Mapping):
            return {str(key): _value(value) for key, value in found.items()}
    return {"repr": without_addresses(repr(environment))}


def distribution(environment: Environment, device: torch.device) -> dict[str, Any]:
    """The first tasks that a fixed seed draws in each split, by name: other distributions give others.

    Numbers have 6 digits, so that other machines find the same. They depend on the kind of device, which is named.
    """
    found: dict[str, Any] = {}
    for split in ("train", "validation"):
        chance = torch.Generator(device=device).manual_seed(0)
        tasks = environment.sample_tasks(2, split=split, generator=chance)
        check_drawn(environment, tasks, 2)
        found[split] = {
            name: [float(f"{number:.6g}") for number in value.flatten()[:_FIRST].tolist()]
            for name, value in tasks.items()
        }
    return {device.type: found}


def described_function(function: Callable[..., Any]) -> dict[str, Any]:
    """The name of a function, and the numbers and words that it takes from outside: defaults, closure, partial."""
    values, given = dict[str, Any](), dict[str, Any]()
    while isinstance(function, functools.partial):
        given = {str(place): value for place, value in enumerate(function.args)} | function.keywords | given
        function = function.func
    code = getattr(function, "__code__", None)
    for name, cell in zip(getattr(code, "co_freevars", ()), getattr(function, "__closure__", None) or (), strict=False):
        try:
            values[name] = cell.cell_contents
        except ValueError:  # a variable that has no value yet
            continue
    defaults = getattr(function, "__defaults__", None) or ()
    if code is not None and defaults:
        arguments = code.co_varnames[: code.co_argcount]
        values |= dict(zip(arguments[-len(defaults) :], defaults, strict=True))
    values |= getattr(function, "__kwdefaults__", None) or {}
    plain = {k: list(v) if isinstance(v, tuple) else v for k, v in (values | given).items() if _is_plain(v)}
    return {"name": getattr(function, "__name__", type(function).__name__), **plain}


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_plain(entry) for entry in value)
    return value is None or isinstance(value, bool | int | float | str)


def _value(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_value(entry) for entry in value]
    if isinstance(value, Mapping):
        return {str(key): _value(entry) for key, entry in value.items()}
    if _is_plain(value):
        return value
    return described(value) if hasattr(value, "sample_tasks") else without_addresses(repr(value))
