"""Copies of a module tree that hold other tensors, so that the user's own module is never written into.

A copy has modules, containers and attributes of its own and shares everything else. It keeps its tensors for as long
as it lives, which `torch.func.functional_call` does not: what runs again on the way back (a checkpoint inside the
network) finds the weights that it ran with.
"""

import copy
import functools
import types
import weakref
from collections import deque
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from quickstudy.inner.modules.tree import (
    OWN,
    PLAIN,
    hidden_modules,
    is_record,
    loose_tensors,
    modules_of,
    named_tensors,
    owned_tensors,
)
from quickstudy.inner.transforms import in_transform

_MUTABLE = (list, dict, set, deque)  # and what is derived from them
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def copy_with(network: nn.Module, tensors: Mapping[str, Any], own: Mapping[str, Tensor] | None = None) -> nn.Module:
    """A copy of the tree of `network` with `tensors` as its parameters and buffers.

    A tensor under several names (tied weights, a module registered twice) is given by its first name, as
    `named_parameters` and `named_buffers` give it, and replaced wherever the tree holds it: in lists and dictionaries,
    and where a bound method is kept, too. Tensors that are not given are shared.

    Args:
        network: left as it is.
        tensors: by name.
        own: the network's parameters and buffers by name, where they are known.

    >>> one = nn.Linear(2, 1, bias=False)
    >>> other = copy_with(one, {"weight": torch.ones(1, 2)})
    >>> other(torch.ones(2)), other is one
    (tensor([2.]), False)
    """
    own = named_tensors(network) if own is None and tensors else own or {}
    return _Copier({id(own[name]): tensor for name, tensor in tensors.items()}, network).module(network)


def copy_apart(network: nn.Module) -> nn.Module:
    """A copy of the tree whose tensors that are neither parameters nor buffers are clones."""
    others = loose_tensors(network)
    if not others:
        return network
    clones = {id(t): t.detach().clone() for t in others if t.grad_fn is None}
    if not in_transform():  # which lets nothing new require a gradient
        for tensor in others:
            if tensor.requires_grad and tensor.grad_fn is None:
                clones[id(tensor)].requires_grad_()
    return _Copier(clones, network).module(network)


def with_dense_gradient(tensor: Tensor) -> Any:
    """The same tensor, whose gradient comes in the usual layout: a sparse one has no derivative."""
    return _DenseGradient.apply(tensor)


class _DenseGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient if gradient.layout == torch.strided else gradient.to_dense()


def without_past(network: nn.Module) -> nn.Module:
    """A copy whose plain tensor attributes, as an activation that a pass left, have no graph."""
    past = {id(t): t.detach() for t in owned_tensors(network) if t.grad_fn is not None}
    return _Copier(past, network).module(network) if past else network


class _Copier:
    """One copy in the making: what stands in whose place, by identity."""

    def __init__(self, instead: dict[int, Any], network: nn.Module):
        self.instead, self.network = instead, network
        self.made: dict[int, Any] = {}

    def module(self, module: nn.Module) -> nn.Module:
        if isinstance(module, torch.jit.ScriptModule):
            return self.scripted(module)
        new: nn.Module = object.__new__(type(module))
        self.made[id(module)] = new
        own, get = module.__dict__.copy(), self.instead.get
        own["_parameters"] = {k: get(id(t), t) for k, t in own["_parameters"].items()}
        own["_buffers"] = {k: get(id(t), t) for k, t in own["_buffers"].items()}
        own["_modules"] = {k: None if m is None else self.place(m) for k, m in own["_modules"].items()}
        for key in own.keys() - OWN:
            if type(own[key]) not in PLAIN:
                own[key] = self.value(own[key])
        for key in _HOOKS:
            own[key] = self.value(own[key]) if own[key] else type(own[key])()
        object.__setattr__(new, "__dict__", own)
        return new

    def scripted(self, module: torch.jit.ScriptModule) -> nn.Module:
        """A copy of a TorchScript module, which keeps its tensors out of Python's sight."""
        new = self.made[id(module)] = copy.deepcopy(module)
        for part, other in zip(module.modules(), new.modules(), strict=True):
            put: Any = getattr(other, "_c").setattr  # noqa: B009 - typed as if it were a part
            for name, tensor in (*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)):
                put(name, self.instead.get(id(tensor), tensor))
        return new

    def place(self, module: nn.Module) -> nn.Module:
        found = self.made.get(id(module))
        return self.module(module) if found is None else found

    def function(self, function: types.FunctionType) -> types.FunctionType:
        """A function, as a `forward` or a hook that was put on a module; what it closes over leads to the copies."""
        cells, names, changed = [], {}, False
        for cell in function.__closure__ or ():
            before = cell.cell_contents if cell != types.CellType() else None
            ours = isinstance(before, nn.Module | types.MethodType) or id(before) in self.containers
            after = self.value(before) if ours else before
            changed = changed or after is not before
            cells.append(types.CellType(after) if after is not before else cell)
        for name in function.__code__.co_names:
            before = function.__globals__.get(name)
            if isinstance(before, nn.Module) and (after := self.value(before)) is not before:
                names[name] = after
        if not changed and not names:
            return function
        known = {**function.__globals__, **names} if names else function.__globals__
        code, defaults = function.__code__, function.__defaults__
        new = types.FunctionType(code, known, function.__name__, defaults, tuple(cells))
        new.__kwdefaults__ = function.__kwdefaults__
        return new

    @functools.cached_property
    def containers(self) -> set[int]:
        """Those that modules keep as attributes."""
        kept = (v for _, m in modules_of(self.network) for k, v in m.__dict__.items() if k not in OWN)
        return {id(v) for v in kept if isinstance(v, _MUTABLE)}

    @functools.cached_property
    def members(self) -> set[int]:
        return {id(m) for m in (*self.network.modules(), *hidden_modules(self.network))}

    def value(self, value: Any) -> Any:
        """What stands in the place of an attribute: containers are new, and lead to the copies."""
        kind = type(value)
        if kind in PLAIN:
            return value
        if isinstance(value, Tensor):
            return self.instead.get(id(value), value)
        if id(value) in self.made:
            return self.made[id(value)]
        if isinstance(value, nn.Module):
            return self.module(value) if id(value) in self.members else value
        if kind is weakref.ReferenceType:
            there = value()
            new = self.value(there)
            return value if new is there else weakref.ref(new)
        if kind is types.FunctionType:
            return self.function(value)
        if kind is types.MethodType:
            return types.MethodType(value.__func__, self.value(value.__self__))
        if kind is functools.partial:
            options = {k: self.value(item) for k, item in value.keywords.items()}
            return functools.partial(self.value(value.func), *map(self.value, value.args), **options)
        if is_record(value):
            new = self.made[id(value)] = copy.copy(value)
            for name, item in vars(value).items():
                object.__setattr__(new, name, self.value(item))
            return new
        if isinstance(value, _MUTABLE):
            new = self.made[id(value)] = copy.copy(value)
            items = (
                [(k, self.value(v)) for k, v in value.items()] if isinstance(value, dict) else map(self.value, value)
            )
            new.clear()
            new.extend(items) if isinstance(new, list | deque) else new.update(items)
            return new
        if kind is tuple or kind is frozenset:
            return kind(map(self.value, value))
        return kind(*map(self.value, value)) if isinstance(value, tuple) and hasattr(value, "_fields") else value
