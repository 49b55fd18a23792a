"""Copies of a module tree with other tensors, so that nothing is ever written into the user's own module.

A copy has its own modules, containers and attributes and shares everything else. Unlike `torch.func.functional_call`,
it keeps its tensors as long as it lives: code that runs again in the backward pass (a checkpoint inside the network)
finds the weights of its first run.
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

_MUTABLE = (list, dict, set, deque)  # and their subclasses
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def copy_with(network: nn.Module, tensors: Mapping[str, Any], own: Mapping[str, Tensor] | None = None) -> nn.Module:
    """A copy of the tree of `network` with `tensors` as its parameters and buffers.

    A tensor with several names (tied weights, a module registered twice) is given by its first name, as in
    `named_parameters` and `named_buffers`, and replaced everywhere in the tree, including lists, dictionaries and bound
    methods. Tensors that are not given are shared.

    Args:
        network: is not changed.
        tensors: the new tensors by name.
        own: the network's parameters and buffers by name, if known already.

    >>> one = nn.Linear(2, 1, bias=False)
    >>> other = copy_with(one, {"weight": torch.ones(1, 2)})
    >>> other(torch.ones(2)), other is one
    (tensor([2.]), False)
    """
    own = named_tensors(network) if own is None and tensors else own or {}
    return _Copier({id(own[name]): tensor for name, tensor in tensors.items()}, network).module(network)


def copy_apart(network: nn.Module) -> nn.Module:
    """A copy of the tree with clones of the tensors that are neither parameters nor buffers."""
    others = loose_tensors(network)
    if not others:
        return network
    clones = {id(t): t.detach().clone() for t in others if t.grad_fn is None}
    if not in_transform():  # in which no new tensor can require grad
        for tensor in others:
            if tensor.requires_grad and tensor.grad_fn is None:
                clones[id(tensor)].requires_grad_()
    return _Copier(clones, network).module(network)


def with_dense_gradient(tensor: Tensor) -> Any:
    """The same tensor with a dense gradient, since a sparse gradient has no derivative."""
    return _DenseGradient.apply(tensor)


class _DenseGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient if gradient.layout == torch.strided else gradient.to_dense()


def without_past(network: nn.Module) -> nn.Module:
    """A copy whose plain tensor attributes, such as stored activations, have no graph."""
    past = {id(t): t.detach() for t in owned_tensors(network) if t.grad_fn is not None}
    return _Copier(past, network).module(network) if past else network


class _Copier:
    """Makes one copy; `instead` and `made` map the identity of an original to its replacement."""

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
        """A copy of a TorchScript module, whose tensors are not visible from Python."""
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
        """A copy of a function (a hook, a replaced `forward`) whose closure and globals refer to the copies."""
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
        """The mutable containers that modules hold as attributes, by identity."""
        kept = (v for _, m in modules_of(self.network) for k, v in m.__dict__.items() if k not in OWN)
        return {id(v) for v in kept if isinstance(v, _MUTABLE)}

    @functools.cached_property
    def members(self) -> set[int]:
        return {id(m) for m in (*self.network.modules(), *hidden_modules(self.network))}

    def value(self, value: Any) -> Any:
        """The copy of an attribute: containers are new and refer to the copies."""
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
