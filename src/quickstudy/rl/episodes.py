"""What was experienced in `E` environments of `T` tasks over `H` steps."""

from typing import NamedTuple

from torch import Tensor


class Episodes(NamedTuple):
    """Transitions by task, environment and step. Where `mask` is False there was none, and what stands there is 0.

    One row of an environment may hold several episodes, one after another: `terminated | truncated` ends each.

    Args:
        observation: `[T, E, H, *do]`, before the action.
        action: `[T, E, H, *da]`, or integers `[T, E, H]`; as the policy drew it, not clipped.
        reward: `[T, E, H]`.
        next_observation: `[T, E, H, *do]`, after the action and before any reset.
        log_prob: `[T, E, H]`, of the action under the policy that drew it; a constant.
        terminated, truncated: `[T, E, H]` bool, as in `Step`.
        mask: `[T, E, H]` bool: a real transition.
        time: `[T, E, H]` integer: steps since its episode began.
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

    @property
    def done(self) -> Tensor:
        """`[T, E, H]` bool: the last step of an episode."""
        return self.terminated | self.truncated

    def returns(self) -> Tensor:
        """Each row's sum of rewards, `[T, E]`: the undiscounted return where a row holds one episode."""
        return (self.reward * self.mask).sum(2)
