"""Which inner step it is, for layers that treat each step in their own way."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

from torch import nn

Role = Literal["support", "query"]

_step: ContextVar[int | None] = ContextVar("inner_step", default=None)
_role: ContextVar[Role | None] = ContextVar("points_role", default=None)


def inner_step() -> int | None:
    """How many inner steps came before the pass that is running; None outside of inner loops.

    The passes on support points are 0, 1, ... K - 1; what a network says after k steps is pass k.
    """
    return _step.get()


@contextmanager
def at_step(step: int) -> Iterator[None]:
    """What runs inside belongs to `step`."""
    token = _step.set(step)
    try:
        yield
    finally:
        _step.reset(token)


def points_role() -> Role | None:
    """What the points of the pass that is running are to their task; None outside of inner loops."""
    return _role.get()


@contextmanager
def playing(role: Role | None) -> Iterator[None]:
    """The points of what runs inside are the task's support set, or its query points."""
    token = _role.set(role)
    try:
        yield
    finally:
        _role.reset(token)


def settle(network: nn.Module, step: int) -> None:
    """Have the layers of `network` that treat each step in their own way take it for `step` from now on."""
    for module in network.modules():
        if hasattr(module, "settled"):
            module.settled = step  # type: ignore[assignment]
