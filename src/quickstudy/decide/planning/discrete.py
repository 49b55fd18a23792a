"""Sampling-based planning of discrete actions, for all tasks together."""

from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from torch import Tensor

from quickstudy.checks import check_whole
from quickstudy.decide.models import Model
from quickstudy.decide.planning.weights import (
    Elites,
    Objective,
    Softmax,
    check_elites,
    check_share,
    check_state,
    check_worth,
)


class Plan(NamedTuple):
    """The result of planning, from which the next plan starts.

    Args:
        action: integers `[T]`, the first action of the best sequence.
        sequence: `[T, H]`, the best sequence of actions found.
        chance: `[T, H, A]`, the probability of each action at each step.
        value: `[T]`, the value of the best sequence.
    """

    action: Tensor
    sequence: Tensor
    chance: Tensor
    value: Tensor


@final
@dataclass(frozen=True, kw_only=True)
class Planner:
    """Search over sequences of actions; `cross_entropy` and `mppi` build one for discrete actions.

    Candidate sequences are drawn from p(a_h), independently for each step. Then p becomes the weighted share of each
    action among the candidates, mixed with the old p, and new candidates are drawn. The next plan starts from this
    plan, shifted by one step.

    Args:
        weigh: computes the weights of the candidates from their values.
        horizon: H, the number of steps in a plan.
        candidates: K, the number of candidates in an iteration.
        iterations: the number of iterations.
        keep: the share of the old p in the new p.
        floor: the smallest probability of an action, so that every sequence stays possible.
        actions: A, the number of actions.

    Raises:
        ValueError: for sizes below 1, more elites than candidates, shares outside [0, 1].
    """

    weigh: Elites | Softmax
    horizon: int = 25
    candidates: int = 250
    iterations: int = 2
    keep: float = 0.1
    floor: float = 0.05
    actions: int = 2

    def __post_init__(self) -> None:
        for name in ("horizon", "candidates", "iterations", "actions"):
            check_whole(name, getattr(self, name), 2 if name == "actions" else 1)
        for name in ("keep", "floor"):
            check_share(name, getattr(self, name))
        check_elites(self.weigh, self.candidates)

    @torch.no_grad()
    def plan(
        self,
        model: Model,
        state: Tensor,
        objective: Objective,
        previous: Plan | None = None,
        generator: torch.Generator | None = None,
    ) -> Plan:
        """Plan for every task from `state [T, ds]`; all candidates use the same draw of the model's dynamics."""
        check_state(state)
        tasks = len(state)
        chance = state.new_full((tasks, self.horizon, self.actions), 1 / self.actions)
        sequence: Tensor | None = None
        if previous is not None:  # shifted by one step; the last step is repeated
            chance = torch.cat([previous.chance[:, 1:], chance[:, -1:]], 1)
            sequence = torch.cat([previous.sequence[:, 1:], previous.sequence[:, -1:]], 1)
        world, places = model.imagine(generator), torch.arange(tasks, device=state.device)
        value, shape = state.new_full((tasks,), -torch.inf), (self.horizon, tasks, self.candidates)
        for _ in range(self.iterations):
            draw = torch.rand(shape, dtype=state.dtype, device=state.device, generator=generator)
            action = _drawn(chance, draw)
            if sequence is not None:
                action[:, :, 0] = sequence.T  # the best sequence so far stays a candidate
            worth = objective(world(state, action))
            check_worth(worth)
            found = worth.argmax(1)
            value, sequence = worth[places, found], action[:, places, found].T
            chance = self.keep * chance + (1 - self.keep) * _shares(action, self.weigh(worth), self.actions)
            chance = chance.clamp_(min=self.floor)
            chance = chance / chance.sum(-1, keepdim=True)
        assert sequence is not None
        return Plan(sequence[:, 0].long(), sequence, chance, value)


def _drawn(chance: Tensor, draw: Tensor) -> Tensor:
    """Actions `[H, T, K]` with probabilities `chance [T, H, A]`, from `draw [H, T, K]` in [0, 1)."""
    below = chance.transpose(0, 1).unsqueeze(2).cumsum(-1)
    action = torch.zeros_like(draw)
    for a in range(chance.shape[-1] - 1):
        action += draw > below[..., a]
    return action


def _shares(action: Tensor, weight: Tensor, actions: int) -> Tensor:
    """The total `weight [T, K]` of the candidates with each action at each step, `[T, H, A]`."""
    later = [torch.einsum("htk,tk->th", (action == a).to(weight.dtype), weight) for a in range(1, actions)]
    return torch.stack([1 - torch.stack(later).sum(0), *later], -1)
