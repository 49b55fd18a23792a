"""Decisions and what came of them: the data that surrogate objectives are made of."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from quickstudy.rl.episodes import Episodes

Over = Literal["transitions", "episodes"]
"""What a mean is over. "transitions" divides a task's sum by its real transitions, as Finn et al. 2017 do; "episodes"
by its episodes, so that a policy gradient is one of the expected return of an episode."""


class Decisions(NamedTuple):
    """`[T, E, H, ...]`; without the first axis, those of one task.

    Args:
        observation, action, log_prob, mask, time: as in `Episodes`.
        advantage: of the action; 0 where masked.
    """

    observation: Tensor
    action: Tensor
    log_prob: Tensor
    advantage: Tensor
    mask: Tensor
    time: Tensor


def decisions(episodes: Episodes, advantage: Tensor) -> Decisions:
    """What a surrogate needs of `episodes`, with each action's advantage `[T, E, H]`, which becomes a constant.

    Raises:
        ValueError: for advantages of another shape.
    """
    if advantage.shape != episodes.mask.shape:
        raise ValueError(
            f"advantage has shape {list(advantage.shape)}; expected [T, E, H] = {list(episodes.mask.shape)}, "
            "one for every step of the episodes"
        )
    advantage = torch.where(episodes.mask, advantage.detach(), 0)
    return Decisions(episodes.observation, episodes.action, episodes.log_prob, advantage, episodes.mask, episodes.time)


def outputs_at(model: Callable[[Tensor], Tensor], data: Decisions, outer: Any = None) -> Tensor:
    """The model's outputs `[E, H, k]` at one task's observations; an objective, too, whose values they are."""
    return model(data.observation.flatten(0, 1)).unflatten(0, data.mask.shape)


def log_probs(policy: Any, model: Callable[[Tensor], Tensor], data: Decisions) -> Tensor:
    """Of one task's actions, under the model as it is now: `[E, H]`, 0 where masked."""
    return torch.where(data.mask, policy.log_prob(outputs_at(model, data), data.action), 0)


def average(values: Tensor, data: Decisions, over: Over) -> Tensor:
    """One task's sum of `values [E, H]` over real transitions, divided by how many transitions or episodes they are."""
    counted = data.mask if over == "transitions" else data.mask & (data.time == 0)
    return torch.where(data.mask, values, 0).sum() / counted.sum().clamp(min=1)


def check_over(over: str) -> None:
    """ValueError for an unknown `over`."""
    if over not in ("transitions", "episodes"):
        raise ValueError(f"over={over!r}; choose transitions or episodes")
