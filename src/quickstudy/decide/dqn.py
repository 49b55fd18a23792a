"""Deep Q-learning (Mnih et al. 2015) on each task from scratch: what controls without a model of the world."""

from typing import final

import torch
from torch import Tensor

from quickstudy.decide.networks import Networks


@final
class DQN:
    """Learns what actions are worth, Q(s, a) = r + gamma max_a' Q'(s', a'), with double Q-learning (Van Hasselt 2016).

    One network for every task, each with its own memory, target and chance; all are trained together.

    Args:
        scale: by which states are divided, `[ds]`.
        num_tasks: T.
        actions: how many there are.
        hidden: widths of the hidden layers.
        lr: Adam's rate.
        discount: gamma.
        batch: transitions in a step of learning; there is one a step of acting, once there are so many.
        explore: share of random actions at the start; falls linearly to `explore_last`
        over the first `explore_steps` steps.
        target: steps between copies to the target networks.
        memory: transitions that are kept.
        generator: of weights, actions and batches.

    >>> agent = DQN(torch.ones(4), 3)
    >>> agent.act(torch.zeros(3, 4)).shape
    torch.Size([3])
    """

    def __init__(
        self,
        scale: Tensor,
        num_tasks: int,
        *,
        actions: int = 2,
        hidden: tuple[int, ...] = (64, 64),
        lr: float = 1e-3,
        discount: float = 0.99,
        batch: int = 64,
        explore: float = 1.0,
        explore_last: float = 0.02,
        explore_steps: int = 1500,
        target: int = 100,
        memory: int = 20_000,
        generator: torch.Generator | None = None,
    ):
        self.scale, self.num_tasks, self.actions, self.generator = scale, num_tasks, actions, generator
        self.discount, self.batch, self.target, self.memory = discount, batch, target, memory
        self.explore, self.explore_last, self.explore_steps = explore, explore_last, explore_steps
        sizes = (len(scale), *hidden, actions)
        self.values = Networks((num_tasks,), sizes, generator=generator)
        self.targets = Networks((num_tasks,), sizes, generator=generator)
        self.targets.copy_(self.values)
        self._optimizer = torch.optim.Adam(self.values.parameters(), lr=lr)
        ds = len(scale)
        self._memory = torch.zeros(num_tasks, memory, 2 * ds + 3)  # state, next state, action, reward, terminated
        self._count = torch.zeros(num_tasks, dtype=torch.long)  # transitions seen by each task
        self._steps = 0

    def act(self, state: Tensor) -> Tensor:
        """Mostly the best action `[T]` of each task, in the states `[T, ds]`."""
        with torch.no_grad():
            best = self.values((state / self.scale).unsqueeze(1))[:, 0].argmax(1)
        part = (self._count / self.explore_steps).clamp(max=1)
        chance = self.explore + (self.explore_last - self.explore) * part
        drawn = torch.randint(self.actions, best.shape, generator=self.generator)
        return torch.where(torch.rand(best.shape, generator=self.generator) < chance, drawn, best)

    def see(
        self, state: Tensor, action: Tensor, reward: Tensor, following: Tensor, terminated: Tensor, mask: Tensor
    ) -> None:
        """Remember, and learn from a batch of memories."""
        columns = [action.unsqueeze(1), reward.unsqueeze(1), terminated.unsqueeze(1)]
        row = torch.cat([state / self.scale, following / self.scale, *(c.to(state.dtype) for c in columns)], 1)
        real = mask.nonzero()[:, 0]
        self._memory[real, self._count[real] % self.memory] = row[real]
        self._count += mask
        if int(self._count.min()) >= self.batch:
            self._learn(mask)

    def rest(self) -> None:
        """Nothing is done between episodes."""

    def _learn(self, mask: Tensor) -> None:
        ds, places = len(self.scale), torch.arange(self.num_tasks).unsqueeze(1)
        known = self._count.clamp(max=self.memory).unsqueeze(1)
        chosen = (torch.rand(self.num_tasks, self.batch, generator=self.generator) * known).long()
        now, following, action, reward, terminated = self._memory[places, chosen].split([ds, ds, 1, 1, 1], -1)
        with torch.no_grad():
            best = self.values(following).argmax(-1, keepdim=True)
            later = self.targets(following).gather(-1, best)
            aim = reward + self.discount * (1 - terminated) * later
        value = self.values(now).gather(-1, action.long())
        # a task whose episode is over waits: its networks stay as they are, as far as Adam's momentum allows
        loss = torch.nn.functional.smooth_l1_loss(value, aim, reduction="none").mean((1, 2))
        self._optimizer.zero_grad(set_to_none=True)
        (loss * mask).sum().backward()
        self._optimizer.step()
        self._steps += 1
        if self._steps % self.target == 0:
            self.targets.copy_(self.values)
