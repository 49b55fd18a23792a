"""Deep Q-learning (Mnih et al. 2015) on each task from scratch: what controls without a model of the world."""

from typing import final

import torch
from torch import Tensor

from quickstudy.checks import check_number, check_whole
from quickstudy.decide.adam import Adam
from quickstudy.decide.moment import Moment
from quickstudy.decide.networks import Networks


@final
class DQN:
    """Learns what actions are worth, Q(s, a) = r + gamma max_a' Q'(s', a'), with double Q-learning (Van Hasselt 2016).

    One network for every task, each with its own memory, target and clock; all are trained together, and none feels
    another. Targets follow slowly (Lillicrap et al. 2016, arXiv 1509.02971) in place of being copied now and then.

    Args:
        scale: by which states are divided, `[ds]`.
        num_tasks: T.
        actions: how many there are.
        hidden: widths of the hidden layers.
        lr: Adam's rate.
        discount: gamma. 0.97 by default: the sooner a fall counts for little, the sooner its worth is known.
        unit: rewards that are 1 to the networks; errors beyond it count by their size, within it by their square.
        batch: transitions in a step of learning; there is one a step of acting, once there are so many.
        explore: share of random actions at the start; falls linearly to `explore_last`
        over the first `explore_steps` steps.
        follow: share of the way that targets go after every step of learning.
        memory: transitions that are kept.
        generator: of weights, actions and batches.

    Raises:
        ValueError: for counts below 1, and rates and shares out of range.

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
        lr: float = 2e-3,
        discount: float = 0.97,
        unit: float = 10.0,
        batch: int = 64,
        explore: float = 1.0,
        explore_last: float = 0.02,
        explore_steps: int = 300,
        follow: float = 0.03,
        memory: int = 20_000,
        generator: torch.Generator | None = None,
    ):
        counts = {"num_tasks": num_tasks, "batch": batch, "explore_steps": explore_steps, "memory": memory}
        for name, count in counts.items():
            check_whole(name, count)
        shares = {"discount": discount, "explore": explore, "explore_last": explore_last, "follow": follow}
        for name, share in shares.items():
            if check_number(name, share) > 1:
                raise ValueError(f"{name}={share!r}; expected a number from 0 to 1")
        if not check_number("unit", unit) > 0:
            raise ValueError(f"unit={unit!r}; expected a number above 0")
        self.scale, self.num_tasks, self.actions, self.generator = scale, num_tasks, actions, generator
        self.discount, self.unit, self.batch, self.follow, self.memory = discount, unit, batch, follow, memory
        self.explore, self.explore_last, self.explore_steps = explore, explore_last, explore_steps
        sizes = (len(scale), *hidden, actions)
        self.values = Networks((num_tasks,), sizes, generator=generator)
        self.targets = Networks((num_tasks,), sizes, generator=generator)
        self.targets.copy_(self.values)
        self._optimizer = Adam(self.values.parameters(), lr=lr, clip=10.0)
        ds = len(scale)
        self._memory = torch.zeros(num_tasks, memory, 2 * ds + 3)  # state, next state, action, reward, terminated
        self._count = torch.zeros(num_tasks, dtype=torch.long)  # transitions seen by each task

    def act(self, state: Tensor) -> Tensor:
        """Mostly the best action `[T]` of each task, in the states `[T, ds]`."""
        with torch.no_grad():
            best = self.values((state / self.scale).unsqueeze(1))[:, 0].argmax(1)
        part = (self._count / self.explore_steps).clamp(max=1)
        chance = self.explore + (self.explore_last - self.explore) * part
        drawn = torch.randint(self.actions, best.shape, generator=self.generator)
        return torch.where(torch.rand(best.shape, generator=self.generator) < chance, drawn, best)

    def see(self, moment: Moment) -> None:
        """Remember, and learn from a batch of memories."""
        state, action, reward, following, terminated, mask = moment
        columns = [action.unsqueeze(1), reward.unsqueeze(1) / self.unit, terminated.unsqueeze(1)]
        row = torch.cat([state / self.scale, following / self.scale, *(c.to(state.dtype) for c in columns)], 1)
        real = mask.nonzero()[:, 0]
        self._memory[real, self._count[real] % self.memory] = row[real]
        self._count += mask
        learns = mask & (self._count >= self.batch)
        if learns.any():
            self._learn(learns)

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
        loss = torch.nn.functional.smooth_l1_loss(value, aim, reduction="none").mean((1, 2))
        self._optimizer.step(loss, mask)  # a task whose episode is over waits
        with torch.no_grad():
            share = (self.follow * mask).view(-1, 1, 1)
            for slow, fast in zip(self.targets.parameters(), self.values.parameters(), strict=True):
                slow.lerp_(fast, share)
