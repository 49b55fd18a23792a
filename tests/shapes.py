"""Shape annotations, executed while the tests run.

jaxtyping's import hook decorates the package's functions as they are imported. Here it is given a decorator that leaves
alone what `torch.compile` traces, and functions that speak of no shapes. Only shapes are checked: types proper are
mypy's, and a checker that answered first would hide the package's own messages about bad arguments.
"""

import functools
import inspect
from collections.abc import Callable
from types import CodeType
from typing import Any, get_args

import jaxtyping
import torch
from beartype import BeartypeConf, beartype

_jaxtyped = jaxtyping.jaxtyped
_known: dict[CodeType, bool] = {}
_check = beartype(conf=BeartypeConf(is_pep484_tower=True))


def install() -> None:
    """Execute the shape annotations of every module of quickstudy imported from now on."""
    jaxtyping.jaxtyped = _decorate
    jaxtyping.install_import_hook("quickstudy", "shapes.executed")


def executed(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, with those of its annotations that speak of shapes checked at every call."""
    function.__annotations__ = {k: hint for k, hint in function.__annotations__.items() if _speaks_of_shapes(hint)}
    return _check(function) if function.__annotations__ else function


def _decorate(function: Any = None, *, typechecker: Any = None) -> Any:
    if function is None:
        return functools.partial(_decorate, typechecker=typechecker)
    if not inspect.isfunction(function) or not _has_shapes(function):
        return function
    checked = _jaxtyped(function, typechecker=typechecker)

    @functools.wraps(function)
    def either(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs) if torch.compiler.is_compiling() else checked(*args, **kwargs)

    return either


def _has_shapes(function: Any) -> bool:
    """Whether an annotation speaks of shapes; asked once for a function within another, made at each call of that."""
    code = function.__code__
    if code not in _known:
        _known[code] = any(map(_speaks_of_shapes, function.__annotations__.values()))
    return _known[code]


def _speaks_of_shapes(hint: Any) -> bool:
    if inspect.isclass(hint) and issubclass(hint, jaxtyping.AbstractArray):
        return True
    return any(_speaks_of_shapes(part) for part in get_args(hint))
