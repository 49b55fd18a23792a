"""Policies for Bernoulli bandits that know the prior: what a learner of bandits is measured against."""

from typing import Protocol, final

import torch
from torch import Tensor

from quickstudy.checks import check_whole


class BanditPolicy(Protocol):
    """Chooses arms by the counts of successes and failures of each, and by the pulls that are left."""

    def choose(self, won: Tensor, lost: Tensor, left: int, generator: torch.Generator | None) -> Tensor:
        """The arms `[T]`, from counts `won` and `lost [T, k]`, with `left` pulls to go."""


@final
class Thompson:
    """Thompson sampling: the arm that is best under one draw of all probabilities from their posteriors (1933)."""

    def choose(self, won: Tensor, lost: Tensor, left: int, generator: torch.Generator | None) -> Tensor:
        """The arms `[T]`; the posteriors are Beta(1 + won, 1 + lost)."""
        with torch.random.fork_rng([]):  # Beta draws from torch's own generator
            torch.manual_seed(int(torch.randint(2**31, (), generator=generator)))
            return torch.distributions.Beta(1.0 + won, 1.0 + lost).sample().argmax(1)


@final
class Greedy:
    """The arm with the largest posterior mean; equal ones in a random order."""

    def choose(self, won: Tensor, lost: Tensor, left: int, generator: torch.Generator | None) -> Tensor:
        """The arms `[T]`."""
        return _first(((1.0 + won) / (2.0 + won + lost)).double(), generator)


@final
class Index:
    """The finite-horizon Gittins index: the payoff of a known arm for which the unknown one would be given up.

    With `left` pulls, an arm has the index lambda at which one is indifferent between pulling the known arm, which pays
    lambda, to the end, and pulling the unknown one at least once more (Kaufmann 2018, arXiv 1601.01190, section 2). It
    is not exactly optimal with a finite horizon, and nearly so.

    Args:
        horizon: largest number of pulls.
        levels: number of values of lambda, evenly spaced in [0, 1].

    >>> index = Index(2)
    >>> bool(index.table[2, 0, 0] > 0.5), round(float(index.table[1, 0, 0]), 2)  # to try it may pay off later
    (True, 0.5)
    """

    def __init__(self, horizon: int, levels: int = 256):
        self.horizon = check_whole("horizon", horizon)
        self.table = _indices(horizon, check_whole("levels", levels, 2))

    def choose(self, won: Tensor, lost: Tensor, left: int, generator: torch.Generator | None) -> Tensor:
        """The arms `[T]`; equal indices in a random order."""
        if left > self.horizon:
            raise ValueError(f"{left} pulls are left, and the indices are of {self.horizon}; make Index({left})")
        return _first(self.table[left, won.long(), lost.long()].double(), generator)


def play(policy: BanditPolicy, probability: Tensor, pulls: int, generator: torch.Generator | None = None) -> Tensor:
    """The rewards `[T, pulls]` of a policy on bandits with `probability [T, k]`.

    >>> play(Greedy(), torch.ones(2, 3), 4).sum(1)
    tensor([4., 4.])
    """
    check_whole("pulls", pulls)
    won, lost = torch.zeros_like(probability), torch.zeros_like(probability)
    rows, rewards = torch.arange(len(probability)), []
    for pull in range(pulls):
        arm = policy.choose(won, lost, pulls - pull, generator)
        reward = (torch.rand(len(arm), generator=generator) < probability[rows, arm]).to(probability)
        won[rows, arm] += reward
        lost[rows, arm] += 1 - reward
        rewards.append(reward)
    return torch.stack(rewards, 1)


def _indices(horizon: int, levels: int) -> Tensor:
    """`[left, won, lost]`, by backward induction over the pulls left, for all values of lambda together."""
    known = torch.linspace(0, 1, levels)
    counts = torch.arange(horizon)
    mean = ((1.0 + counts)[:, None] / (2.0 + counts[:, None] + counts))[..., None]
    value = torch.zeros(horizon + 1, horizon + 1, levels)  # with one pull less
    table = torch.zeros(horizon + 1, horizon, horizon)
    for left in range(1, horizon + 1):
        go_on = mean * (1 + value[1:, :horizon]) + (1 - mean) * value[:horizon, 1:]
        stop = left * known
        table[left] = known[(go_on > stop + 1e-5).sum(2).clamp_max(levels - 1)]
        value[:horizon, :horizon] = torch.maximum(go_on, stop)
    return table


def _first(score: Tensor, generator: torch.Generator | None) -> Tensor:
    """The place of the largest score in each row; equal ones in a random order."""
    return (score + 1e-9 * torch.rand(score.shape, dtype=score.dtype, generator=generator)).argmax(1)
