"""The variational autoencoder of VariBAD: beliefs along a trial, and what they say about its rewards."""

from collections.abc import Sequence
from typing import Any, Self, final

import torch
from torch import Tensor, nn

from quickstudy.checks import check_whole
from quickstudy.nets import MLP
from quickstudy.rl.environment import Environment
from quickstudy.rl.episodes import Episodes
from quickstudy.rl.latent.belief import Belief
from quickstudy.rl.latent.belief_network import BeliefNetwork
from quickstudy.rl.latent.decoders import Part, RewardDecoder, Rewards, TransitionDecoder, Transitions
from quickstudy.rl.latent.elbo import bounds
from quickstudy.rl.recurrent.memory import MemoryNetwork, Reading


@final
class BeliefAutoencoder(nn.Module):
    """An encoder of trials and the decoders that it is trained with.

    Args:
        encoder: gives beliefs.
        rewards: the decoder of rewards.
        transitions: a decoder of observations, where the dynamics differ between tasks; None for none.

    >>> import quickstudy as qs
    >>> environment = qs.rl.Bandit(arms=3, num_envs=2, horizon=10)
    >>> environment.set_tasks(environment.sample_tasks(5))
    >>> learner = qs.rl.VariBAD.of(environment, width=16, reads=("action",), rewards="positive", episodes=1)
    >>> belief = learner.autoencoder.beliefs(learner.practise(environment).episodes)
    >>> belief.mean.shape, learner.autoencoder.decoded_rewards(belief, action=torch.arange(3)).shape
    (torch.Size([10, 10, 5]), torch.Size([10, 10, 3]))
    """

    def __init__(self, encoder: BeliefNetwork, rewards: RewardDecoder, transitions: TransitionDecoder | None = None):
        super().__init__()
        self.encoder, self.rewards, self.transitions = encoder, rewards, transitions

    @classmethod
    def of(
        cls,
        environment: Environment,
        *,
        width: int = 64,
        latent: int = 5,
        hidden: Sequence[int] = (32, 32),
        reads: Sequence[Part] | None = None,
        rewards: Rewards = "value",
        sd: float = 0.2,
        decode_transitions: bool = False,
    ) -> Self:
        """An autoencoder for the spaces of an environment; the arguments are those of `VariBAD.of`."""
        memory = MemoryNetwork.of(environment, width=width)
        read: Sequence[Part] = ("observation", "action", "next_observation") if reads is None else reads
        sizes = {"observation": memory.observations, "action": memory.actions, "next_observation": memory.observations}
        inputs = latent + sum(sizes.get(part, 0) for part in read)
        rewarded = RewardDecoder(MLP(inputs, list(hidden), 1), reads=read, rewards=rewards, sd=sd)
        moved = None
        if decode_transitions:
            inputs = latent + memory.observations + memory.actions
            moved = TransitionDecoder(MLP(inputs, list(hidden), memory.observations), sd=sd)
        return cls(BeliefNetwork(memory, latent), rewarded, moved)

    def config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"encoder": self.encoder, "rewards": self.rewards, "transitions": self.transitions}

    def loss(
        self,
        trials: Reading,
        *,
        kl: float = 1.0,
        count: int | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, dict[str, float]]:
        """Minus the bound, per transition of a trial, and its terms: `log_likelihood` and `divergence`.

        Args:
            trials: `[N, L]`.
            kl: weight of the divergence.
            count: beliefs of each trial that are decoded, at random times; None decodes all.
            generator: source of the draws.
        """
        belief, (streams, steps) = self.encoder(trials), trials.mask.shape
        kind, place = belief.mean.dtype, belief.mean.device if generator is None else generator.device
        places = None
        if count is not None and count < steps:
            lots = torch.rand(streams, steps, generator=generator, device=place).to(belief.mean.device)
            places = torch.where(trials.mask, lots, -1.0).topk(count, 1).indices
        shape = (streams, steps if places is None else places.shape[1], self.encoder.latent)
        noise = torch.randn(shape, generator=generator, device=place, dtype=kind).to(belief.mean.device)
        found = bounds(belief, self._decoded(trials), trials.mask, self._decoders(), noise=noise, places=places)
        real = trials.mask if places is None else trials.mask.gather(1, places)
        length = trials.mask.sum(1, keepdim=True).clamp_min(1)
        beliefs = real.sum()
        fit, change = ((term / length).sum() / beliefs for term in found)
        told = {"log_likelihood": float(fit.detach()), "divergence": float(found.divergence.detach().sum() / beliefs)}
        return kl * change - fit, told

    @torch.no_grad()
    def beliefs(self, episodes: Sequence[Episodes]) -> Belief:
        """The beliefs before every step of trials, `[T E, L, latent]`, row t E + e.

        Args:
            episodes: episodes `[T, E, H]` of the same environments, in the order in which they were played.
        """
        start = self.encoder.initial(episodes[0].mask.shape[:2].numel())
        found: Belief = self.encoder(self.encoder.reading(list(episodes), start))
        return found

    @torch.no_grad()
    def decoded_rewards(
        self,
        belief: Belief,
        *,
        observation: Tensor | None = None,
        action: Tensor | None = None,
        next_observation: Tensor | None = None,
        samples: int = 32,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """What beliefs say about the rewards of C transitions: the mean reward, or the probability that it is above 0.

        Args:
            belief: beliefs `[..., z]`.
            observation, next_observation: `[C, *do]`; those that the decoder reads must be given.
            action: `[C, *da]`, or integers `[C]`.
            samples: draws of the latent variable, over which the mean is taken.
            generator: source of the draws.

        Returns:
            `[..., C]`.

        Raises:
            ValueError: if a part is missing that the decoder reads.
        """
        given: dict[str, Any] = {"observation": observation, "action": action, "next_observation": next_observation}
        missing = [part for part in self.rewards.reads if given[part] is None]
        if missing:
            raise ValueError(f"the decoder of rewards reads {' and '.join(missing)}; give it, [C, ...]")
        nothing = belief.mean.new_zeros(len(given[self.rewards.reads[0]]), 0)
        seen, after = (
            nothing if part is None else part.flatten(1).to(nothing) for part in (observation, next_observation)
        )
        taken = nothing if action is None else self.encoder.memory.encoded(action)
        against = Transitions(seen, taken, after, nothing.sum(1))
        total = torch.zeros(())
        for _ in range(check_whole("samples", samples)):
            place = belief.mean.device if generator is None else generator.device
            noise = torch.randn(belief.mean.shape, generator=generator, device=place, dtype=nothing.dtype)
            latent = belief.at(noise.to(nothing.device)).unsqueeze(-2).expand(*belief.mean.shape[:-1], len(nothing), -1)
            output = self.rewards.output(latent, against)
            total = total + (output.sigmoid() if self.rewards.rewards == "positive" else output)
        return total / samples

    def _decoders(self) -> list[nn.Module]:
        return [decoder for decoder in (self.rewards, self.transitions) if decoder is not None]

    def _decoded(self, trials: Reading) -> Transitions:
        """The transitions of trials, as decoders read them."""
        memory = self.encoder.memory
        taken = memory.encoded(torch.where(_wide(trials.mask, trials.action), trials.action, 0))
        observed = memory.observed(trials.inputs)
        return Transitions(observed, taken, trials.next_observation, trials.reward.to(observed))


def _wide(mask: Tensor, like: Tensor) -> Tensor:
    return mask.reshape(*mask.shape, *[1] * (like.dim() - mask.dim()))
