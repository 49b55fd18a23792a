"""A policy that acts on draws from a belief: posterior sampling (Rakelly et al. 2019, section 4)."""

from dataclasses import dataclass, replace
from typing import Any, final

import torch
from torch import Tensor, nn

from quickstudy.rl.environment import Environment
from quickstudy.rl.episodes import Episodes
from quickstudy.rl.latent.belief import Belief, Evidence
from quickstudy.rl.latent.context_encoder import ContextEncoder, pooled
from quickstudy.rl.rollout import rollout


@final
@dataclass(frozen=True, eq=False)
class PosteriorActor:
    """The policies of `T` tasks. Every episode has a latent variable of its own, drawn from the task's belief.

    To adapt is to add the transitions of all environments of a task to its context, as often as you like.

    Args:
        policy: maps observation and latent variable to distributions over actions.
        encoder: turns transitions into evidence.
        latent: z, components of the latent variable.
        evidence: that of the episodes so far, `[T, z]`; None before the first.
        learner: the learner that made it, which `quickstudy.save(actor, path)` saves with it.

    >>> import quickstudy as qs
    >>> board = qs.rl.Navigation2D(num_envs=3, horizon=5)
    >>> board.set_tasks(board.sample_tasks(4))
    >>> actor = qs.rl.PEARL.of(board, hidden=[8]).actor()
    >>> actor.belief(4).log_variance.abs().sum()
    tensor(0.)
    >>> actor.adapt(actor.rollout(board)).belief(4).mean.shape
    torch.Size([4, 5])
    """

    policy: Any
    encoder: ContextEncoder
    latent: int
    evidence: Evidence | None = None
    learner: nn.Module | None = None

    def belief(self, tasks: int) -> Belief:
        """The beliefs about `T` tasks, `[T, z]`; raises ValueError for other tasks than those adapted to."""
        if self.evidence is None:
            like = next(self.encoder.parameters())
            return Belief.standard(like.new_zeros(tasks, self.latent))
        if len(self.evidence.pull) != tasks:
            raise ValueError(
                f"the actor has adapted to {len(self.evidence.pull)} tasks, and is given {tasks}; act where it has "
                "adapted, or begin with learner.actor()"
            )
        return self.evidence.belief()

    @torch.no_grad()
    def adapt(self, episodes: Episodes) -> "PosteriorActor":
        """The actor whose context holds `episodes [T, E, H]`, too."""
        self.belief(len(episodes.mask))
        found = self.encoder(*pooled(episodes))
        return replace(self, evidence=found if self.evidence is None else self.evidence.joined(found))

    @torch.no_grad()
    def __call__(self, observation: Tensor) -> Tensor:
        """The policy's outputs `[T, N, k]` at `observation [T, N, *do]`, at the mean of each task's belief."""
        mean = self.belief(len(observation)).mean.unsqueeze(1)
        return Conditioned(self.policy, mean.expand(-1, observation.shape[1], -1))(observation)

    def rollout(
        self, environment: Environment, *, generator: torch.Generator | None = None, **options: Any
    ) -> Episodes:
        """Episodes of this actor in `environment`; `options` are those of `quickstudy.rl.rollout`.

        With `greedy=True` the latent variable is the mean of the belief, and the action the most probable one.
        """
        belief, envs = self.belief(environment.num_tasks), environment.num_envs
        place = belief.mean.device if generator is None else generator.device
        shape = (len(belief.mean), envs, self.latent)
        if options.get("greedy"):
            noise = belief.mean.new_zeros(shape)
        else:
            noise = torch.randn(shape, generator=generator, device=place, dtype=belief.mean.dtype)
        latent = Belief(*(part.unsqueeze(1) for part in belief)).at(noise.to(belief.mean.device))
        recall = Conditioned(self.policy, latent)
        return rollout(environment, self.policy, recall=recall, generator=generator, **options)

    def saved(self) -> dict[str, Any]:
        """What `quickstudy.save` keeps besides the learner: the evidence. Raises ValueError without a learner."""
        if self.learner is None:
            raise ValueError("this actor belongs to no learner; save one that learner.actor() returned, or adapted")
        return {"evidence": None if self.evidence is None else tuple(part.clone() for part in self.evidence)}

    def restored(self, saved: Any) -> "PosteriorActor":
        """The actor that `saved` was made from. Raises ValueError for anything else."""
        if not isinstance(saved, dict) or set(saved) != {"evidence"}:
            raise ValueError("it is not what PosteriorActor.saved returned")
        found = saved["evidence"]
        return replace(self, evidence=None if found is None else Evidence(*found))


@final
class Conditioned:
    """A policy at given latent variables, the `recall` of `quickstudy.rl.rollout`.

    Args:
        policy: maps `[N, do + z]` to distributions over actions.
        latent: `[T, E, z]`.
    """

    def __init__(self, policy: Any, latent: Tensor):
        self._policy, self._latent = policy, latent

    def __call__(self, observation: Tensor) -> Tensor:
        """The policy's outputs `[T, E, k]` at `observation [T, E, *do]`."""
        flat = observation.flatten(2).to(self._latent)
        outputs: Tensor = self._policy(torch.cat([flat, self._latent], -1).flatten(0, 1))
        return outputs.unflatten(0, observation.shape[:2])

    def receive(self, action: Tensor, reward: Tensor, done: Tensor) -> None:
        """Nothing is remembered within an episode."""
