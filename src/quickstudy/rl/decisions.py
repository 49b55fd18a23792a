"""Actions with their observations and advantages: the data of surrogate objectives."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from quickstudy.rl.episodes import Episodes

Over = Literal["transitions", "episodes"]
"""What a task's sum is divided by: "transitions", its number of transitions, as in Finn et al. 2017; or "episodes", its
number of episodes, so that the policy gradient is the gradient of the expected return of an episode."""


class Decisions(NamedTuple):
    """Actions with their advantages, tensors `[T, E, H, ...]`; the decisions of one task lack the first axis.

    Args:
        observation, action, log_prob, mask, time: as in `Episodes`.
        advantage: the advantage of the action; 0 where masked.
    """

    observation: Tensor
    action: Tensor
    log_prob: Tensor
    advantage: Tensor
    mask: Tensor
    time: Tensor


def decisions(episodes: Episodes, advantage: Tensor) -> Decisions:
    """The decisions in `episodes`, with the advantages `[T, E, H]`, which are detached.

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
    """The model's outputs `[E, H, k]` at the observations of one task. Its signature is that of an objective."""
    return model(data.observation.flatten(0, 1)).unflatten(0, data.mask.shape)


def log_probs(policy: Any, model: Callable[[Tensor], Tensor], data: Decisions) -> Tensor:
    """The log-probabilities of one task's actions under `model`, `[E, H]`; 0 where masked."""
    return torch.where(data.mask, policy.log_prob(outputs_at(model, data), data.action), 0)


def average(values: Tensor, data: Decisions, over: Over) -> Tensor:
    """The sum of one task's `values [E, H]` over its transitions, divided by the number of transitions or episodes."""
    counted = data.mask if over == "transitions" else data.mask & (data.time == 0)
    return torch.where(data.mask, values, 0).sum() / counted.sum().clamp(min=1)


def check_over(over: str) -> None:
    """Raise ValueError for an unknown `over`."""
    if over not in ("transitions", "episodes"):
        raise ValueError(f"over={over!r}; choose transitions or episodes")
