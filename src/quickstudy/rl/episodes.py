"""The record of `H` steps in `E` environments of `T` tasks."""

from typing import NamedTuple

from torch import Tensor


class Episodes(NamedTuple):
    """Transitions by task, environment and step. Where `mask` is False there was no transition, and all values are 0.

    The row of an environment may hold several episodes, one after another; `terminated | truncated` marks their ends.

    Args:
        observation: `[T, E, H, *do]`, before the action.
        action: `[T, E, H, *da]`, or integers `[T, E, H]`; as drawn by the policy, not clipped.
        reward: `[T, E, H]`.
        next_observation: `[T, E, H, *do]`, after the action and before any reset.
        log_prob: `[T, E, H]`, the log-probability of the action under the policy that drew it; without a graph.
        terminated, truncated: `[T, E, H]` bool, as in `Step`.
        mask: `[T, E, H]` bool, True for a real transition.
        time: `[T, E, H]` integers, the number of steps before this one in its episode.
        info: `[T, E, H, ...]` by name: the tensors `[T, E, ...]` in `Step.info`, such as the success of a robot. NaN
            where an environment gave no number.
    """

    observation: Tensor
    action: Tensor
    reward: Tensor
    next_observation: Tensor
    log_prob: Tensor
    terminated: Tensor
    truncated: Tensor
    mask: Tensor
    time: Tensor
    info: dict[str, Tensor] = {}  # noqa: RUF012  # never changed in place

    @property
    def done(self) -> Tensor:
        """`[T, E, H]` bool, True at the last step of an episode."""
        return self.terminated | self.truncated

    def returns(self) -> Tensor:
        """The sum of rewards in each row, `[T, E]`: the undiscounted return if a row holds one episode."""
        return (self.reward * self.mask).sum(2)

    def ever(self, name: str) -> Tensor:
        """`[T, E]` bool: whether `info[name]` was above 0 at any step of the row, as success is counted.

        Raises:
            KeyError: if the environment gave no such information.

        >>> import torch
        >>> no, success = torch.zeros(1, 2, 3), torch.tensor([[[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]])
        >>> Episodes(no, no, no, no, no, no.bool(), no.bool(), ~no.bool(), no, {"success": success}).ever("success")
        tensor([[ True, False]])
        """
        if name not in self.info:
            raise KeyError(f"the episodes have no info {name!r}, only {', '.join(self.info) or 'none'}")
        return ((self.info[name] > 0) & self.mask).any(2)
