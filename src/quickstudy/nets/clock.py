"""Which inner step a pass is, and whether it sees support or query points: for layers that treat these differently."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

from torch import nn

Role = Literal["support", "query"]

_step: ContextVar[int | None] = ContextVar("inner_step", default=None)


class Turn:
    """One `with playing(role)`. Layers tell two of them apart by identity."""

    def __init__(self, role: Role):
        self.role: Role = role


_turn: ContextVar[Turn | None] = ContextVar("turn", default=None)


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
    """What the pass that is running sees: a task's "support" or "query" points; None outside of inner loops."""
    turn = _turn.get()
    return None if turn is None else turn.role


def current_turn() -> Turn | None:
    """The `with playing(role)` that is running; None outside of inner loops."""
    return _turn.get()


@contextmanager
def playing(role: Role | None) -> Iterator[None]:
    """The points that pass through networks inside are of this role.

    A layer with the class attribute `uses_support = True` keeps what it needs of the support points as a plain
    attribute of itself, and reads it when query points pass. Run both passes on a copy of the network that is thrown
    away afterwards: what is kept holds the graph of the support pass.

    Raises:
        ValueError: for any other role.

    >>> with playing("support"):
    ...     points_role()
    'support'
    """
    if role not in ("support", "query", None):
        raise ValueError(f"role={role!r}; choose 'support', 'query', or None for outside of inner loops")
    token = _turn.set(None if role is None else Turn(role))
    try:
        yield
    finally:
        _turn.reset(token)


def settle(network: nn.Module, step: int) -> None:
    """Have the layers of `network` that treat passes differently take each one for a prediction after `step` steps."""
    for module in network.modules():
        if hasattr(module, "settled"):
            module.settled = step  # type: ignore[assignment]
