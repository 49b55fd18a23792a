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
    """PPO with the loss of `Actors`: a policy and a value function for every task, trained every few episodes.

    All tasks are trained in one batch. (Stable-Baselines3 trains one policy at a time: 20 tasks x 5 seeds would be 100
    separate runs, each with a single environment.)

    Args:
        scale: scale of each component of the state, `[ds]`, by which states are divided.
        num_tasks: T.
        episodes: the number of episodes of every task between two trainings.
        epochs: the number of steps of Adam in a training, each on all transitions since the last training.
        generator: random numbers for weights and actions.
        options: options of `Actors`.

    Raises:
        ValueError: for counts below 1, and options of `Actors` out of range.

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
        self._ends: list[int] = []  # for each episode, the index after that of its last step
        self._log_prob = torch.zeros(num_tasks)

    def act(self, state: Tensor) -> Tensor:
        """Actions `[T]` drawn by each task's policy in the states `[T, ds]`."""
        action, log_prob = self.actors.draw(state.unsqueeze(1))
        self._log_prob = log_prob[:, 0]
        return action[:, 0]

    def see(self, moment: Moment) -> None:
        """Store the transitions until the next training."""
        state, action, reward, following, terminated, mask = moment
        self._seen.append((state, action, reward * mask, following, self._log_prob, terminated & mask, mask))

    def rest(self) -> None:
        """Train, if there were `episodes` episodes since the last training."""
        if len(self._seen) > (self._ends[-1] if self._ends else 0):
            self._ends.append(len(self._seen))
        if len(self._ends) < self.episodes:
            return
        state, action, reward, following, log_prob, terminated, mask = (
            torch.stack(part, 1).unsqueeze(1) for part in zip(*self._seen, strict=True)
        )
        # the episodes of a task follow each other in one row; one that did not terminate is truncated at its end
        truncated = torch.zeros_like(mask)
        truncated[:, :, torch.tensor(self._ends) - 1] = True
        time = torch.arange(mask.shape[2]).expand(mask.shape)
        recorded = Episodes(state, action, reward, following, log_prob, terminated, truncated & ~terminated, mask, time)
        self.actors.learn(recorded, epochs=self.epochs)
        self._seen.clear()
        self._ends.clear()
