"""Running statistics of observations and rewards that belong to a learner: its checkpoints hold them."""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol, final, runtime_checkable

import torch
from torch import Tensor, nn

from quickstudy.checks import check_number, check_positive, check_whole
from quickstudy.rl.episodes import Episodes


@runtime_checkable
class Observing(Protocol):
    """A part of a policy learner that records what the learner was trained on."""

    def observe(self, episodes: Sequence[Episodes]) -> None:
        """Receive all episodes of a meta-training step, after it."""


def observe_all(learner: nn.Module, episodes: Sequence[Episodes]) -> None:
    """Show the episodes of a meta-training step to every part of the learner that has `observe`."""
    for module in learner.modules():
        if isinstance(module, Observing):
            module.observe(episodes)


@final
class NormalizedObservations(nn.Module):
    """A network whose inputs are scaled by running statistics of all observations in meta-training:

        network(clip((o - mean) / sqrt(variance + 1e-8), -clip, clip))

    The statistics are the same for all tasks and environments, and are buffers, so that a checkpoint holds them. They
    change after each update of the learner, and never while episodes are drawn, adapted to or evaluated. (gymnasium's
    NormalizeObservation keeps others in each copy of an environment, and changes them at every step.)

    Args:
        network: any module that takes observations `[N, *do]`.
        size: the number of components of an observation, or its shape `do`.
        clip: largest absolute value of a scaled component; 10 as in gymnasium and in OpenAI's baselines.

    Raises:
        ValueError: for sizes below 1, and a clip that is not above 0; from `observe`, for observations of another
            shape.

    >>> import quickstudy as qs
    >>> policy = qs.rl.GaussianPolicy(NormalizedObservations(qs.nets.MLP(4, [64, 64], 2), 4), 2)
    >>> policy(torch.zeros(5, 4)).shape
    torch.Size([5, 4])
    """

    mean: Tensor
    variance: Tensor
    count: Tensor

    def __init__(self, network: nn.Module, size: int | Sequence[int], *, clip: float = 10.0):
        super().__init__()
        shape = (size,) if isinstance(size, int) else tuple(size)
        self.network, self.shape = network, tuple(check_whole("size", part) for part in shape)
        self.clip = check_positive("clip", clip)
        self.register_buffer("mean", torch.zeros(self.shape))
        self.register_buffer("variance", torch.ones(self.shape))
        self.register_buffer("count", torch.zeros((), dtype=torch.long))

    def config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"network": self.network, "size": list(self.shape), "clip": self.clip}

    def forward(self, observation: Tensor, **inputs: Tensor) -> Tensor:
        """The network's outputs at `observation [N, *do]`."""
        scaled = (observation - self.mean) / (self.variance + 1e-8).sqrt()
        return self.network(scaled.clamp(-self.clip, self.clip), **inputs)

    def observe(self, episodes: Sequence[Episodes]) -> None:
        """Add these observations to the statistics."""
        seen = torch.cat([e.observation[e.mask] for e in episodes])
        if seen.shape[1:] != self.shape:
            raise ValueError(
                f"observations have shape {list(seen.shape[1:])}, and NormalizedObservations was built for "
                f"{list(self.shape)}; give size={list(seen.shape[1:])}"
            )
        _add(seen, self.mean, self.variance, self.count)


@final
class RewardScale(nn.Module):
    """Divides rewards by the standard deviation of discounted returns in all of meta-training:

        r / sqrt(Var(G) + 1e-8),     G_t = discount G_{t-1} + r_t  within an episode

    (Engstrom et al. 2020, arXiv 2005.12729, section 3; gymnasium's NormalizeReward). It changes what advantages are
    estimated from, and no return that is reported. Its buffers belong to the learner, through its `Judge`, and change
    after each of its updates. With standardised advantages only the baseline notices.

    Args:
        discount: as in the judge.

    Raises:
        ValueError: for a discount outside [0, 1].

    >>> zero, yes = torch.zeros(1, 1, 3), torch.ones(1, 1, 3).bool()
    >>> reward = torch.tensor([[[4.0, 0.0, 0.0]]])
    >>> episodes = Episodes(zero, zero, reward, zero, zero, ~yes, ~yes, yes, torch.arange(3).expand(1, 1, 3))
    >>> scale = RewardScale(discount=0.5)
    >>> scale.observe([episodes])
    >>> scale(episodes).reward  # G is 4, 2, 1, of variance 14/9
    tensor([[[3.2071, 0.0000, 0.0000]]])
    """

    mean: Tensor
    variance: Tensor
    count: Tensor

    def __init__(self, *, discount: float = 0.99):
        super().__init__()
        if check_number("discount", discount) > 1:
            raise ValueError(f"discount={discount!r}; expected a number from 0 to 1")
        self.discount = discount
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("variance", torch.ones(()))
        self.register_buffer("count", torch.zeros((), dtype=torch.long))

    def config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"discount": self.discount}

    def forward(self, episodes: Episodes) -> Episodes:
        """The episodes with scaled rewards."""
        return episodes._replace(reward=episodes.reward / (self.variance + 1e-8).sqrt().to(episodes.reward))

    def observe(self, episodes: Sequence[Episodes]) -> None:
        """Add the discounted returns of these episodes to the statistics."""
        _add(torch.cat([g for e in episodes for g in self._gains(e)]), self.mean, self.variance, self.count)

    def _gains(self, episodes: Episodes) -> Iterable[Tensor]:
        gain = torch.zeros_like(episodes.reward[..., 0])
        for reward, mask, time in zip(
            *(part.unbind(2) for part in (episodes.reward, episodes.mask, episodes.time)), strict=True
        ):
            gain = self.discount * torch.where(time == 0, 0.0, gain) + reward
            yield gain[mask]


@torch.no_grad()
def _add(values: Tensor, mean: Tensor, variance: Tensor, count: Tensor) -> None:
    """Add `values [N, ...]` to running statistics, in place (Chan, Golub and LeVeque 1979)."""
    new, old = len(values), int(count)
    if not new:
        return
    values, total = values.double(), old + new
    its_mean, its_variance = values.mean(0), values.var(0, correction=0)
    delta = its_mean - mean.double()
    spread = old * variance.double() + new * its_variance + delta.square() * (old * new / total)
    mean.copy_(mean.double() + delta * (new / total))
    variance.copy_(spread / total)
    count.fill_(total)
