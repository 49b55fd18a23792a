"""Policies that adapt: `actor.adapt(episodes)` is the actor that has learned from them, as often as one likes."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field, fields
from functools import cached_property
from typing import Any, final

import torch
from torch import Tensor

from quickstudy.inner.adapted import Adapted
from quickstudy.inner.loop import InnerLoop, inner_loop
from quickstudy.inner.rates import Rated
from quickstudy.rl.decisions import Decisions, decisions
from quickstudy.rl.environment import Environment
from quickstudy.rl.episodes import Episodes
from quickstudy.rl.estimation.advantages import discounted_returns, gae, standardised
from quickstudy.rl.estimation.baseline import Baseline, LinearBaseline
from quickstudy.rl.rollout import rollout


@final
@dataclass(frozen=True, eq=False)
class Judge:
    """What episodes say of the actions in them: advantages over a baseline that is fitted to the same episodes.

    Args:
        baseline: `LinearBaseline()` by default, each task's own.
        discount: of rewards; 0.99 as in Finn et al. 2017.
        gae_lambda: of generalised advantage estimates; 1 as there.
        standardise: advantages to mean 0 and standard deviation 1 in every task, as there.
        bootstrap: add the baseline's value beyond a horizon; not there, where it counts as the end.
    """

    _: KW_ONLY
    baseline: Baseline = field(default_factory=LinearBaseline)
    discount: float = 0.99
    gae_lambda: float = 1.0
    standardise: bool = True
    bootstrap: bool = False

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def __call__(self, episodes: Episodes) -> Decisions:
        """Every action with its advantage."""
        advantage = self.advantage(episodes)
        return decisions(episodes, standardised(advantage, episodes.mask) if self.standardise else advantage)

    def advantage(self, episodes: Episodes) -> Tensor:
        """`[T, E, H]`, before they are standardised."""
        value = self.baseline.fit(episodes, discounted_returns(episodes, discount=self.discount))
        beyond = value(episodes.next_observation, episodes.time + 1) if self.bootstrap else None
        here = value(episodes.observation, episodes.time)
        return gae(episodes, here, next_value=beyond, discount=self.discount, gae_lambda=self.gae_lambda)

    def scale(self, episodes: Episodes) -> Tensor | None:
        """`[T]`, what each task's advantages were divided by; None for nothing."""
        if not self.standardise:
            return None
        advantage, count = self.advantage(episodes), episodes.mask.sum((1, 2)).clamp(min=1)
        mean = torch.where(episodes.mask, advantage, 0).sum((1, 2)) / count
        spread = torch.where(episodes.mask, advantage - mean[:, None, None], 0).square().sum((1, 2)) / count
        return spread.sqrt() + 1e-8


@final
@dataclass(frozen=True, eq=False)
class Actor:
    """A policy for `T` tasks, adapted to what it has seen of each so far; made by the learners' `actor`.

    Args:
        policy: where all tasks begin.
        inner: its inner loop, over `Decisions`.
        judge: episodes -> decisions.
        stages: what has been seen, one entry a gradient step.

    >>> import quickstudy as qs
    >>> learner = qs.rl.MAMLTRPO(qs.rl.GaussianPolicy(qs.nets.MLP(2, [16], 2), 2), lr=0.1)
    >>> environment, chance = qs.rl.Navigation2D(num_envs=4, horizon=10), torch.Generator().manual_seed(0)
    >>> environment.set_tasks(environment.sample_tasks(3, generator=chance))
    >>> actor = learner.actor()
    >>> for _ in range(2):
    ...     actor = actor.adapt(actor.rollout(environment, generator=chance))
    >>> actor(torch.zeros(3, 5, 2)).shape
    torch.Size([3, 5, 4])
    """

    policy: Any
    inner: InnerLoop
    judge: Judge
    stages: tuple[Decisions, ...] = ()

    def adapt(self, episodes: Episodes) -> "Actor":
        """The actor after one more gradient step, on these episodes, which should be its own."""
        return Actor(self.policy, self.inner, self.judge, (*self.stages, self.judge(episodes)))

    def __call__(self, observation: Tensor) -> Tensor:
        """The policy's outputs `[T, N, k]` at `observation [T, N, *do]`."""
        if self.adapted is None:
            with torch.no_grad():
                return self.policy(observation.flatten(0, 1)).unflatten(0, observation.shape[:2])
        return self.adapted(observation)

    def rollout(
        self, environment: Environment, *, generator: torch.Generator | None = None, **options: Any
    ) -> Episodes:
        """Episodes of its own in `environment`; options as of `quickstudy.rl.rollout`."""
        return rollout(environment, self.policy, adapted=self.adapted, generator=generator, **options)

    @cached_property
    def adapted(self) -> Adapted | None:
        """Every task's policy; None before the first step, when all are the same."""
        if not self.stages:
            return None
        return adapted_to(self.inner, self.stages, len(self.stages[0].mask), create_graph=False)


def adapted_to(inner: InnerLoop, stages: Sequence[Decisions], num_tasks: int, *, create_graph: bool = True) -> Adapted:
    """Policies after one step on each of `stages`, from where all tasks begin."""
    return inner(
        batch=lambda step, adapted: stages[step], num_tasks=num_tasks, steps=len(stages), create_graph=create_graph
    )


def inner_loop_of(policy: Any, objective: Any, lr: Rated, steps: int, first_order: bool) -> InnerLoop:
    """Plain gradient steps of the policy down `objective`."""
    return inner_loop(policy, objective=objective, lr=lr, steps=max(steps, 1), first_order=first_order)
