"""Planning among discrete actions by sampling: the cross-entropy method, and MPPI. All tasks are planned together."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from torch import Tensor

from quickstudy.decide.models import Model

Objective = Callable[[Tensor], Tensor]
"""What plans are worth, `[T, K]`, by the states `[H, T, K, ds]` they lead to."""


class Plan(NamedTuple):
    """What came out, and what the next plan starts from.

    Args:
        action: `[T]`, to be done now.
        sequence: `[T, H]`, the best actions found.
        chance: `[T, H, A]`, of each action at each step.
        value: `[T]`, what the best sequence was worth.
    """

    action: Tensor
    sequence: Tensor
    chance: Tensor
    value: Tensor


@final
@dataclass(frozen=True, kw_only=True)
class CrossEntropy:
    """The cross-entropy method (Rubinstein 1999; De Boer et al. 2005) over sequences of actions.

    Sequences are drawn from p(a_h), independent by step; p becomes the share of each action among the best, mixed with
    the old, and drawing begins anew. The next plan starts from this one, moved on by a step.

    Args:
        horizon: H, steps ahead.
        candidates: K, sequences in an iteration.
        iterations: how often p is improved.
        elites: how many count as the best.
        keep: share of the old p in the new.
        floor: least chance of any action; sequences that were given up can come back.
        actions: A.

    Raises:
        ValueError: for sizes below 1, more elites than candidates, shares outside [0, 1].

    >>> from quickstudy.decide.models import Simulated
    >>> from quickstudy.decide.objective import Balance
    >>> import quickstudy as qs
    >>> env = qs.rl.CartPole()
    >>> model = Simulated(env, env.sample_tasks(3))
    >>> CrossEntropy(candidates=30).plan(model, torch.zeros(3, 4), Balance.cartpole()).action.shape
    torch.Size([3])
    """

    horizon: int = 25
    candidates: int = 250
    iterations: int = 2
    elites: int = 25
    keep: float = 0.1
    floor: float = 0.05
    actions: int = 2

    def __post_init__(self) -> None:
        _check_sizes(self, ("horizon", "candidates", "iterations", "elites", "actions"))
        _check_shares(self, ("keep", "floor"))
        if self.elites > self.candidates:
            raise ValueError(f"elites={self.elites} of candidates={self.candidates}; expected no more than there are")

    def plan(
        self,
        model: Model,
        state: Tensor,
        objective: Objective,
        previous: Plan | None = None,
        generator: torch.Generator | None = None,
    ) -> Plan:
        """The plan of every task from `state [T, ds]`; the model is asked for one world, which all candidates share."""

        def best(value: Tensor) -> Tensor:
            least = value.topk(self.elites, 1).values[:, -1:]
            chosen = (value >= least).to(value.dtype)
            return chosen / chosen.sum(1, keepdim=True)

        return _search(self, best, self.keep, model, state, objective, previous, generator)


@final
@dataclass(frozen=True, kw_only=True)
class MPPI:
    """Model-predictive path integral control (Williams et al. 2017, arXiv 1509.01149), for discrete actions.

    As `CrossEntropy`, but every candidate counts, with weight softmax(J / temperature).

    Args:
        temperature: in units of the objective.
        horizon, candidates, iterations, keep, floor, actions: as there.

    Raises:
        ValueError: for sizes below 1, shares outside [0, 1], a temperature not above 0.

    >>> MPPI(temperature=0.5).horizon
    25
    """

    temperature: float = 0.3
    horizon: int = 25
    candidates: int = 250
    iterations: int = 2
    keep: float = 0.1
    floor: float = 0.05
    actions: int = 2

    def __post_init__(self) -> None:
        _check_sizes(self, ("horizon", "candidates", "iterations", "actions"))
        _check_shares(self, ("keep", "floor"))
        if not self.temperature > 0:
            raise ValueError(f"temperature={self.temperature!r}; expected a number above 0")

    def plan(
        self,
        model: Model,
        state: Tensor,
        objective: Objective,
        previous: Plan | None = None,
        generator: torch.Generator | None = None,
    ) -> Plan:
        """As `CrossEntropy.plan`."""

        def weigh(value: Tensor) -> Tensor:
            return (value / self.temperature).softmax(1)

        return _search(self, weigh, self.keep, model, state, objective, previous, generator)


def _search(
    planner: CrossEntropy | MPPI,
    weigh: Callable[[Tensor], Tensor],
    keep: float,
    model: Model,
    state: Tensor,
    objective: Objective,
    previous: Plan | None,
    generator: torch.Generator | None,
) -> Plan:
    _check_state(state)
    tasks, horizon, kind = len(state), planner.horizon, state.dtype
    chance = state.new_full((tasks, horizon, planner.actions), 1 / planner.actions)
    sequence: Tensor | None = None
    if previous is not None:  # moved on by a step, about whose last nothing is known
        chance = torch.cat([previous.chance[:, 1:], chance[:, -1:]], 1)
        sequence = torch.cat([previous.sequence[:, 1:], previous.sequence[:, -1:]], 1)
    world, places = model.imagine(generator), torch.arange(tasks, device=state.device)
    value = state.new_full((tasks,), -torch.inf)
    with torch.no_grad():
        for _ in range(planner.iterations):
            draw = torch.rand(horizon, tasks, planner.candidates, dtype=kind, device=state.device, generator=generator)
            action = _drawn(chance, draw)
            if sequence is not None:
                action[:, :, 0] = sequence.T  # the best so far stays in the race
            worth = objective(world(state, action))
            _check_worth(worth)
            found = worth.argmax(1)
            value, sequence = worth[places, found], action[:, places, found].T
            chance = keep * chance + (1 - keep) * _shares(action, weigh(worth), planner.actions)
            chance = chance.clamp_(min=planner.floor)
            chance = chance / chance.sum(-1, keepdim=True)
    assert sequence is not None
    return Plan(sequence[:, 0], sequence, chance, value)


def _drawn(chance: Tensor, draw: Tensor) -> Tensor:
    """Actions `[H, T, K]` by `chance [T, H, A]`, from `draw` in [0, 1)."""
    below = chance.transpose(0, 1).unsqueeze(2).cumsum(-1)
    action = torch.zeros_like(draw)
    for a in range(chance.shape[-1] - 1):
        action += draw > below[..., a]
    return action


def _shares(action: Tensor, weight: Tensor, actions: int) -> Tensor:
    """How much `weight [T, K]` each action has at each step, `[T, H, A]`."""
    later = [torch.einsum("htk,tk->th", (action == a).to(weight.dtype), weight) for a in range(1, actions)]
    return torch.stack([1 - torch.stack(later).sum(0), *later], -1)


def _check_sizes(planner: object, names: tuple[str, ...]) -> None:
    for name in names:
        size = getattr(planner, name)
        least = 2 if name == "actions" else 1
        if not isinstance(size, int) or size < least:
            raise ValueError(f"{name}={size!r}; expected a whole number of at least {least}")


def _check_shares(planner: object, names: tuple[str, ...]) -> None:
    for name in names:
        share = getattr(planner, name)
        if not 0 <= share <= 1:
            raise ValueError(f"{name}={share!r}; expected a share from 0 to 1")


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
            "look at its training, and at the transitions it was given"
        )
