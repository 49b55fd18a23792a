"""A policy with a memory: `actor.adapt(episodes)` returns an actor that remembers these episodes, too."""

from dataclasses import dataclass, replace
from typing import Any, final

import torch
from torch import Tensor, nn

from quickstudy.rl.environment import Environment
from quickstudy.rl.episodes import Episodes
from quickstudy.rl.recurrent.memory import Memory, Recurrent
from quickstudy.rl.rollout import rollout


@final
@dataclass(frozen=True, eq=False)
class RecurrentActor:
    """The policies of `T` tasks, in `E` environments of each, with a memory of the episodes so far.

    Each environment of a task is a life of its own: its memory holds its own episodes, and no others. So `adapt` takes
    the episodes of as many environments as the actor will act in.

    Args:
        policy: maps features of the memory to distributions over actions.
        network: the memory.
        memory: what is remembered, row t E + e; None before the first episode.
        learner: the learner that made it, which `quickstudy.save(actor, path)` saves with it.
        size: T and E of the episodes so far.

    >>> import quickstudy as qs
    >>> env = qs.rl.Bandit(arms=3, num_envs=2, horizon=5)
    >>> env.set_tasks(env.sample_tasks(4))
    >>> actor = qs.rl.RL2.of(env, width=8).actor()
    >>> actor = actor.adapt(actor.rollout(env))
    >>> actor(torch.ones(4, 2, 1)).shape
    torch.Size([4, 2, 3])
    """

    policy: Any
    network: Recurrent
    memory: Memory | None = None
    learner: nn.Module | None = None
    size: tuple[int, int] | None = None

    @torch.no_grad()
    def adapt(self, episodes: Episodes) -> "RecurrentActor":
        """The actor that remembers `episodes [T, E, H]` after all before; this actor should have generated them."""
        tasks, streams = episodes.mask.shape[:2]
        memory = self._memory(tasks, streams)
        after = self.network.after(self.network.reading([episodes], memory), memory)
        return replace(self, memory=after, size=(tasks, streams))

    @torch.no_grad()
    def __call__(self, observation: Tensor) -> Tensor:
        """The policy's outputs `[T, E, k]` at `observation [T, E, *do]`, the first of an episode."""
        memory = self._memory(*observation.shape[:2])
        begins = torch.ones(len(memory.hidden), dtype=torch.bool, device=observation.device)
        output, _ = self.network.step(observation.flatten(0, 1), begins, memory)
        outputs: Tensor = self.policy(output)
        return outputs.unflatten(0, observation.shape[:2])

    def rollout(
        self, environment: Environment, *, generator: torch.Generator | None = None, **options: Any
    ) -> Episodes:
        """Episodes of this actor in `environment`; `options` are those of `quickstudy.rl.rollout`."""
        memory = self._memory(environment.num_tasks, environment.num_envs)
        recall = Remembering(self.policy, self.network, memory)
        return rollout(environment, self.policy, recall=recall, generator=generator, **options)

    def saved(self) -> dict[str, Any]:
        """What `quickstudy.save` keeps besides the learner: the memory. Raises ValueError without a learner."""
        if self.learner is None:
            raise ValueError("this actor belongs to no learner; save one that learner.actor() returned, or adapted")
        memory = None if self.memory is None else tuple(part.clone() for part in self.memory)
        return {"memory": memory, "size": self.size}

    def restored(self, saved: Any) -> "RecurrentActor":
        """The actor that `saved` was made from. Raises ValueError for anything else."""
        if not isinstance(saved, dict) or set(saved) != {"memory", "size"}:
            raise ValueError("it is not what RecurrentActor.saved returned")
        memory, size = saved["memory"], saved["size"]
        return replace(
            self, memory=None if memory is None else Memory(*memory), size=None if size is None else tuple(size)
        )

    def _memory(self, tasks: int, streams: int) -> Memory:
        if self.memory is None:
            return self.network.initial(tasks * streams)
        if self.size != (tasks, streams):
            known = "{} tasks with {} environments of each".format(*self.size or (len(self.memory.hidden), 1))
            raise ValueError(
                f"the actor remembers {known}, and is given {tasks} tasks with {streams} environments of each; act "
                "where it has adapted, or begin with learner.actor()"
            )
        return self.memory


@final
class Remembering:
    """The memory during a rollout, step after step: the `recall` of `quickstudy.rl.rollout`.

    Args:
        policy: maps outputs of the memory to distributions over actions.
        network: the memory.
        memory: what is remembered before the first step.
    """

    def __init__(self, policy: Any, network: Recurrent, memory: Memory):
        self._policy, self._network, self._memory = policy, network, memory
        self._begins = torch.ones(len(memory.hidden), dtype=torch.bool, device=memory.hidden.device)

    def __call__(self, observation: Tensor) -> Tensor:
        """The policy's outputs `[T, E, k]` at `observation [T, E, *do]`."""
        output, self._memory = self._network.step(observation.flatten(0, 1), self._begins, self._memory)
        outputs: Tensor = self._policy(output)
        return outputs.unflatten(0, observation.shape[:2])

    def receive(self, action: Tensor, reward: Tensor, done: Tensor) -> None:
        """Remember the action `[T, E, *da]`, the reward and whether the episode ended, `[T, E]`."""
        self._memory = self._network.told(self._memory, action.flatten(0, 1), reward.flatten())
        self._begins = done.flatten()
