"""The settings of networks and functions, on which plans and verifications depend."""

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
_MOST = 128  # larger containers are not searched
_AT_ALL = 2048  # total number of values
_DEPTH = 5  # levels of nested containers, objects and functions that are searched
_MANY = 64  # number of different settings after which plain numbers no longer count
_LIBRARIES = frozenset(("torch", "quickstudy", "numpy", "builtins"))  # their functions and classes have no settings
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_FOR_ALL = (
    "_global_backward_hooks",
    "_global_backward_pre_hooks",
    "_global_forward_hooks",
    "_global_forward_pre_hooks",
)


class Settings:
    """Makes keys from the settings of networks, functions and rules.

    Numbers are part of a key as long as they take few values, except those held by objects that are not records. If a
    number changes with every call (a count, a schedule), every key would be new, so that nothing could be reused; from
    then on keys hold only modes, flags and texts.
    """

    def __init__(self) -> None:
        self.seen: set[Any] = set()
        self.many = False

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return Settings, ()

    def __call__(self, network: nn.Module, *functions: Any, rule: Any = None) -> tuple[Any, ...]:
        """The key for the settings of all arguments."""
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
    """Modes, plain attributes, hooks, and the values in closures and globals of functions, as a hashable tuple.

    Args:
        network: a module.
        functions: losses, objectives, functions of the network, or plain values passed to them.
        rule: an update rule, whose rate is left out.
        numbers: whether plain numbers are included, besides flags and texts.
        tensors: whether tensors are included by identity, as a compiled graph requires.
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
    """Whether there are backward hooks on the network's modules."""
    for_all = any(getattr(torch_module, name) for name in _FOR_ALL[:2])
    return for_all or any(m._backward_hooks or m._backward_pre_hooks for _, m in modules_of(network))


class _Same:
    """A key for one object by identity. It keeps the object alive, so that its address is not used again."""

    __slots__ = ("it",)

    def __init__(self, it: Any):
        self.it = it

    def __hash__(self) -> int:
        return id(self.it)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.it is self.it


class _Look:
    """Appends plain values to `found`, in the order of the search."""

    def __init__(self, found: list[Any], *, numbers: bool, tensors: bool):
        self.found, self.kinds, self.tensors = found, _KINDS if numbers else _MODES, tensors
        self.seen: set[int] = set()

    def __call__(self, value: Any, depth: int) -> None:
        """Search `value`, up to `depth` levels of containers, objects and functions."""
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
        """Search every module of a tree."""
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
        """Search a rule, except its rate."""
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
                except ValueError:  # an empty cell
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
            # numbers of other objects are often counts and averages; those of records are configuration
            self._each(parts if is_record(value) else [p for p in parts if type(p) not in _NUMBERS], depth)
        elif dataclasses.is_dataclass(value):  # with slots
            self._each([getattr(value, spot.name, None) for spot in dataclasses.fields(value)], depth)
        elif callable(value):
            self.found.append(_Same(value))

    def _class(self, kind: type, depth: int) -> None:
        """Search a class of the user: its plain attributes, and the globals that its methods read."""
        if kind.__module__.partition(".")[0] in _LIBRARIES:
            return
        for name, value in list(vars(kind).items()):
            if type(value) in self.kinds:
                self.found.append((name, value))
            elif isinstance(value, types.FunctionType):
                self.found.append(value.__code__)
                self._globals(value, depth)

    def _globals(self, function: Any, depth: int) -> None:
        """Search the globals that a function of the user reads, and plain values of modules."""
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
