"""Sampling-based planning of discrete actions, for all tasks together: the cross-entropy method, and MPPI."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import torch
from torch import Tensor

from quickstudy.checks import check_whole
from quickstudy.decide.models import Model

Objective = Callable[[Tensor], Tensor]
"""A function states `[H, T, K, ds]` -> value of each plan `[T, K]`."""


class Plan(NamedTuple):
    """The result of planning, from which the next plan starts.

    Args:
        action: `[T]`, the first action of the best sequence.
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
class Elites:
    """Weights of the cross-entropy method: equal for the `count` best candidates, 0 for the others."""

    count: int = 25

    def __call__(self, worth: Tensor) -> Tensor:
        """Weights `[T, K]`, which sum to 1 over K, of candidates with values `worth [T, K]`."""
        least = worth.topk(self.count, 1).values[:, -1:]
        chosen = (worth >= least).to(worth.dtype)
        return chosen / chosen.sum(1, keepdim=True)


@final
@dataclass(frozen=True, kw_only=True)
class Softmax:
    """Weights of MPPI: softmax(J / temperature) over all candidates."""

    temperature: float = 0.3

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ValueError(f"temperature={self.temperature!r}; expected a number above 0")

    def __call__(self, worth: Tensor) -> Tensor:
        """Weights `[T, K]`, which sum to 1 over K, of candidates with values `worth [T, K]`."""
        return (worth / self.temperature).softmax(1)


@final
@dataclass(frozen=True, kw_only=True)
class Planner:
    """Search over sequences of actions; `cross_entropy` and `mppi` build one.

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
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)!r}; expected a share from 0 to 1")
        if isinstance(self.weigh, Elites) and check_whole("elites", self.weigh.count) > self.candidates:
            raise ValueError(
                f"elites={self.weigh.count} and candidates={self.candidates}; expected elites <= candidates"
            )

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
        _check_state(state)
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
            _check_worth(worth)
            found = worth.argmax(1)
            value, sequence = worth[places, found], action[:, places, found].T
            chance = self.keep * chance + (1 - self.keep) * _shares(action, self.weigh(worth), self.actions)
            chance = chance.clamp_(min=self.floor)
            chance = chance / chance.sum(-1, keepdim=True)
        assert sequence is not None
        return Plan(sequence[:, 0], sequence, chance, value)


def cross_entropy(*, elites: int = 25, **options: Any) -> Planner:
    """The cross-entropy method (Rubinstein 1999; De Boer et al. 2005): equal weights for the best candidates.

    Args:
        elites: the number of best candidates, which have equal weights; all others have weight 0.
        options: options of `Planner`.

    >>> from quickstudy.decide.models import Simulated
    >>> from quickstudy.decide.objective import Balance
    >>> import quickstudy as qs
    >>> env = qs.rl.CartPole()
    >>> model = Simulated(env, env.sample_tasks(3))
    >>> cross_entropy(candidates=30).plan(model, torch.zeros(3, 4), Balance.cartpole()).action.shape
    torch.Size([3])
    """
    return Planner(weigh=Elites(count=elites), **options)


def mppi(*, temperature: float = 0.3, **options: Any) -> Planner:
    """Model-predictive path integral control (Williams et al. 2017, arXiv 1509.01149), for discrete actions.

    Args:
        temperature: temperature of the softmax, in units of the objective.
        options: options of `Planner`.

    >>> mppi(temperature=0.5).horizon
    25
    """
    return Planner(weigh=Softmax(temperature=temperature), **options)


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


def _check_state(state: Tensor) -> None:
    if state.dim() != 2:
        raise ValueError(f"state is {list(state.shape)}; expected [T, ds], one state of every task")
    wrong = ~state.isfinite().all(1)
    if wrong.any():
        task = int(wrong.nonzero()[0])
        raise ValueError(f"the state of task {task} is {state[task].tolist()}; expected finite observations")


def _check_worth(worth: Tensor) -> None:
    wrong = worth.isnan().any(1)
    if wrong.any():
        raise ValueError(
            f"the model's outputs are not finite for task {int(wrong.nonzero()[0])}; "
            "check its training, and the transitions it was given"
        )
