"""How a network and a function are set: what a plan, and a verdict, take for granted of them."""

import dataclasses
import functools
import types
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

from quickstudy.inner.modules.tree import CONTAINERS, is_record, modules_of

_OWN = frozenset(nn.Module().__dict__)
_MODES = frozenset((bool, str, type(None), torch.dtype, torch.device))
_NUMBERS = frozenset((int, float))
_KINDS = _MODES | _NUMBERS
_MOST = 128  # entries of a container that are looked at; it has no more, or none is
_AT_ALL = 2048  # values
_DEPTH = 5  # containers, objects and functions inside each other
_MANY = 64  # settings, after which numbers are no longer among them
_LIBRARIES = frozenset(("torch", "quickstudy", "numpy", "builtins"))  # whose functions and classes nobody switches
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_FOR_ALL = (
    "_global_backward_hooks",
    "_global_backward_pre_hooks",
    "_global_forward_hooks",
    "_global_forward_pre_hooks",
)


class Settings:
    """Keys for what is remembered of networks, functions and rules, by how they are set.

    Numbers count as settings as long as they take few values; those that an object of another kind than a record holds
    never do. Where one changes with every call (a count, a schedule), everything would be found out anew each time;
    from then on modes, flags and texts alone are settings.
    """

    def __init__(self) -> None:
        self.seen: set[Any] = set()
        self.many = False

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return Settings, ()

    def __call__(self, network: nn.Module, *functions: Any, rule: Any = None) -> tuple[Any, ...]:
        """What stands for how all of these are set."""
        if not self.many:
            key = settings_of(network, *functions, rule=rule)
            self.seen.add(key)
            if len(self.seen) <= _MANY:
                return key
            self.many, self.seen = True, set()
        return settings_of(network, *functions, rule=rule, numbers=False)


def settings_of(
    network: nn.Module, *functions: Any, rule: Any = None, numbers: bool = True, tensors: bool = False
) -> tuple[Any, ...]:
    """Modes, plain attributes, hooks, what functions close over or find in globals, in a tuple that can be a key.

    Args:
        network: a module.
        functions: losses, objectives, functions of the network; or plain values that they are given.
        rule: its rate is a number among others, and no setting.
        numbers: whether plain numbers are settings, besides flags and texts.
        tensors: whether it matters which tensors functions and attributes hold, as to a compiled graph.
    """
    found: list[Any] = [torch.is_autocast_enabled("cpu"), torch.is_autocast_enabled("cuda")]
    found += [_Same(hook) for name in _FOR_ALL for hook in getattr(torch_module, name).values()]
    look = _Look(found, numbers=numbers, tensors=tensors)
    look.at_module(network)
    for function in functions:
        look(function, _DEPTH)
    if rule is not None:
        look.at_rule(rule)
    return tuple(found)


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
    """Notes plain values in `found`, in the order in which they are come upon."""

    def __init__(self, found: list[Any], *, numbers: bool, tensors: bool):
        self.found, self.kinds, self.tensors = found, _KINDS if numbers else _MODES, tensors
        self.seen: set[int] = set()

    def __call__(self, value: Any, depth: int) -> None:
        """At a value, so many containers, objects and functions deep."""
        kind = type(value)
        if kind in _KINDS:
            if kind in self.kinds:
                self.found.append((kind, value))
        elif isinstance(value, Tensor):
            self.found.append(_Same(value) if self.tensors else value.requires_grad)
        elif id(value) in self.seen:
            if isinstance(value, nn.Module):
                self.found.append(_Same(value))
        elif depth and len(self.found) < _AT_ALL:
            self.seen.add(id(value))
            self.found.append(kind)
            self._inside(value, depth - 1)
            self.found.append(None)  # the end: [[0], 1] is not [[0, 1]]

    def at_module(self, network: nn.Module) -> None:
        """At every module of a tree."""
        modules = [module for _, module in modules_of(network)]
        self.seen.update(map(id, modules))
        for module in modules:
            own, kind = module.__dict__, type(module)
            self.found.append(_Same(module))
            for name in own.keys() - _OWN:
                value = own[name]
                if type(value) in self.kinds:
                    self.found.append((name, value))
                else:
                    self(value, _DEPTH)
            self.found.append(module.training)
            for name in _HOOKS:
                if own.get(name):
                    self.found += map(_Same, own[name].values())
            if kind.__module__.partition(".")[0] not in _LIBRARIES:
                self(kind, _DEPTH)
            self.found += [(p.shape, p.dtype, p.requires_grad) for p in module._parameters.values() if p is not None]

    def at_rule(self, rule: Any) -> None:
        """At a rule, but for its rate."""
        self.found += [type(rule), getattr(rule, "linear", None), type(getattr(rule, "lr", None))]
        for name, value in vars(rule).items():
            if name not in _OWN and name != "lr":
                self(value, _DEPTH)

    def _inside(self, value: Any, depth: int) -> None:
        if isinstance(value, types.FunctionType):
            self.found.append(value.__code__)
            self._each([value.__defaults__, value.__kwdefaults__], depth)
            self._globals(value, depth)
            for cell in value.__closure__ or ():
                try:
                    self(cell.cell_contents, depth)
                except ValueError:  # not filled yet
                    continue
        elif isinstance(value, types.MethodType):
            self._each([value.__func__, value.__self__], depth + 1)
        elif isinstance(value, functools.partial):
            self._each([value.func, value.args, value.keywords], depth + 1)
        elif isinstance(value, nn.Module):
            self.at_module(value)
        elif isinstance(value, type):
            self._class(value, depth)
        elif isinstance(value, types.ModuleType):
            self.found.append(_Same(value))
        elif isinstance(value, dict):
            self._each([part for item in value.items() for part in item], depth)
        elif isinstance(value, CONTAINERS):
            self._each(value, depth)
        elif isinstance(own := getattr(value, "__dict__", None), dict):
            parts = [part for item in own.items() for part in item]
            # other objects count and average as they go; a record, as a configuration is, does not
            self._each(parts if is_record(value) else [p for p in parts if type(p) not in _NUMBERS], depth)
        elif dataclasses.is_dataclass(value):  # with slots
            self._each([getattr(value, spot.name, None) for spot in dataclasses.fields(value)], depth)
        elif callable(value):
            self.found.append(_Same(value))

    def _class(self, kind: type, depth: int) -> None:
        """At a class of the user's: its plain attributes, and what its methods read by name."""
        if kind.__module__.partition(".")[0] in _LIBRARIES:
            return
        for name, value in list(vars(kind).items()):
            if type(value) in self.kinds:
                self.found.append((name, value))
            elif isinstance(value, types.FunctionType):
                self.found.append(value.__code__)
                self._globals(value, depth)

    def _globals(self, function: Any, depth: int) -> None:
        """At what a function of the user's reads by name: globals, and plain values of modules."""
        if (function.__module__ or "").partition(".")[0] in _LIBRARIES:
            return
        known, names = function.__globals__, function.__code__.co_names
        for name in names:
            value = known.get(name)
            if isinstance(value, types.ModuleType):
                if value.__name__.partition(".")[0] not in _LIBRARIES:
                    held = [vars(value).get(n) for n in names]
                    self._each([v for v in held if type(v) in _KINDS or isinstance(v, types.SimpleNamespace)], depth)
            elif name in known:
                self(value, depth)

    def _each(self, values: Any, depth: int) -> None:
        if len(values) <= 2 * _MOST:
            for value in list(values):
                self(value, depth)
