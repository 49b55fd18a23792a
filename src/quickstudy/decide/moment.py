"""One step of every task, as agents and their knowledge are told of it."""

from typing import NamedTuple

from torch import Tensor


class Moment(NamedTuple):
    """What was done in `T` tasks at once, and what came of it.

    Args:
        state: `[T, ds]`.
        action: `[T]`.
        reward: `[T]`.
        following: `[T, ds]`, the next state.
        terminated: `[T]` bool: the episode ended so; truncation is left out.
        mask: `[T]` bool; where it is False nothing happened.
    """

    state: Tensor
    action: Tensor
    reward: Tensor
    following: Tensor
    terminated: Tensor
    mask: Tensor
