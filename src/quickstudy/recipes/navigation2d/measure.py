"""How policies that adapt are measured on the boards of the navigation recipes."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

import quickstudy as qs
from quickstudy.chance import Stream, mix
from quickstudy.recipes.navigation2d.board import Navigation, environment

RATES = (2.0, 1.0, 0.5, 0.2, 0.1)  # of the rate of training: what measuring chooses from
CHOOSING = 40  # goals of the validation split on which it does
GOALS, WALKS = 4, 3  # kept to be drawn
WAYS = ("return", "return_by_transitions")


class Walks(NamedTuple):
    """What is drawn: some goals, and how the policy walked towards them.

    Args:
        goals: `[G, 2]`.
        paths: after every gradient step, for every goal some walks `[n, 2]`.
    """

    goals: Tensor
    paths: list[list[list[Tensor]]]


class Measured(NamedTuple):
    """What became of one learner.

    Args:
        returns: way of counting -> after 0, 1 ... steps the mean return of an episode for each goal, `[T]`.
        rates: that were taken.
        walks: for some goals.
    """

    returns: dict[str, list[Tensor]]
    rates: list[float]
    walks: Walks

    def to_json(self) -> dict[str, Any]:
        """Returns and rates."""
        found = {way: [[round(v, 4) for v in r.tolist()] for r in rows] for way, rows in self.returns.items()}
        return {**found, "rates": self.rates}


def measure(learner: Any, options: Navigation, *, told: bool = False) -> Measured:
    """Mean return of an episode for unseen goals after 0, 1 ... `test_steps` gradient steps.

    What is adapted on is counted in two ways: so many episodes a step; or, as in the authors' code, so many transitions
    (`test_episodes` x horizon), of which only finished episodes count: once adapted, many more and shorter ones.

    Args:
        told: show the policy the goal.
    """
    steps = options.test_steps
    board = environment(options, options.test_episodes, told=told)
    seed = torch.Generator().manual_seed(mix(options.test_seed, 0, Stream.EVALUATION))
    goals = board.sample_tasks(options.test_tasks, split="test", generator=seed)
    board.set_tasks(goals)
    found: dict[str, list[Tensor]] = {}
    paths = []
    for way in WAYS if steps else WAYS[:1]:
        chance = torch.Generator().manual_seed(mix(options.test_seed, 1, Stream.EVALUATION))
        actor = learner.actor(lr=list(options.test_lr) or None)
        for k in range(steps + 1):
            episodes = actor.rollout(board, generator=chance)
            found.setdefault(way, []).append(episodes.returns().mean(1))
            if way == "return":
                paths.append(_walks(episodes))
            if k < steps:
                by_episodes = way == "return"
                seen = episodes if by_episodes else actor.rollout(board, generator=chance, restart=True)
                actor = actor.adapt(seen)
    return Measured(found, list(options.test_lr[:steps]), Walks(goals["goal"][:GOALS], paths))


def rates(learner: Any, options: Navigation, steps: int, *, told: bool = False) -> tuple[float, ...]:
    """For each step the rate after which goals of the validation split are reached best, of those in `RATES`."""
    board = environment(options, options.test_episodes, told=told)
    seed = torch.Generator().manual_seed(mix(options.seed, 0, Stream.VALIDATION))
    board.set_tasks(board.sample_tasks(CHOOSING, split="validation", generator=seed))
    chosen: list[float] = []
    seen: list[qs.rl.Episodes] = []

    def after(rate: float) -> qs.rl.Episodes:
        actor = learner.actor(lr=[*chosen, rate])
        for episodes in seen:
            actor = actor.adapt(episodes)
        chance = torch.Generator().manual_seed(mix(options.seed, 1 + len(seen), Stream.VALIDATION))
        return actor.rollout(board, generator=chance)

    for _ in range(steps):
        seen.append(after(chosen[-1] if chosen else options.inner_lr))
        returns = {share: float(after(share * options.inner_lr).returns().mean()) for share in RATES}
        chosen.append(max(returns, key=lambda share: returns[share]) * options.inner_lr)
    return tuple(chosen)


def _walks(episodes: qs.rl.Episodes) -> list[list[Tensor]]:
    """Some walks in each of the first tasks, no more than there are."""
    tasks, walks, _ = episodes.mask.shape
    return [[_walk(episodes, goal, e) for e in range(min(WALKS, walks))] for goal in range(min(GOALS, tasks))]


def _walk(episodes: qs.rl.Episodes, task: int, environment: int) -> Tensor:
    real = episodes.mask[task, environment]
    seen, after = (getattr(episodes, name)[task, environment, :, :2] for name in ("observation", "next_observation"))
    return torch.cat([seen[:1], after[real]])
