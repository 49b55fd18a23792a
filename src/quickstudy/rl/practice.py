"""The data of a meta-training step of policies: episodes before adaptation and after every inner step."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from quickstudy.inner.loop import InnerLoop
from quickstudy.inner.options import check_count
from quickstudy.rl.actor import Actor, adapted_to
from quickstudy.rl.decisions import Decisions
from quickstudy.rl.environment import Environment
from quickstudy.rl.episodes import Episodes

Chunk = int | Literal["auto"] | None
"""The number of tasks that are differentiated at a time; None for all, "auto" for as many as have 2,000 transitions."""
TRANSITIONS = 2000  # what 100 units make of them fits into the cache of a core


class Practice(NamedTuple):
    """The episodes of one meta-training step.

    Args:
        episodes: the episodes after 0, 1, ... K inner steps.
        decisions: the same episodes with advantages.
    """

    episodes: tuple[Episodes, ...]
    decisions: tuple[Decisions, ...]

    @property
    def stages(self) -> tuple[Decisions, ...]:
        """The decisions that the inner steps adapt to."""
        return self.decisions[:-1]

    @property
    def after(self) -> Decisions:
        """The decisions of the adapted policies, for the outer loss."""
        return self.decisions[-1]

    def metrics(self) -> dict[str, float]:
        """Mean returns `return_k` after k inner steps, `loss` (minus the last one), and the number of transitions.

        If the environment tells `success` or `is_success`, `success_k` is the share of rows where it ever was above 0.
        """
        found = {f"return_{k}": float(e.returns().mean()) for k, e in enumerate(self.episodes)}
        for k, episodes in enumerate(self.episodes):
            told = [name for name in ("success", "is_success") if name in episodes.info]
            if told:
                found[f"success_{k}"] = float(episodes.ever(told[0]).float().mean())
        found["transitions"] = float(sum(int(e.mask.sum()) for e in self.episodes))
        return {"loss": -found[f"return_{len(self.episodes) - 1}"], **found}


def practise(actor: Actor, environment: Environment, steps: int, generator: torch.Generator | None) -> Practice:
    """Roll out and adapt `steps` times, then roll out once more."""
    episodes: list[Episodes] = []
    judged: list[Decisions] = []
    for _ in range(steps + 1):
        now = replace(actor, stages=tuple(judged))
        episodes.append(now.rollout(environment, generator=generator))
        judged.append(actor.judge(episodes[-1]))
    return Practice(tuple(episodes), tuple(judged))


def each_chunk(
    inner: InnerLoop, stages: Sequence[Decisions], objective: Callable[..., Tensor], data: Any, chunk: Chunk
) -> Iterator[Tensor]:
    """The values `[t, ...]` of an objective under the policies adapted to `stages`, for each chunk of t tasks.

    Args:
        inner: the inner loop; the values have a graph to its parameters.
        stages: the decisions of each inner step, `[T, ...]` each; an empty sequence means no adaptation.
        objective: a function `(model, data of one task, None) -> value`.
        data: a tree of tensors, the first one `[T, E, H, ...]`, the others `[T, ...]`.
        chunk: the number of tasks in a chunk.
    """
    first_of_all = next(t for t in torch.utils._pytree.tree_leaves(data) if isinstance(t, Tensor))
    tasks, envs, steps = first_of_all.shape[:3]
    size = max(1, TRANSITIONS // (envs * steps)) if chunk == "auto" else chunk or tasks
    for first in range(0, tasks, size):
        share, some = tree_map(lambda t, i=first: t[i : i + size], (data, tuple(stages)))
        policies = adapted_to(inner, some, min(size, tasks - first))
        yield policies.evaluate(objective, share)


def check_chunk(chunk: Any) -> Chunk:
    """`chunk`, or ValueError unless it is "auto", a whole number of at least 1, or None."""
    if isinstance(chunk, str) and chunk == "auto":
        return "auto"
    return check_count("chunk", chunk, "'auto', a whole number of at least 1, or None")


def mean_over_tasks(parts: Iterator[Tensor], num_tasks: int) -> Tensor:
    """The mean over all tasks of a scalar objective, from its values in `each_chunk`."""
    total = torch.zeros(())
    for values in parts:
        total = total.to(values) + values.sum()
    return total / num_tasks
