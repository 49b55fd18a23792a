"""How transitions become examples: (state, action) -> change of state, both in units of their own spread."""

from typing import NamedTuple

import torch
from torch import Tensor

from quickstudy.data import Examples


class Encoding(NamedTuple):
    """x = (s / a, action),  y = (s' - s) / b: what a learner sees of a transition.

    An action of two is -1 or 1; of more, it is one-hot.

    Args:
        state_scale: a, `[ds]`.
        change_scale: b, `[ds]`.
        actions: how many there are.

    >>> encoding = Encoding(torch.tensor([2.0]), torch.tensor([0.5]), 2)
    >>> x = encoding.inputs(torch.tensor([[[4.0]]]), torch.tensor([[0]]))
    >>> x, encoding.following(torch.tensor([[[4.0]]]), torch.tensor([[[1.0]]]))
    (tensor([[[ 2., -1.]]]), tensor([[[4.5000]]]))
    """

    state_scale: Tensor
    change_scale: Tensor
    actions: int = 2

    @property
    def dx(self) -> int:
        """Features of an input."""
        return len(self.state_scale) + (1 if self.actions == 2 else self.actions)

    @property
    def dy(self) -> int:
        """Features of an output."""
        return len(self.change_scale)

    def to(self, like: Tensor) -> "Encoding":
        """With scales of the type and device of `like`."""
        return self._replace(state_scale=self.state_scale.to(like), change_scale=self.change_scale.to(like))

    def features(self, action: Tensor) -> Tensor:
        """Of an action `[...]`: `[..., 1]`, or `[..., actions]` where there are more than two."""
        kind = self.state_scale.dtype
        if self.actions == 2:
            return torch.sub(2 * action.to(kind), 1).unsqueeze(-1)
        return torch.nn.functional.one_hot(action.long(), self.actions).to(kind)

    def inputs(self, state: Tensor, action: Tensor) -> Tensor:
        """`x [..., dx]` of `state [..., ds]` and `action [...]`."""
        return torch.cat([state / self.state_scale, self.features(action)], -1)

    def following(self, state: Tensor, change: Tensor) -> Tensor:
        """The next state, from an output `[..., ds]`."""
        return torch.addcmul(state, change, self.change_scale)

    def examples(self, state: Tensor, action: Tensor, following: Tensor, mask: Tensor | None = None) -> Examples:
        """Transitions `[T, N, ds]`, `[T, N]`, `[T, N, ds]` as examples.

        Raises:
            ValueError: for shapes that do not belong together, and real transitions that are not finite.
        """
        check_transitions(state, action, following, mask, len(self.state_scale))
        return Examples(self.inputs(state, action), (following - state) / self.change_scale, mask)


def check_transitions(state: Tensor, action: Tensor, following: Tensor, mask: Tensor | None, ds: int) -> None:
    """Raise one clear line unless transitions fit together and are finite where they are real."""
    if state.dim() != 3 or state.shape[2] != ds or following.shape != state.shape or action.shape != state.shape[:2]:
        raise ValueError(
            f"states {list(state.shape)}, actions {list(action.shape)} and next states {list(following.shape)}; "
            f"expected [T, N, {ds}], [T, N] and [T, N, {ds}]"
        )
    finite = state.isfinite().all(-1) & following.isfinite().all(-1)
    wrong = ~finite if mask is None else ~finite & mask
    if wrong.any():
        task, place = (int(i) for i in wrong.nonzero()[0])
        raise ValueError(
            f"transition {place} of task {task} is {state[task, place].tolist()} -> {following[task, place].tolist()}; "
            "expected finite observations: look at the environment, or mask it"
        )
