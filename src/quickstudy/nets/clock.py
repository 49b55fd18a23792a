"""The inner step of a forward pass, and whether it is on support or query points, for layers that depend on them."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

from torch import nn

Role = Literal["support", "query"]

_step: ContextVar[int | None] = ContextVar("inner_step", default=None)


class Turn:
    """One `with playing(role)` block. Layers compare blocks by identity."""

    def __init__(self, role: Role):
        self.role: Role = role


_turn: ContextVar[Turn | None] = ContextVar("turn", default=None)


def inner_step() -> int | None:
    """The number of inner steps taken before the current forward pass; None outside inner loops.

    Passes on support points have the numbers 0, 1, ... K - 1; a prediction after k steps has the number k.
    """
    return _step.get()


@contextmanager
def at_step(step: int) -> Iterator[None]:
    """A context in which `inner_step()` is `step`."""
    token = _step.set(step)
    try:
        yield
    finally:
        _step.reset(token)


def points_role() -> Role | None:
    """Whether the current forward pass is on "support" or "query" points; None outside inner loops."""
    turn = _turn.get()
    return None if turn is None else turn.role


def current_turn() -> Turn | None:
    """The current `with playing(role)` block; None outside inner loops."""
    return _turn.get()


@contextmanager
def playing(role: Role | None) -> Iterator[None]:
    """A context in which the points that pass through networks are "support" or "query" points.

    A layer with the class attribute `uses_support = True` stores what it needs from the support points in an attribute
    of its own, and reads it in the pass on query points. Run both passes on a copy of the network, and discard it
    afterwards, since the stored values hold the autograd graph of the support pass.

    Raises:
        ValueError: for another role.

    >>> with playing("support"):
    ...     points_role()
    'support'
    """
    if role not in ("support", "query", None):
        raise ValueError(f"role={role!r}; choose 'support', 'query', or None for outside inner loops")
    token = _turn.set(None if role is None else Turn(role))
    try:
        yield
    finally:
        _turn.reset(token)


def settle(network: nn.Module, step: int) -> None:
    """Set the layers of `network` that depend on the inner step to predict as after `step` steps."""
    for module in network.modules():
        if hasattr(module, "settled"):
            module.settled = step  # type: ignore[assignment]
