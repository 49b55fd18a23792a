"""REINFORCE with a baseline (Williams 1992) on each task from scratch: the simplest model-free baseline."""

from typing import final

import torch
from torch import Tensor

from quickstudy.decide.moment import Moment
from quickstudy.decide.networks import Networks


@final
class Reinforce:
    """Takes one step of Adam after each episode, along  sum_h (R_h - b(s_h)) grad log pi(a_h | s_h).

    R_h is the discounted return from step h on. Every task has its own policy and baseline. R_h - b(s_h) is divided by
    its root mean square over the episode.

    Args:
        scale: scale of each component of the state, `[ds]`, by which states are divided.
        num_tasks: T.
        actions: the number of actions.
        hidden: widths of the hidden layers.
        lr: learning rate of Adam, for policy and baseline.
        discount: discount of rewards.
        generator: random numbers for weights and actions.

    >>> agent = Reinforce(torch.ones(4), 3)
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
        lr: float = 5e-3,
        discount: float = 0.99,
        generator: torch.Generator | None = None,
    ):
        self.scale, self.discount, self.generator = scale, discount, generator
        self.policy = Networks((num_tasks,), (len(scale), *hidden, actions), last=0.1, generator=generator)
        self.baseline = Networks((num_tasks,), (len(scale), *hidden, 1), last=0.1, generator=generator)
        parameters = self.policy.parameters() + self.baseline.parameters()
        self._optimizer = torch.optim.Adam(parameters, lr=lr)
        self._seen: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []

    def act(self, state: Tensor) -> Tensor:
        """Actions `[T]` drawn by each task's policy in the states `[T, ds]`."""
        with torch.no_grad():
            chance = self.policy((state / self.scale).unsqueeze(1))[:, 0].softmax(-1)
        return chance.multinomial(1, generator=self.generator)[:, 0]

    def see(self, moment: Moment) -> None:
        """Store the transitions until the episode has ended."""
        self._seen.append((moment.state / self.scale, moment.action, moment.reward * moment.mask, moment.mask))

    def rest(self) -> None:
        """Take one step of Adam on the episode."""
        if not self._seen:
            return
        state, action, reward, mask = (torch.stack(part, 1) for part in zip(*self._seen, strict=True))
        self._seen.clear()
        after, returns = torch.zeros(len(state)), []
        for step in reversed(range(reward.shape[1])):
            after = reward[:, step] + self.discount * after
            returns.append(after)
        aim = torch.stack(returns[::-1], 1)
        value = self.baseline(state)[..., 0] / (1 - self.discount)  # an endless episode with reward 1 has the output 1
        above, count = (aim - value.detach()) * mask, mask.sum(1, keepdim=True).clamp_min(1)
        spread = (above.square().sum(1, keepdim=True) / count).sqrt().clamp_min(1e-6)
        log_prob = self.policy(state).log_softmax(-1).gather(-1, action.unsqueeze(-1))[..., 0]
        miss = ((aim - value) * (1 - self.discount)).square()
        loss = ((miss - above / spread * log_prob) * mask / count).sum()
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._optimizer.step()
