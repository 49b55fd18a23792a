"""Deep Q-learning (Mnih et al. 2015) on each task from scratch: a model-free baseline."""

from typing import final

import torch
from torch import Tensor

from quickstudy.checks import check_number, check_whole
from quickstudy.decide.adam import Adam
from quickstudy.decide.moment import Moment
from quickstudy.decide.networks import Networks


@final
class DQN:
    """Action values Q(s, a) = r + gamma max_a' Q'(s', a'), learned by double Q-learning (Van Hasselt 2016).

    Every task has its own network, target network, replay memory and exploration schedule; tasks are trained in one
    batch and do not influence each other. Target networks follow slowly (Lillicrap et al. 2016, arXiv 1509.02971)
    instead of being copied from time to time.

    Args:
        scale: scale of each component of the state, `[ds]`, by which states are divided.
        num_tasks: T.
        actions: the number of actions.
        hidden: widths of the hidden layers.
        lr: learning rate of Adam.
        discount: gamma; the default 0.97 learns faster than a larger one, since late failures then count less.
        unit: rewards are divided by this; the loss is quadratic for errors up to 1 after the division, linear beyond.
        batch: transitions in a training step. There is a training step after each step of acting, once the memory
            holds this many.
        explore: the share of random actions at the start; it falls linearly to `explore_last`.
        explore_last: the share of random actions after `explore_steps` steps.
        explore_steps: the number of steps over which the share of random actions falls.
        follow: weight of the network in the moving average of the target network, for each training step.
        memory: the number of transitions to keep.
        generator: random numbers for weights, actions and batches.

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
        """Epsilon-greedy actions `[T]` in the states `[T, ds]`."""
        with torch.no_grad():
            best = self.values((state / self.scale).unsqueeze(1))[:, 0].argmax(1)
        part = (self._count / self.explore_steps).clamp(max=1)
        chance = self.explore + (self.explore_last - self.explore) * part
        drawn = torch.randint(self.actions, best.shape, generator=self.generator)
        return torch.where(torch.rand(best.shape, generator=self.generator) < chance, drawn, best)

    def see(self, moment: Moment) -> None:
        """Store the transitions, and take a training step on a batch from the memory."""
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
        """Do nothing between episodes."""

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
        self._optimizer.step(loss, mask)  # a task whose episode is over is not changed
        with torch.no_grad():
            share = (self.follow * mask).view(-1, 1, 1)
            for slow, fast in zip(self.targets.parameters(), self.values.parameters(), strict=True):
                slow.lerp_(fast, share)
