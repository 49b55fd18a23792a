"""Whether the running code is being traced into a graph, or is the trial run before that."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

_tracing = ContextVar("tracing", default=False)
_rehearsing = ContextVar("rehearsing", default=False)


def is_tracing() -> bool:
    """Whether operations are being recorded into a graph, so that nothing may depend on a tensor's values."""
    return _tracing.get()


def is_for_graph() -> bool:
    """Whether the running code will be compiled: in the trial run before tracing, and while tracing.

    Cost estimates differ there, since operations in a compiled graph have less overhead.
    """
    return _rehearsing.get()


def values_are_readable(tensor: Tensor) -> bool:
    """Whether the tensor's values can be read; not while torch compiles or transforms, nor on the meta device."""
    if torch.compiler.is_compiling() or is_tracing() or tensor.is_meta:
        return False
    return not torch._C._functorch.is_functorch_wrapped_tensor(tensor)


@contextmanager
def tracing() -> Iterator[None]:
    """A context in which operations are recorded into a graph."""
    with _on(_tracing):
        yield


@contextmanager
def rehearsing() -> Iterator[None]:
    """A context for the trial run and the tracing of a graph."""
    with _on(_rehearsing):
        yield


@contextmanager
def _on(switch: ContextVar[bool]) -> Iterator[None]:
    token = switch.set(True)
    try:
        yield
    finally:
        switch.reset(token)
