"""What a meta-learner of policies trains on: episodes before adapting and after every step, and means over tasks."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from quickstudy.inner.loop import InnerLoop
from quickstudy.rl.actor import Actor, adapted_to
from quickstudy.rl.decisions import Decisions
from quickstudy.rl.environment import Environment
from quickstudy.rl.episodes import Episodes


class Practice(NamedTuple):
    """One round of all tasks.

    Args:
        episodes: drawn after 0, 1, ... K steps.
        decisions: the same, judged.
    """

    episodes: tuple[Episodes, ...]
    decisions: tuple[Decisions, ...]

    @property
    def stages(self) -> tuple[Decisions, ...]:
        """What is adapted on."""
        return self.decisions[:-1]

    @property
    def after(self) -> Decisions:
        """What the adapted policies are judged by."""
        return self.decisions[-1]

    def metrics(self) -> dict[str, float]:
        """Mean returns by gradient step, and how many transitions there were. `loss` is minus the last return."""
        found = {f"return_{k}": float(e.returns().mean()) for k, e in enumerate(self.episodes)}
        found["transitions"] = float(sum(int(e.mask.sum()) for e in self.episodes))
        return {"loss": -found[f"return_{len(self.episodes) - 1}"], **found}


def practise(actor: Actor, environment: Environment, steps: int, generator: torch.Generator | None) -> Practice:
    """Roll out and adapt, `steps` times, and roll out once more."""
    episodes: list[Episodes] = []
    judged: list[Decisions] = []
    for _ in range(steps + 1):
        now = Actor(actor.policy, actor.inner, actor.judge, tuple(judged))
        episodes.append(now.rollout(environment, generator=generator))
        judged.append(actor.judge(episodes[-1]))
    return Practice(tuple(episodes), tuple(judged))


def each_chunk(
    inner: InnerLoop, stages: Sequence[Decisions], objective: Callable[..., Tensor], data: Any, chunk: int | None
) -> Iterator[Tensor]:
    """`objective(model, data of one task, None)` of the policies adapted to `stages`, `[t, ...]` for every chunk.

    Args:
        inner: the inner loop; with a graph to the parameters as they are now.
        stages: `[T, ...]` each; none gives the policy before adapting.
        data: a tree of tensors `[T, ...]`.
        chunk: how many tasks at a time; None for all.
    """
    tasks = len(next(t for t in torch.utils._pytree.tree_leaves(data) if isinstance(t, Tensor)))
    size = chunk or tasks
    for first in range(0, tasks, size):
        share, some = tree_map(lambda t, i=first: t[i : i + size], (data, tuple(stages)))
        policies = adapted_to(inner, some, min(size, tasks - first))
        yield policies.evaluate(objective, share)


def mean_over_tasks(parts: Iterator[Tensor], num_tasks: int) -> Tensor:
    """The mean of what `each_chunk` gives for a scalar objective."""
    total = torch.zeros(())
    for values in parts:
        total = total.to(values) + values.sum()
    return total / num_tasks
