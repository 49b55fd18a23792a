"""Policies that adapt: `actor.adapt(episodes)` returns an actor after one more inner step, on these episodes."""

import copy
import inspect
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, final

import torch
from torch import Tensor, nn

from quickstudy.inner.adapted import Adapted
from quickstudy.inner.loop import InnerLoop, inner_loop
from quickstudy.inner.rates import Rated
from quickstudy.rl.decisions import Decisions
from quickstudy.rl.environment import Environment
from quickstudy.rl.episodes import Episodes
from quickstudy.rl.estimation.judge import Judge as Judge
from quickstudy.rl.rollout import rollout

Adapt = str | Sequence[str] | None
"""Patterns for the names of what adapts, as in `quickstudy.inner_loop`; None for everything."""


@final
@dataclass(frozen=True, eq=False)
class Actor:
    """The policies of `T` tasks, each adapted to its task's episodes so far; `learner.actor()` returns one.

    Args:
        policy: the policy before adaptation, the same for all tasks.
        inner: the inner loop, over `Decisions`.
        judge: turns episodes into decisions, by estimating advantages.
        stages: the decisions adapted to, one entry for each inner step.
        learner: the learner that made it, which `quickstudy.save(actor, path)` saves with it.

    >>> import quickstudy as qs
    >>> learner = qs.rl.MAMLTRPO(qs.rl.GaussianPolicy(qs.nets.MLP(2, [16], 2), 2), lr=0.1)
    >>> environment, generator = qs.rl.Navigation2D(num_envs=4, horizon=10), torch.Generator().manual_seed(0)
    >>> environment.set_tasks(environment.sample_tasks(3, generator=generator))
    >>> actor = learner.actor()
    >>> for _ in range(2):
    ...     actor = actor.adapt(actor.rollout(environment, generator=generator))
    >>> actor(torch.zeros(3, 5, 2)).shape
    torch.Size([3, 5, 4])
    """

    policy: Any
    inner: InnerLoop
    judge: Judge
    stages: tuple[Decisions, ...] = ()
    learner: nn.Module | None = None

    def adapt(self, episodes: Episodes) -> "Actor":
        """The actor after one more inner step, on `episodes`, which this actor should have generated."""
        return replace(self, stages=(*self.stages, self.judge(episodes)))

    def __call__(self, observation: Tensor) -> Tensor:
        """The policy's outputs `[T, N, k]` at `observation [T, N, *do]`."""
        policies = self._policies(len(observation))
        if policies is None:
            with torch.no_grad():
                return self.policy(observation.flatten(0, 1)).unflatten(0, observation.shape[:2])
        return policies(observation)

    def rollout(
        self, environment: Environment, *, generator: torch.Generator | None = None, **options: Any
    ) -> Episodes:
        """Episodes of this actor in `environment`; `options` are those of `quickstudy.rl.rollout`."""
        policies = self._policies(environment.num_tasks)
        return rollout(environment, self.policy, adapted=policies, generator=generator, **options)

    def task(self, i: int) -> nn.Module:
        """The policy of task `i` as a separate plain module `[N, *do] -> [N, k]`; `mode(outputs)` are its actions."""
        policies = self._policies(1)
        return copy.deepcopy(self.policy) if policies is None else policies.module(i if self.stages else 0)

    def saved(self) -> dict[str, Any]:
        """What `quickstudy.save` keeps besides the learner: the decisions adapted to, and the rates of the steps.

        Raises:
            ValueError: for an actor that belongs to no learner, and for rates of its own that are no numbers.
        """
        own = None if self.learner is None else self.learner.actor().inner.rule  # type: ignore[operator]
        if own is None:
            raise ValueError("this actor belongs to no learner; save one that learner.actor() returned, or adapted")
        lr = self.inner.rule.lr if self.inner.rule is not own else None
        if not all(
            rate is None or isinstance(rate, float | int) for rate in (lr if isinstance(lr, tuple | list) else [lr])
        ):
            raise ValueError(f"lr={lr!r} cannot be saved with an actor; give actor(lr=...) numbers")
        return {
            "lr": list(lr) if isinstance(lr, tuple) else lr,
            "stages": [tuple(t.clone() for t in stage) for stage in self.stages],
        }

    def restored(self, saved: Any) -> "Actor":
        """The actor that `saved` was made from, if this one is its learner's `actor()`.

        Raises:
            ValueError: if `saved` does not come from the method of that name.
        """
        if not isinstance(saved, dict) or set(saved) != {"lr", "stages"} or self.learner is None:
            raise ValueError("it is not what Actor.saved returned")
        start: Actor = self if saved["lr"] is None else self.learner.actor(lr=saved["lr"])  # type: ignore[operator]
        return replace(start, stages=tuple(Decisions(*stage) for stage in saved["stages"]))

    @cached_property
    def adapted(self) -> Adapted | None:
        """The adapted policies of all tasks; None before the first step, when all tasks share one policy."""
        if not self.stages:
            return None
        return adapted_to(self.inner, self.stages, len(self.stages[0].mask), create_graph=False)

    def _policies(self, num_tasks: int) -> Adapted | None:
        """The policies of all tasks; None where all share the policy itself, without further inputs."""
        if self.stages or not self.inner.inputs or not num_tasks:
            return self.adapted
        return adapted_to(self.inner, (), num_tasks, create_graph=False)


def adapted_to(inner: InnerLoop, stages: Sequence[Decisions], num_tasks: int, *, create_graph: bool = True) -> Adapted:
    """The policies after one inner step on each of `stages`, in turn, from the initial policy."""
    return inner(
        batch=lambda step, adapted: stages[step], num_tasks=num_tasks, steps=len(stages), create_graph=create_graph
    )


def inner_loop_of(
    policy: Any, objective: Any, lr: Rated, steps: int, *, first_order: bool, adapt: Adapt = None, inputs: Any = None
) -> InnerLoop:
    """An inner loop of gradient-descent steps on `objective`, from the parameters of `policy`.

    Raises:
        TypeError: for an extra input that the policy's network does not take.
    """
    network = getattr(policy, "network", None)
    taken = inspect.signature(network.forward).parameters if isinstance(network, nn.Module) else {}
    for name in inputs or ():
        if taken and name not in taken and not any(p.kind is p.VAR_KEYWORD for p in taken.values()):
            raise TypeError(
                f"inputs= names {name!r}, and the policy's network takes {', '.join(taken)}; give it the argument, as "
                "quickstudy.nets.WithContext(network, context) does for 'context'"
            )
    return inner_loop(
        policy,
        objective=objective,
        lr=lr,
        steps=max(steps, 1),
        adapt=adapt,
        inputs=inputs,
        first_order=first_order,
    )
