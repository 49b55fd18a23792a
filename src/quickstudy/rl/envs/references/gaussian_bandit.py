"""Policies for Gaussian bandits that know the prior: what a learner of such bandits is measured against."""

from typing import Protocol, final

import torch
from torch import Tensor

from quickstudy.checks import check_positive, check_whole

GRID, NODES = 601, 121  # points of the values that are tabulated, and of the integral over a reward
REACH = 6.0  # the grid goes so many standard deviations of the prior to both sides


class GaussianBanditPolicy(Protocol):
    """Chooses arms by the posterior of each arm's mean, and by the pulls that are left."""

    def choose(self, mean: Tensor, count: Tensor, left: int, generator: torch.Generator | None) -> Tensor:
        """The arms `[T]`, from posterior means and pulls so far, `[T, k]`, with `left` pulls to go."""


@final
class Thompson:
    """Thompson sampling: the arm that is best under one draw of all means from their posteriors (1933).

    Args:
        spread, noise: standard deviations of the means and of the rewards of an arm.
    """

    def __init__(self, spread: float = 1.0, noise: float = 1.0):
        self.spread, self.noise = check_positive("spread", spread), check_positive("noise", noise)

    def choose(self, mean: Tensor, count: Tensor, left: int, generator: torch.Generator | None) -> Tensor:
        """The arms `[T]`."""
        sd = posterior_variance(count, self.spread, self.noise).sqrt()
        return (mean + sd * torch.randn(mean.shape, generator=generator, dtype=mean.dtype)).argmax(1)


@final
class Greedy:
    """The arm with the largest posterior mean; equal ones in a random order."""

    def choose(self, mean: Tensor, count: Tensor, left: int, generator: torch.Generator | None) -> Tensor:
        """The arms `[T]`."""
        return _first(mean, generator)


@final
class Index:
    """The finite-horizon Gittins index: the payoff of a known arm for which the unknown one would be given up.

    It is the posterior mean plus a bonus, which depends on the pulls of the arm and on those that are left. The bonus
    follows from backward induction on a grid, to about a thousandth of the prior's spread. The policy is not exactly
    optimal with a finite horizon, and nearly so.

    Args:
        horizon: largest number of pulls.
        spread, noise: standard deviations of the means and of the rewards of an arm.

    >>> index = Index(3)
    >>> index.bonus[1, 0].item(), bool(index.bonus[3, 0] > index.bonus[2, 0] > 0)
    (0.0, True)
    """

    def __init__(self, horizon: int, spread: float = 1.0, noise: float = 1.0):
        self.horizon = check_whole("horizon", horizon)
        self.spread, self.noise = check_positive("spread", spread), check_positive("noise", noise)
        self.bonus = _bonuses(horizon, float(spread), float(noise))  # [left, pulls so far]

    def choose(self, mean: Tensor, count: Tensor, left: int, generator: torch.Generator | None) -> Tensor:
        """The arms `[T]`; equal indices in a random order."""
        if left > self.horizon:
            raise ValueError(f"{left} pulls are left, and the indices are of {self.horizon}; make Index({left})")
        return _first(mean + self.bonus[left].to(mean)[count.long()], generator)


def posterior_variance(count: Tensor, spread: float, noise: float) -> Tensor:
    """The variance of an arm's mean after `count` rewards, of the same shape."""
    return 1 / (1 / spread**2 + count / noise**2)


def play(
    policy: GaussianBanditPolicy,
    mean: Tensor,
    pulls: int,
    *,
    spread: float = 1.0,
    noise: float = 1.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """The rewards `[T, pulls]` of a policy on bandits with `mean [T, k]`.

    >>> play(Greedy(), torch.full((2, 3), 4.0), 5, noise=1e-6).mean(1).round()
    tensor([4., 4.])
    """
    if not mean.is_floating_point() or mean.dim() != 2:
        raise ValueError(f"mean is {mean.dtype} {list(mean.shape)}; expected real numbers [T, k]")
    check_whole("pulls", pulls)
    count, total = torch.zeros_like(mean), torch.zeros_like(mean)
    rows, rewards = torch.arange(len(mean)), []
    for pull in range(pulls):
        believed = posterior_variance(count, spread, noise) * total / noise**2
        arm = policy.choose(believed, count, pulls - pull, generator)
        reward = mean[rows, arm] + noise * torch.randn(len(arm), generator=generator, dtype=mean.dtype)
        count[rows, arm] += 1
        total[rows, arm] += reward
        rewards.append(reward)
    return torch.stack(rewards, 1)


def _bonuses(horizon: int, spread: float, noise: float) -> Tensor:
    """`[left, pulls so far]`: minus the lead over a known arm at which going on is worth as much as giving up.

    The value of an arm whose posterior mean leads by d, with n pulls so far and `left` to go, is
    W(left, n, d) = max(0, d + E W(left - 1, n + 1, d + s_n z)), with s_n the standard deviation by which the posterior
    mean moves, and z standard normal.
    """
    lead = REACH * spread * torch.linspace(-1, 1, GRID, dtype=torch.float64)
    width = lead[1] - lead[0]
    nodes = torch.linspace(-5.5, 5.5, NODES, dtype=torch.float64)  # values have a kink, which Gauss's rules dislike
    weights = (-nodes.square() / 2).softmax(0)
    variance = posterior_variance(torch.arange(horizon + 1, dtype=torch.float64), spread, noise)
    moves = (variance[:-1] - variance[1:]).sqrt()
    bonus = torch.zeros(horizon + 1, horizon, dtype=torch.float64)
    value = torch.zeros(horizon + 1, GRID, dtype=torch.float64)  # [pulls so far, lead], with one pull less to go
    for left in range(1, horizon + 1):
        counts = horizon - left + 1  # with more pulls so far, fewer would be left
        place = lead[:, None] + moves[:counts, None, None] * nodes
        spot = ((place - lead[0]) / width).clamp(0, GRID - 1)
        low = spot.long().clamp_max(GRID - 2)
        rows = value[1 : counts + 1, :, None].expand(-1, -1, NODES)
        below, above = rows.gather(1, low), rows.gather(1, low + 1)
        later = below + (spot - low) * (above - below) + (left - 1) * (place - lead[-1]).clamp_min(0)
        going_on = lead + (later * weights).sum(-1)
        first = (going_on <= 0).sum(1).clamp(1, GRID - 1)[:, None]
        ends = going_on.gather(1, first - 1), going_on.gather(1, first)
        root = lead[first[:, 0] - 1] + width * (-ends[0] / (ends[1] - ends[0]))[:, 0]
        bonus[left, :counts] = -root if left > 1 else 0.0
        value[:counts] = going_on.clamp_min(0)
    return bonus


def _first(score: Tensor, generator: torch.Generator | None) -> Tensor:
    """The place of the largest score in each row; equal ones in a random order."""
    tie = 1e-9 * torch.rand(score.shape, dtype=torch.float64, generator=generator)
    return (score.double() + tie).argmax(1)
