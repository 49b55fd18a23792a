"""Estimates the advantages of actions: the judge of a policy learner."""

from typing import Any, final

import torch
from torch import Tensor, nn

from quickstudy.rl.decisions import Decisions, decisions
from quickstudy.rl.episodes import Episodes
from quickstudy.rl.estimation.advantages import discounted_returns, gae, standardised
from quickstudy.rl.estimation.baseline import Baseline, check_saved
from quickstudy.rl.estimation.linear_baseline import LinearBaseline
from quickstudy.rl.normalising import RewardScale


@final
class Judge(nn.Module):
    """Estimates the advantage of every action in given episodes, over a baseline fitted to the same episodes.

    The defaults are those of Finn et al. 2017 (MAML). A judge is a module of its learner, so that checkpoints hold what
    its baseline and its reward scale have learned. The outer step does not train its parameters.

    Args:
        baseline: the baseline; `LinearBaseline()` by default, fitted to each task by itself. One that learns is an
            `nn.Module`, as `NetworkBaseline` is.
        discount: discount of rewards.
        gae_lambda: lambda of generalised advantage estimation.
        standardise: scale the advantages of every task to mean 0 and standard deviation 1.
        bootstrap: add the baseline's value after an episode that was truncated; False takes the horizon as the end.
        reward_scale: divides rewards by a running standard deviation; None leaves them as they are.

    Raises:
        TypeError: for a baseline without `fit`, and one that learns and is not an `nn.Module`.
    """

    def __init__(
        self,
        *,
        baseline: Baseline | None = None,
        discount: float = 0.99,
        gae_lambda: float = 1.0,
        standardise: bool = True,
        bootstrap: bool = False,
        reward_scale: RewardScale | None = None,
    ):
        super().__init__()
        self.baseline: Any = LinearBaseline() if baseline is None else baseline
        check_saved(self.baseline)
        self.discount, self.gae_lambda = discount, gae_lambda
        self.standardise, self.bootstrap = standardise, bootstrap
        self.reward_scale = reward_scale

    def config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        names = ("baseline", "discount", "gae_lambda", "standardise", "bootstrap", "reward_scale")
        return {name: getattr(self, name) for name in names if name != "reward_scale" or self.reward_scale is not None}

    def forward(self, episodes: Episodes) -> Decisions:
        """The decisions in `episodes`: every action with its advantage."""
        advantage = self.advantage(episodes)
        return decisions(episodes, standardised(advantage, episodes.mask) if self.standardise else advantage)

    def scaled(self, episodes: Episodes) -> Episodes:
        """The episodes with the rewards that are judged: divided by the reward scale, if there is one."""
        return episodes if self.reward_scale is None else self.reward_scale(episodes)

    def advantage(self, episodes: Episodes) -> Tensor:
        """Advantages `[T, E, H]`, not standardised."""
        episodes = self.scaled(episodes)
        value = self.baseline.fit(episodes, discounted_returns(episodes, discount=self.discount))
        beyond = value(episodes.next_observation, episodes.time + 1) if self.bootstrap else None
        here = value(episodes.observation, episodes.time)
        return gae(episodes, here, next_value=beyond, discount=self.discount, gae_lambda=self.gae_lambda)

    def scale(self, episodes: Episodes) -> Tensor | None:
        """The standard deviation `[T]` by which each task's advantages are divided; None without standardising."""
        if not self.standardise:
            return None
        advantage, count = self.advantage(episodes), episodes.mask.sum((1, 2)).clamp(min=1)
        mean = torch.where(episodes.mask, advantage, 0).sum((1, 2)) / count
        spread = torch.where(episodes.mask, advantage - mean[:, None, None], 0).square().sum((1, 2)) / count
        return spread.sqrt() + 1e-8
