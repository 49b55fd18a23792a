"""How a network and a function are set: what a plan, and a verdict, take for granted of them."""

import functools
import types
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

from quickstudy.inner.modules.tree import CONTAINERS, modules_of

_OWN = frozenset(nn.Module().__dict__) - {"training"}
_SWITCHES = frozenset((bool, int, str, type(None), torch.dtype, torch.device))
_KINDS = _SWITCHES | {float}
_MODES = _SWITCHES - {int}  # of other objects, whose counts and averages change with every call
_MOST = 64  # entries of a container that are looked at; it has no more, or none is
_AT_ALL = 4096  # values
_LIBRARIES = frozenset(("torch", "quickstudy", "numpy", "builtins"))  # whose functions nobody switches
_DEPTH = 3  # containers and functions inside each other
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_FOR_ALL = (
    "_global_backward_hooks",
    "_global_backward_pre_hooks",
    "_global_forward_hooks",
    "_global_forward_pre_hooks",
)


def settings_of(network: nn.Module, *, strict: bool = False) -> tuple[Any, ...]:
    """Modes, plain attributes, hooks, and the layouts of the parameters, in a tuple that can be a key.

    Args:
        strict: counts and other numbers that objects and globals hold are settings as well, as to a compiled graph.
    """
    found: list[Any] = [torch.is_autocast_enabled("cpu"), torch.is_autocast_enabled("cuda")]
    found += [_Same(hook) for name in _FOR_ALL for hook in getattr(torch_module, name).values()]
    _Look(found, strict=strict).at_module(network)
    return tuple(found)


def settings_of_function(function: Callable[..., Any] | None, *, strict: bool = False) -> tuple[Any, ...]:
    """The function, its defaults, what it was bound to, and the switches that it closes over or finds in globals."""
    found: list[Any] = []
    _Look(found, strict=strict)(function, _DEPTH)
    return tuple(found)


def settings_of_rule(rule: Any) -> tuple[Any, ...]:
    """What kind of rule it is, and how it is set; not its rate, which is a number among others."""
    ours = type(rule).__module__.partition(".")[0] == "quickstudy"
    own = [(k, v) for k, v in vars(rule).items() if type(v) in (_KINDS if ours else _MODES) and k != "lr"]
    return type(rule), getattr(rule, "linear", None), type(getattr(rule, "lr", None)), *own


def hooked(network: nn.Module) -> bool:
    """Whether hooks see gradients on their way back through the network's modules."""
    for_all = any(getattr(torch_module, name) for name in _FOR_ALL[:2])
    return for_all or any(m._backward_hooks or m._backward_pre_hooks for _, m in modules_of(network))


class _Same:
    """Stands for one object, which it keeps, so that no other can come to have its place in memory."""

    __slots__ = ("it",)

    def __init__(self, it: Any):
        self.it = it

    def __hash__(self) -> int:
        return id(self.it)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.it is self.it


class _Look:
    """Notes plain values in `found`, in the order in which they are come upon; tensors are no settings."""

    def __init__(self, found: list[Any], *, strict: bool):
        self.found, self.of_others = found, _KINDS if strict else _MODES
        self.seen: set[int] = set()

    def __call__(self, value: Any, depth: int, kinds: frozenset[Any] = _KINDS) -> None:
        """At a value, so many containers and functions deep, where plain values are of these `kinds`."""
        if type(value) in _KINDS:
            self.found += [value] if type(value) in kinds else []
        elif depth and not isinstance(value, Tensor | type | types.ModuleType) and id(value) not in self.seen:
            self.seen.add(id(value))
            self.found.append(type(value))
            if len(self.found) < _AT_ALL:
                self._inside(value, depth - 1, kinds)

    def at_module(self, network: nn.Module) -> None:
        """At every module of a tree."""
        modules = [module for _, module in modules_of(network)]
        self.seen.update(map(id, modules))
        for module in modules:
            own = module.__dict__
            for name in own.keys() - _OWN:
                value = own[name]
                if type(value) in _KINDS:
                    self.found.append((name, value))
                else:
                    self(value, _DEPTH)
            for name in _HOOKS:
                if own.get(name):
                    self.found += map(_Same, own[name].values())
            kind: Any = type(module)
            if id(kind) not in self.seen:
                self.seen.add(id(kind))
                if isinstance(kind.forward, types.FunctionType):
                    self._globals(kind.forward, _DEPTH)
            self.found += [(p.shape, p.dtype) for p in module._parameters.values() if p is not None]

    def _inside(self, value: Any, depth: int, kinds: frozenset[Any]) -> None:
        if isinstance(value, types.FunctionType):
            self.found.append(value.__code__)
            self._each([value.__defaults__, value.__kwdefaults__], depth, kinds)
            self._globals(value, depth)
            for cell in value.__closure__ or ():
                try:
                    self(cell.cell_contents, depth, kinds)
                except ValueError:  # not filled yet
                    continue
        elif isinstance(value, types.MethodType):
            self._each([value.__func__, value.__self__], depth + 1, kinds)
        elif isinstance(value, functools.partial):
            self._each([value.func, value.args, value.keywords], depth + 1, kinds)
        elif isinstance(value, nn.Module):
            self.at_module(value)
        elif isinstance(value, dict):
            self._each([part for item in value.items() for part in item], depth, kinds)
        elif isinstance(value, CONTAINERS):
            self._each(value, depth, kinds)
        elif isinstance(own := getattr(value, "__dict__", None), dict):
            self._each([part for item in own.items() for part in item], depth, self.of_others)
        elif callable(value):
            self.found.append(_Same(value))

    def _globals(self, function: Any, depth: int) -> None:
        """At what a function of the user's reads by name."""
        if (function.__module__ or "").partition(".")[0] not in _LIBRARIES:
            known = function.__globals__
            names = [n for n in function.__code__.co_names if n in known and not isinstance(known[n], nn.Module)]
            self._each([known[n] for n in names], depth, self.of_others)

    def _each(self, values: Any, depth: int, kinds: frozenset[Any]) -> None:
        if len(values) <= _MOST:
            for value in list(values):
                self(value, depth, kinds)
