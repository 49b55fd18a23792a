"""Proximal policy optimisation (Schulman et al. 2017, arXiv 1707.06347) on each task from scratch, without a model."""

from typing import Any, final

import torch
from torch import Tensor

from quickstudy.checks import check_whole
from quickstudy.decide.actors import Actors
from quickstudy.decide.moment import Moment
from quickstudy.rl.episodes import Episodes


@final
class PPO:
    """After every few episodes, some steps up the clipped surrogate of `Actors` on all that was done in them.

    One policy and one value for every task, all trained together. (Stable-Baselines3 and its like train one policy at a
    time: 20 carts x 5 seeds would be 100 runs of their own, each at the speed of an environment that steps alone.)

    Args:
        scale: by which states are divided, `[ds]`.
        num_tasks: T.
        episodes: of every task, between times of learning.
        epochs: steps of Adam on them, each on all of their transitions.
        generator: of weights and actions.
        options: of `Actors`.

    Raises:
        ValueError: for counts below 1, and what `Actors` refuses.

    >>> agent = PPO(torch.ones(4), 3)
    >>> agent.act(torch.zeros(3, 4)).shape
    torch.Size([3])
    """

    def __init__(
        self,
        scale: Tensor,
        num_tasks: int,
        *,
        episodes: int = 2,
        epochs: int = 10,
        generator: torch.Generator | None = None,
        **options: Any,
    ):
        self.episodes, self.epochs = check_whole("episodes", episodes), check_whole("epochs", epochs)
        self.actors = Actors(scale, num_tasks, generator=generator, **options)
        self._seen: list[tuple[Tensor, ...]] = []
        self._ends: list[int] = []  # the step after the last of each episode
        self._log_prob = torch.zeros(num_tasks)

    def act(self, state: Tensor) -> Tensor:
        """Actions `[T]` drawn by each task's policy, in the states `[T, ds]`."""
        action, log_prob = self.actors.draw(state.unsqueeze(1))
        self._log_prob = log_prob[:, 0]
        return action[:, 0]

    def see(self, moment: Moment) -> None:
        """Remember what came of the last action, until it is learned from."""
        state, action, reward, following, terminated, mask = moment
        self._seen.append((state, action, reward * mask, following, self._log_prob, terminated & mask, mask))

    def rest(self) -> None:
        """Learn, once there are episodes enough."""
        if len(self._seen) > (self._ends[-1] if self._ends else 0):
            self._ends.append(len(self._seen))
        if len(self._ends) < self.episodes:
            return
        state, action, reward, following, log_prob, terminated, mask = (
            torch.stack(part, 1).unsqueeze(1) for part in zip(*self._seen, strict=True)
        )
        truncated = torch.zeros_like(mask)  # what ends the row of an episode that goes on; the next one stands behind
        truncated[:, :, torch.tensor(self._ends) - 1] = True
        time = torch.arange(mask.shape[2]).expand(mask.shape)
        told = Episodes(state, action, reward, following, log_prob, terminated, truncated & ~terminated, mask, time)
        self.actors.learn(told, epochs=self.epochs)
        self._seen.clear()
        self._ends.clear()
