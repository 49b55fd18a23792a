"""The encoder of VariBAD: a memory whose features are the observation and a belief about the task."""

from typing import Any, final

import torch
from torch import Tensor, nn

from quickstudy.checks import check_whole
from quickstudy.rl.episodes import Episodes
from quickstudy.rl.latent.belief import Belief
from quickstudy.rl.recurrent.memory import Memory, MemoryNetwork, Reading


@final
class BeliefNetwork(nn.Module):
    """Gives a belief q(m | tau_:t) before every action, from all that was seen before (Zintgraf et al. 2020).

    What the policy reads are its features, `[N, observations + 2 latent]`: the observation, and the belief's mean and
    log variance.

    Args:
        memory: reads observations, actions and rewards.
        latent: components of the latent variable m; 5 as in the publication.

    >>> network = BeliefNetwork(MemoryNetwork(observations=3, actions=2, width=8), latent=4)
    >>> features, _ = network.step(torch.zeros(5, 3), torch.ones(5, dtype=torch.bool), network.initial(5))
    >>> features.shape
    torch.Size([5, 11])
    """

    def __init__(self, memory: MemoryNetwork, latent: int = 5):
        super().__init__()
        self.memory, self.latent = memory, check_whole("latent", latent)
        self.head = nn.Linear(memory.width, 2 * latent)
        self.features = memory.observations + 2 * latent

    def config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"memory": self.memory, "latent": self.latent}

    def forward(self, reading: Reading, memory: Memory | None = None) -> Belief:
        """The beliefs before each action, `[N, L, latent]`, after what `memory` holds."""
        start = self.initial(len(reading.mask)) if memory is None else memory
        return Belief(*self.head(self.memory(reading.inputs, start.hidden)).chunk(2, -1))

    def seen(self, reading: Reading, memory: Memory | None = None) -> Tensor:
        """The policy's features before each action, `[N, L, features]`."""
        return torch.cat([self.memory.observed(reading.inputs), *self(reading, memory)], -1)

    def believed(self, features: Tensor) -> Belief:
        """The belief in `features [..., features]`."""
        return Belief(*features[..., self.memory.observations :].chunk(2, -1))

    def initial(self, streams: int) -> Memory:
        """The memory of `N` streams before their first step."""
        return self.memory.initial(streams)

    def step(self, observation: Tensor, begins: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        """Features `[N, features]` at `observation [N, *do]`, and the memory; `begins [N]`: whether one begins."""
        outputs, memory = self.memory.step(observation, begins, memory)
        flat = observation.reshape(len(outputs), -1).to(outputs)
        return torch.cat([flat, self.head(outputs)], 1), memory

    def told(self, memory: Memory, action: Tensor, reward: Tensor) -> Memory:
        """The memory with the action `[N, *da]` that was taken and the reward `[N]` that it brought."""
        return self.memory.told(memory, action, reward)

    def reading(self, episodes: list[Episodes], memory: Memory) -> Reading:
        """Episodes `[T, E, H]` of the same streams, row t E + e, in the order in which they were played."""
        return self.memory.reading(episodes, memory)

    def after(self, reading: Reading, memory: Memory) -> Memory:
        """The memory after these episodes."""
        return self.memory.after(reading, memory)
