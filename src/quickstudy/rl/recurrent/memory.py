"""The memory of a recurrent policy: what it reads at each step, and its state after some episodes."""

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Protocol, Self, final, get_args

import torch
from gymnasium.spaces import MultiDiscrete
from torch import Tensor, nn
from torch.nn import functional as F

from quickstudy.checks import check_choice, check_switch, check_whole
from quickstudy.rl.environment import Environment, choices_of
from quickstudy.rl.episodes import Episodes
from quickstudy.rl.recurrent.transformer import CausalTransformer

Kind = Literal["gru", "transformer"]


class Memory(NamedTuple):
    """What each of `N` streams of experience remembers.

    Args:
        hidden: the state of the network, `[N, width]`; of a transformer `[N, P, c]`, with P steps read so far.
        action: the last action, encoded, `[N, actions]`; 0 before the first.
        reward: the last reward, `[N, 1]`; 0 before the first.
    """

    hidden: Tensor
    action: Tensor
    reward: Tensor


class Reading(NamedTuple):
    """The episodes of `N` streams, one after another, without gaps; padding is at the end of each row.

    Args:
        inputs: what the memory reads before each action, `[N, L, inputs]`.
        action: `[N, L, *da]`, or integers `[N, L]`.
        reward: `[N, L]`.
        next_observation: `[N, L, observations]`, after the action, with its components in one axis.
        log_prob: `[N, L]`, under the policy that acted.
        mask: `[N, L]` bool, True for a real step.
        last_action, last_reward: of each stream, as `Memory` has them.
    """

    inputs: Tensor
    action: Tensor
    reward: Tensor
    next_observation: Tensor
    log_prob: Tensor
    mask: Tensor
    last_action: Tensor
    last_reward: Tensor

    def rows(self, rows: Tensor) -> "Reading":
        """Some of the streams."""
        return Reading(*(part[rows] for part in self))


class Recurrent(Protocol):
    """A network that reads streams of experience, and gives features to a policy at each step."""

    def initial(self, streams: int) -> Memory:
        """The memory of `N` streams before their first step."""

    def step(self, observation: Tensor, begins: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        """Features `[N, k]` at `observation [N, *do]`, and the memory; `begins [N]`: whether an episode begins."""

    def told(self, memory: Memory, action: Tensor, reward: Tensor) -> Memory:
        """The memory with the action `[N, *da]` that was taken and the reward `[N]` that it brought."""

    def reading(self, episodes: list[Episodes], memory: Memory) -> Reading:
        """Episodes `[T, E, H]` of the same streams, row t E + e, in the order in which they were played."""

    def after(self, reading: Reading, memory: Memory) -> Memory:
        """The memory after these episodes."""


@final
class MemoryNetwork(nn.Module):
    """A network with a memory reads observation, last action, last reward, and whether an episode begins.

    These are the inputs of Duan et al. 2016 (arXiv 1611.02779, section 2.2).

    Args:
        observations: components of an observation.
        actions: the number of discrete actions, or of components of an action.
        discrete: whether actions are discrete.
        choices: for actions of several discrete components: the number of choices of each, whose sum is `actions`.
        width: units of the network.
        kind: a gated recurrent unit ("gru"), as published, or a causal transformer of two layers with four heads
            ("transformer"), for which `width` is a multiple of 8.

    >>> memory = MemoryNetwork(observations=3, actions=2)
    >>> state = memory.initial(5)
    >>> output, state = memory.step(torch.zeros(5, 3), torch.ones(5, dtype=torch.bool), state)
    >>> output.shape
    torch.Size([5, 128])
    """

    def __init__(
        self,
        *,
        observations: int,
        actions: int,
        discrete: bool = True,
        choices: Sequence[int] | None = None,
        width: int = 128,
        kind: Kind = "gru",
    ):
        super().__init__()
        self.choices = None if choices is None else [check_whole("choices", number) for number in choices]
        if self.choices is not None and sum(self.choices) != actions:
            raise ValueError(f"actions={actions} with choices={self.choices}; expected their sum, {sum(self.choices)}")
        self.observations, self.actions = check_whole("observations", observations), check_whole("actions", actions)
        self.discrete, self.width = check_switch("discrete", discrete), check_whole("width", width)
        check_choice("kind", kind, get_args(Kind))
        self.kind, inputs = kind, observations + actions + 2
        self.cell: nn.GRU | CausalTransformer
        self.cell = nn.GRU(inputs, width, batch_first=True) if kind == "gru" else CausalTransformer(inputs, width)

    @classmethod
    def of(cls, environment: Environment, *, width: int = 128, kind: Kind = "gru") -> Self:
        """A memory for the spaces of an environment."""
        space, shape = environment.action_space, environment.observation_space.shape or (1,)
        choices = choices_of(space)
        return cls(
            observations=math.prod(shape),
            actions=sum(choices) or math.prod(space.shape or (1,)),
            discrete=bool(choices),
            choices=choices if isinstance(space, MultiDiscrete) else None,
            width=width,
            kind=kind,
        )

    def config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        names = ("observations", "actions", "discrete", "choices", "width", "kind")
        return {name: getattr(self, name) for name in names}

    def initial(self, streams: int) -> Memory:
        """The memory of `N` streams before their first step."""
        like = next(self.cell.parameters())
        start, action, reward = (like.new_zeros(streams, size) for size in (self.width, self.actions, 1))
        return Memory(self.cell.start(streams) if isinstance(self.cell, CausalTransformer) else start, action, reward)

    def step(self, observation: Tensor, begins: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        """Read `observation [N, *do]` and whether an episode begins, `[N]`; return outputs `[N, width]` and the memory.

        The memory still has the action and the reward of the step before: `told` adds the new ones.
        """
        observation = self._flat(observation, 1)
        inputs = torch.cat([observation, memory.action, memory.reward, begins.to(observation).unsqueeze(1)], 1)
        outputs, hidden = self.cell(inputs.unsqueeze(1), memory.hidden.unsqueeze(0).contiguous())
        return outputs[:, 0], memory._replace(hidden=hidden[0])

    def told(self, memory: Memory, action: Tensor, reward: Tensor) -> Memory:
        """The memory with the action `[N, *da]` that was taken and the reward `[N]` that it brought."""
        return memory._replace(action=self.encoded(action), reward=reward.to(memory.reward).unsqueeze(1))

    def encoded(self, action: Tensor) -> Tensor:
        """Actions `[..., *da]` as vectors `[..., actions]`: one-hot (by component), or their components."""
        kind = next(self.cell.parameters()).dtype
        if self.choices is not None:
            parts = zip(action.long().unbind(-1), self.choices, strict=True)
            return torch.cat([F.one_hot(part, number) for part, number in parts], -1).to(kind)
        return F.one_hot(action.long(), self.actions).to(kind) if self.discrete else action.to(kind)

    def reading(self, episodes: list[Episodes], memory: Memory) -> Reading:
        """Episodes `[T, E, H]` of the same streams, row t E + e, in the order in which they were played."""
        mask = torch.cat([e.mask for e in episodes], 2).flatten(0, 1)
        order = (~mask).to(torch.uint8).argsort(dim=1, stable=True)  # real steps first

        def joined(name: str) -> Tensor:
            whole = torch.cat([getattr(e, name) for e in episodes], 2).flatten(0, 1)
            return whole.gather(1, order.view(*order.shape, *[1] * (whole.dim() - 2)).expand_as(whole))

        mask = mask.gather(1, order)
        action, reward = joined("action"), joined("reward")
        taken = torch.where(mask.unsqueeze(2), self.encoded(action), 0.0)
        brought = torch.where(mask, reward, 0.0).to(taken).unsqueeze(2)
        pairs = (memory.action, taken), (memory.reward, brought)
        before = [torch.cat([kept.unsqueeze(1), own[:, :-1]], 1) for kept, own in pairs]
        begins = (joined("time") == 0).to(taken).unsqueeze(2)
        inputs = torch.cat([self._flat(joined("observation"), 2), *before, begins], 2)
        following = self._flat(joined("next_observation"), 2)
        last = (mask.sum(1) - 1).clamp_min(0)
        rows, some = torch.arange(len(mask), device=mask.device), mask.any(1, keepdim=True)
        kept_action, kept_reward = (torch.where(some, own[rows, last], kept) for kept, own in pairs)
        return Reading(inputs, action, reward, following, joined("log_prob"), mask, kept_action, kept_reward)

    def observed(self, inputs: Tensor) -> Tensor:
        """The observations `[..., observations]` in `inputs [..., inputs]`."""
        return inputs[..., : self.observations]

    def forward(self, inputs: Tensor, hidden: Tensor) -> Tensor:
        """Outputs `[N, L, width]` for `inputs [N, L, inputs]`, from the state `hidden` of `N` streams."""
        outputs, _ = self.cell(inputs, hidden.unsqueeze(0).contiguous())
        return outputs

    def after(self, reading: Reading, memory: Memory) -> Memory:
        """The memory after these episodes."""
        outputs, hidden = self.cell(reading.inputs, memory.hidden.unsqueeze(0).contiguous())
        if isinstance(self.cell, CausalTransformer):
            read = torch.cat([memory.hidden[..., -1], reading.mask.to(hidden)], 1)
            hidden = torch.cat([hidden[0, ..., :-1], read.unsqueeze(2)], 2)  # padding does not count
            return Memory(hidden, reading.last_action, reading.last_reward)
        count = reading.mask.sum(1)
        last = outputs[torch.arange(len(outputs), device=outputs.device), (count - 1).clamp_min(0)]
        return Memory(
            torch.where(count.unsqueeze(1) > 0, last, memory.hidden), reading.last_action, reading.last_reward
        )

    def _flat(self, observation: Tensor, leading: int) -> Tensor:
        """Observations with their components in one axis, in the dtype of the network."""
        flat = observation.flatten(leading) if observation.dim() > leading else observation.unsqueeze(leading)
        if flat.shape[-1] != self.observations:
            raise ValueError(
                f"observations have {flat.shape[-1]} components, and the memory was built for {self.observations}; "
                f"give observations={flat.shape[-1]}"
            )
        return flat.to(next(self.cell.parameters()).dtype)
