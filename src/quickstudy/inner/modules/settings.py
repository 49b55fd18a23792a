"""How a network and a function are set: what a plan takes for granted of them."""

import types
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.modules import module as torch_module

from quickstudy.inner.modules.tree import modules_of

_OWN = frozenset(nn.Module().__dict__) - {"training"}
_KINDS = frozenset((bool, int, float, str, type(None)))
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_FOR_ALL = (
    "_global_backward_hooks",
    "_global_backward_pre_hooks",
    "_global_forward_hooks",
    "_global_forward_pre_hooks",
)


def settings_of(network: nn.Module) -> tuple[Any, ...]:
    """Modes, plain attributes, hooks, and the layouts of the parameters, in a tuple that can be a key."""
    found: list[Any] = [torch.is_autocast_enabled("cpu"), torch.is_autocast_enabled("cuda")]
    found += [len(getattr(torch_module, name)) for name in _FOR_ALL]
    for _, module in modules_of(network):
        own = module.__dict__
        found.append(module.training)
        for name in own.keys() - _OWN:
            value = own[name]
            if type(value) in _KINDS:
                found.append((name, value))
            elif isinstance(value, types.FunctionType | types.MethodType):
                found += _switches(value, 1)
        for name in _HOOKS:
            if own.get(name):
                found += map(id, own[name].values())
        found += [(p.shape, p.dtype) for p in module._parameters.values() if p is not None]
    return tuple(found)


def settings_of_function(function: Callable[..., Any] | None) -> tuple[Any, ...]:
    """The function, and the switches that it closes over."""
    return tuple(_switches(function))


def hooked(network: nn.Module) -> bool:
    """Whether hooks see gradients on their way back through the network's modules."""
    for_all = any(getattr(torch_module, name) for name in _FOR_ALL[:2])
    return for_all or any(m._backward_hooks or m._backward_pre_hooks for _, m in modules_of(network))


def _switches(function: Any, depth: int = 2) -> Iterator[Any]:
    owner = getattr(function, "__self__", function)
    if isinstance(owner, nn.Module):
        yield from settings_of(owner) if depth == 2 else ()
    yield getattr(getattr(function, "__func__", function), "__code__", None)
    for cell in getattr(function, "__closure__", None) or ():
        try:
            value = cell.cell_contents
        except ValueError:  # not filled yet
            continue
        yield from _plain(value)
        if depth and isinstance(value, types.FunctionType | types.MethodType):
            yield from _switches(value, depth - 1)


def _plain(value: Any) -> Iterator[Any]:
    kind = type(value)
    if kind in (bool, int, str, type(None)):
        yield value
    elif kind is dict and len(value) <= 16:
        yield from ((k, v) for k, v in value.items() if type(k) is str and type(v) in (bool, int, str, type(None)))
    elif kind in (list, tuple) and len(value) <= 16:
        yield from (v for v in value if type(v) in (bool, int, str, type(None)))
