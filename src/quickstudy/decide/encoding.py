"""Transitions as examples of a regression: (state, action) -> change of state, both scaled.

The reward and the termination of the episode can be further outputs, for agents that have to learn these, too.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from quickstudy.data import Examples
from quickstudy.decide.moment import Moment


class Encoding(NamedTuple):
    """A transition as an example: x = (s / a, action),  y = (s' - s) / b.

    Two actions are encoded as -1 and 1, more than two as one-hot vectors, one after another for each component of a
    MultiDiscrete action; real actions are divided by their scale.
    Optional further outputs are the scaled reward r / c, and after it the end of the episode: 1 where it terminated, 0
    elsewhere.

    Args:
        state_scale: a, `[ds]`.
        change_scale: b, `[ds]`.
        actions: the number of actions; a tuple, that of each component of MultiDiscrete actions.
        reward_scale: c, a scalar; None if the reward is not an output.
        end: whether the end of the episode is an output.
        action_scale: `[da]`, of real actions; None where actions are discrete.

    >>> encoding = Encoding(torch.tensor([2.0]), torch.tensor([0.5]), 2)
    >>> x = encoding.inputs(torch.tensor([[[4.0]]]), torch.tensor([[0]]))
    >>> x, encoding.following(torch.tensor([[[4.0]]]), torch.tensor([[[1.0]]]))
    (tensor([[[ 2., -1.]]]), tensor([[[4.5000]]]))
    >>> encoding._replace(reward_scale=torch.tensor(10.0), end=True).outcomes(torch.tensor([1.0, 0.3, 0.9]))
    tensor([3.0000, 0.9000])
    """

    state_scale: Tensor
    change_scale: Tensor
    actions: int | tuple[int, ...] = 2
    reward_scale: Tensor | None = None
    end: bool = False
    action_scale: Tensor | None = None

    @property
    def ds(self) -> int:
        """The number of components of a state."""
        return len(self.state_scale)

    @property
    def dx(self) -> int:
        """The number of features of an input."""
        if self.action_scale is not None:
            return self.ds + len(self.action_scale)
        choices = (self.actions,) if isinstance(self.actions, int) else self.actions
        return self.ds + sum(1 if number == 2 else number for number in choices)

    @property
    def dy(self) -> int:
        """The number of outputs."""
        return self.ds + (self.reward_scale is not None) + self.end

    def to(self, like: Tensor) -> "Encoding":
        """The same encoding with scales in the dtype and on the device of `like`."""
        return Encoding(
            self.state_scale.to(like),
            self.change_scale.to(like),
            self.actions,
            None if self.reward_scale is None else self.reward_scale.to(like),
            self.end,
            None if self.action_scale is None else self.action_scale.to(like),
        )

    def features(self, action: Tensor) -> Tensor:
        """The encoding of actions `[...]`: `[..., 1]`, or `[..., actions]` if there are more than two.

        That of real actions `[..., da]` is `[..., da]`; that of MultiDiscrete ones `[..., d]` is of the components, one
        after another.
        """
        if self.action_scale is not None:
            return action / self.action_scale
        kind = self.state_scale.dtype
        if isinstance(self.actions, int):
            return _coded(action, self.actions, kind)
        return torch.cat([_coded(*part, kind) for part in zip(action.unbind(-1), self.actions, strict=True)], -1)

    def inputs(self, state: Tensor, action: Tensor) -> Tensor:
        """Inputs `x [..., dx]` for `state [..., ds]` and `action [...]`, or real ones `[..., da]`."""
        return torch.cat([state / self.state_scale, self.features(action)], -1)

    def following(self, state: Tensor, change: Tensor) -> Tensor:
        """The next state, from `state [..., ds]` and an output `[..., dy]`."""
        return torch.addcmul(state, change[..., : self.ds], self.change_scale)

    def outcomes(self, output: Tensor) -> Tensor:
        """The unscaled reward and the end, `[..., k]`, from outputs `[..., dy]`; k (0 to 2) counts those encoded."""
        outcomes = output[..., self.ds :]
        if self.reward_scale is None:
            return outcomes
        return torch.cat([outcomes[..., :1] * self.reward_scale, outcomes[..., 1:]], -1)

    def examples(
        self,
        state: Tensor,
        action: Tensor,
        following: Tensor,
        mask: Tensor | None = None,
        *,
        reward: Tensor | None = None,
        terminated: Tensor | None = None,
    ) -> Examples:
        """Transitions `[T, N, ds]`, `[T, N]` (or real actions `[T, N, da]`), `[T, N, ds]` as examples.

        Args:
            state, action, following: states, actions and next states.
            mask: `[T, N]`, True for a real transition.
            reward, terminated: `[T, N]`; required if they are outputs, ignored otherwise.

        Raises:
            ValueError: for shapes that do not match, a missing reward or termination, and real transitions that are not
                finite.
        """
        per_action: tuple[int, ...] = () if isinstance(self.actions, int) else (len(self.actions),)
        if self.action_scale is not None:
            per_action = tuple(self.action_scale.shape)
        check_transitions(state, action, following, mask, self.ds, per_action)
        outputs = [(following - state) / self.change_scale]
        if self.reward_scale is not None:
            outputs.append(_outcome("reward", reward, following, mask) / self.reward_scale)
        if self.end:
            outputs.append(_outcome("terminated", terminated, following, mask))
        return Examples(self.inputs(state, action), torch.cat(outputs, -1) if self.dy > self.ds else outputs[0], mask)

    def moment(self, moment: Moment) -> Examples:
        """One transition of each task as examples, `[T, 1, ...]`."""
        state, action, reward, following, terminated, mask = (part.unsqueeze(1) for part in moment)
        return self.examples(state, action, following, mask, reward=reward, terminated=terminated)


def _coded(action: Tensor, choices: int, kind: torch.dtype) -> Tensor:
    if choices == 2:
        return torch.sub(2 * action.to(kind), 1).unsqueeze(-1)
    return torch.nn.functional.one_hot(action.long(), choices).to(kind)


def check_transitions(
    state: Tensor, action: Tensor, following: Tensor, mask: Tensor | None, ds: int, per_action: tuple[int, ...] = ()
) -> None:
    """Raise ValueError unless shapes match and real transitions are finite; `per_action` is the shape of one action."""
    shape = (*state.shape[:2], *per_action)
    if state.dim() != 3 or state.shape[2] != ds or following.shape != state.shape or action.shape != shape:
        actions = ", ".join(["T", "N", *map(str, per_action)])
        raise ValueError(
            f"states {list(state.shape)}, actions {list(action.shape)} and next states {list(following.shape)}; "
            f"expected [T, N, {ds}], [{actions}] and [T, N, {ds}]"
        )
    finite = state.isfinite().all(-1) & following.isfinite().all(-1)
    wrong = ~finite if mask is None else ~finite & mask
    if wrong.any():
        task, place = (int(i) for i in wrong.nonzero()[0])
        raise ValueError(
            f"transition {place} of task {task} is {state[task, place].tolist()} -> {following[task, place].tolist()}; "
            "expected finite observations: check the environment, or mask the transition"
        )


def _outcome(name: str, value: Tensor | None, following: Tensor, mask: Tensor | None) -> Tensor:
    """`value [T, N]` as an output `[T, N, 1]`. Raises ValueError if it is missing, of another shape or not finite."""
    expected = list(following.shape[:2])
    if value is None or list(value.shape) != expected:
        given = "missing" if value is None else list(value.shape)
        raise ValueError(
            f"{name} is {given}; expected {expected}, since it is an output: give it, or leave it out of the encoding"
        )
    wrong = ~value.isfinite() if mask is None else ~value.isfinite() & mask
    if wrong.any():
        task, place = (int(i) for i in wrong.nonzero()[0])
        raise ValueError(
            f"{name} of transition {place} of task {task} is {value[task, place].item()}; "
            "expected finite numbers: check the environment, or mask the transition"
        )
    return value.to(following.dtype).unsqueeze(-1)
