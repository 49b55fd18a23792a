"""How a network and a function are set: what a plan takes for granted of them."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

_OWN = frozenset(nn.Module().__dict__) - {"training"}
_KINDS = frozenset((bool, int, float, str, type(None)))


def settings_of(network: nn.Module) -> tuple[Any, ...]:
    """Modes, plain attributes, and the layouts of the parameters, in a tuple that can be a key."""
    found: list[Any] = [torch.is_autocast_enabled("cpu"), torch.is_autocast_enabled("cuda")]
    for module in network.modules():
        own = module.__dict__
        found += [module.training, *(v for k, v in own.items() if type(v) in _KINDS and k not in _OWN)]
        found += [(p.shape, p.dtype) for p in own["_parameters"].values() if p is not None]
    return tuple(found)


def settings_of_function(function: Callable[..., Any] | None) -> tuple[Any, ...]:
    """The switches that a function closes over."""
    return tuple(_switches(function))


def _switches(function: Any) -> Iterator[Any]:
    owner = getattr(function, "__self__", function)
    if isinstance(owner, nn.Module):
        yield from settings_of(owner)
    for cell in getattr(function, "__closure__", None) or ():
        try:
            value = cell.cell_contents
        except ValueError:  # not filled yet
            continue
        if type(value) in (bool, int, str, type(None)):
            yield value
