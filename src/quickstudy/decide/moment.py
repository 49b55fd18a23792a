"""The record of one transition of every task, which agents and their models receive."""

from typing import NamedTuple

from torch import Tensor


class Moment(NamedTuple):
    """One transition in each of `T` tasks.

    Args:
        state: `[T, ds]`.
        action: integers `[T]`, or real numbers `[T, *da]`.
        reward: `[T]`.
        following: `[T, ds]`, the next state.
        terminated: `[T]` bool: the episode terminated with this step; False for truncation.
        mask: `[T]` bool: False for a task whose episode had ended before, where there was no transition.
    """

    state: Tensor
    action: Tensor
    reward: Tensor
    following: Tensor
    terminated: Tensor
    mask: Tensor
