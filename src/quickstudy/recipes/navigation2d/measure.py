"""Measure the returns of policies that adapt to unseen goals."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

import quickstudy as qs
from quickstudy.chance import Stream, mix
from quickstudy.recipes.navigation2d.board import Navigation, environment

CHOOSING = 40  # validation goals on which a learning rate is chosen
GOALS, WALKS = 4, 3  # goals that are drawn, and paths for each
WAYS = ("return", "return_by_transitions")  # metrics: a step's data are counted in episodes, or in transitions


class Walks(NamedTuple):
    """The goals and paths that the figure shows.

    Args:
        goals: goals `[G, 2]`.
        paths: for every number of gradient steps and every goal, some paths `[n, 2]` of the policy.
    """

    goals: Tensor
    paths: list[list[list[Tensor]]]


class Measured(NamedTuple):
    """The returns of one learner.

    Args:
        returns: for each of `WAYS`, after 0, 1 ... gradient steps: the mean return of an episode, for each goal, `[T]`.
        rates: learning rates of the gradient steps.
        walks: paths to some of the goals.
    """

    returns: dict[str, list[Tensor]]
    rates: list[float]
    walks: Walks

    def to_json(self) -> dict[str, Any]:
        """The returns and learning rates, for JSON."""
        found = {way: [[round(v, 4) for v in r.tolist()] for r in rows] for way, rows in self.returns.items()}
        return {**found, "rates": self.rates}


def measure(learner: Any, options: Navigation, *, sees_goal: bool = False) -> Measured:
    """Mean return of an episode for unseen goals after 0, 1 ... `test_steps` gradient steps.

    The data of a gradient step are counted in two ways: `test_episodes` episodes; or, as in the authors' code,
    `test_episodes` x horizon transitions, which contain more episodes if the policy reaches its goal sooner.

    Args:
        learner: the trained learner.
        options: options of the recipe; `test_lr` are the learning rates of the steps.
        sees_goal: whether the policy observes the goal.
    """
    steps = options.test_steps
    board = environment(options, options.test_episodes, sees_goal=sees_goal)
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
                data = episodes if by_episodes else actor.rollout(board, generator=chance, restart=True)
                actor = actor.adapt(data)
    return Measured(found, list(options.test_lr[:steps]), Walks(goals["goal"][:GOALS], paths))


def rates(learner: Any, options: Navigation, steps: int, *, sees_goal: bool = False) -> tuple[float, ...]:
    """The learning rate of each gradient step: that of `test_factors` with the best return on validation goals."""
    board = environment(options, options.test_episodes, sees_goal=sees_goal)
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
        returns = {factor: float(after(factor * options.inner_lr).returns().mean()) for factor in options.test_factors}
        chosen.append(max(returns, key=lambda factor: returns[factor]) * options.inner_lr)
    return tuple(chosen)


def _walks(episodes: qs.rl.Episodes) -> list[list[Tensor]]:
    """Up to `WALKS` paths in each of the first `GOALS` tasks."""
    tasks, walks, _ = episodes.mask.shape
    return [[_walk(episodes, goal, e) for e in range(min(WALKS, walks))] for goal in range(min(GOALS, tasks))]


def _walk(episodes: qs.rl.Episodes, task: int, environment: int) -> Tensor:
    real = episodes.mask[task, environment]
    seen, after = (getattr(episodes, name)[task, environment, :, :2] for name in ("observation", "next_observation"))
    return torch.cat([seen[:1], after[real]])
