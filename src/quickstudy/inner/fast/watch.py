"""Observes how a pass handles gradients: hooks on tensors, and code that switches gradients off."""

import sys
import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from quickstudy.inner.transforms import Switch

HOOKED = "the network registers a gradient hook, which must see each task's gradient by itself"
_OURS = "torch", "quickstudy"  # packages that read `grad_fn` without intending a hook


class Watch:
    """A context that records hooks on tensors and accesses to `grad_fn`, which can get a hook as well.

    With `tangents`, forward derivatives are switched off wherever the pass switches reverse ones off. Three members of
    torch are replaced meanwhile. A `TorchFunctionMode` could do the same, but would intercept every function.
    """

    def __init__(self, *, tangents: bool = False):
        self.tangents, self.hooked = tangents, False

    def __enter__(self) -> "Watch":
        self._held = _WATCHING.held()
        self._held.__enter__()
        _watches.inside.append(self)
        return self

    def __exit__(self, *error: Any) -> None:
        _watches.inside.remove(self)
        self._held.__exit__(*error)


class _Watches(threading.local):
    """The active `Watch` contexts of a thread."""

    def __init__(self) -> None:
        self.inside: list[Watch] = []


_watches = _Watches()
_SET_GRAD_ENABLED, _REGISTER_HOOK = torch._C._set_grad_enabled, Tensor.register_hook
_NODE: Any = torch._C.TensorBase.__dict__["grad_fn"]


def _set_grad_enabled(mode: bool) -> Any:
    if any(watch.tangents for watch in _watches.inside):
        torch._C._set_fwd_grad_enabled(bool(mode))
    return _SET_GRAD_ENABLED(mode)


def _register_hook(tensor: Tensor, hook: Any) -> Any:
    _note()
    return _REGISTER_HOOK(tensor, hook)


def _node(tensor: Tensor) -> Any:
    if _watches.inside:
        caller = sys._getframe(1).f_globals.get("__name__", "")
        if caller == "torch.autograd.graph" or caller.partition(".")[0] not in _OURS:
            _note()
    return _NODE.__get__(tensor)


def _note() -> None:
    for watch in _watches.inside:
        watch.hooked = True


def _watch() -> Callable[[], None]:
    put: Any = torch
    before = put._C._set_grad_enabled, put.Tensor.register_hook
    put._C._set_grad_enabled, put.Tensor.register_hook = _set_grad_enabled, _register_hook
    put.Tensor.grad_fn = property(_node)

    def off() -> None:
        put._C._set_grad_enabled, put.Tensor.register_hook = before
        del put.Tensor.grad_fn

    return off


_WATCHING = Switch(_watch)
