"""The contents of a module: its submodules and tensors, including those that torch does not register."""

import dataclasses
import types
from collections import deque
from typing import Any

import torch
from torch import Tensor, nn

# nn.Module's own attributes, and types that hold neither tensors nor modules
OWN = frozenset(nn.Module().__dict__)
PLAIN = frozenset((bool, int, float, str, bytes, type(None), torch.dtype, torch.device, torch.Size))
CONTAINERS = (list, tuple, set, frozenset, deque)  # besides dictionaries
DEPTH = 4  # levels of nested containers that are searched


def modules_of(network: nn.Module) -> list[tuple[str, nn.Module]]:
    """The modules of the tree with their prefixes, each once: `named_modules` in a third of the time."""
    if type(network).named_modules is not nn.Module.named_modules:
        return [(name and f"{name}.", module) for name, module in network.named_modules()]
    found: list[tuple[str, nn.Module]] = []
    seen: set[int] = set()

    def look(module: nn.Module, prefix: str) -> None:
        seen.add(id(module))
        found.append((prefix, module))
        for name, part in module._modules.items():
            if part is not None and id(part) not in seen:
                look(part, f"{prefix}{name}.")

    look(network, "")
    return found


def tensors_of(network: nn.Module) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Parameters and buffers by name, as in `named_parameters` and `named_buffers`.

    A tensor with several names (tied weights, a module registered twice) appears under the first.
    """
    kind = type(network)
    if kind.named_parameters is not nn.Module.named_parameters or kind.named_buffers is not nn.Module.named_buffers:
        return dict(network.named_parameters()), dict(network.named_buffers())
    modules = modules_of(network)
    return _named([(p, m._parameters) for p, m in modules]), _named([(p, m._buffers) for p, m in modules])


def named_tensors(network: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by their first names."""
    params, buffers = tensors_of(network)
    return {**params, **buffers}


def owned_tensors(network: nn.Module) -> list[Tensor]:
    """Every tensor of the tree once: parameters, buffers, and tensors in plain attributes or containers."""
    return list(_Kept(network).tensors.values())


def loose_tensors(network: nn.Module) -> list[Tensor]:
    """Tensors of the tree that are neither parameters nor buffers."""
    registered = {id(t) for t in named_tensors(network).values()}
    return [t for t in owned_tensors(network) if id(t) not in registered]


def hidden_modules(network: nn.Module) -> list[nn.Module]:
    """Modules that torch does not register: in lists, dictionaries and records, or set without `setattr`.

    Torch treats their parameters as constants, but what they store in a pass is part of the network's state.
    """
    return list(_Kept(network).hidden)


def is_record(value: Any) -> bool:
    """Whether `value` is a dataclass instance or a namespace."""
    if isinstance(value, types.SimpleNamespace):
        return True
    return dataclasses.is_dataclass(value) and not isinstance(value, type) and hasattr(value, "__dict__")


class _Kept:
    """The tensors and unregistered modules in a network's attributes and their containers."""

    def __init__(self, network: nn.Module):
        self.members = dict.fromkeys(module for _, module in modules_of(network))
        self.tensors = {id(t): t for t in named_tensors(network).values()}
        self.hidden: dict[nn.Module, None] = {}
        for module in self.members:
            self._attributes(module)

    def _attributes(self, module: nn.Module) -> None:
        for key, value in module.__dict__.items():
            if key not in OWN or key == "_buffers" or (key == "_parameters" and module in self.members):
                self._look(value, DEPTH)

    def _look(self, value: Any, depth: int) -> None:
        if type(value) in PLAIN:
            return
        if isinstance(value, Tensor):
            self.tensors[id(value)] = value
        elif isinstance(value, nn.Module):
            for part in value.modules():
                if part not in self.members and part not in self.hidden:
                    self.hidden[part] = None
                    self._attributes(part)
        elif depth and isinstance(value, CONTAINERS):
            for item in value:
                self._look(item, depth - 1)
        elif depth and isinstance(value, dict):
            for item in value.values():
                self._look(item, depth - 1)
        elif depth and is_record(value):
            for item in vars(value).values():
                self._look(item, depth - 1)


def _named(places: list[tuple[str, Any]]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    seen: set[int] = set()
    for prefix, tensors in places:
        for name, tensor in tensors.items():
            if tensor is not None and id(tensor) not in seen:
                seen.add(id(tensor))
                found[prefix + name] = tensor
    return found
