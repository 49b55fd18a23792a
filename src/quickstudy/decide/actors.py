"""Policies and value functions of many tasks, trained in one batch by PPO's loss."""

from typing import NamedTuple, final

import torch
from torch import Tensor

from quickstudy.checks import check_number, check_whole
from quickstudy.decide.adam import Adam
from quickstudy.decide.networks import Networks
from quickstudy.rl.episodes import Episodes
from quickstudy.rl.estimation.advantages import gae, standardised


class Experience(NamedTuple):
    """Training data: transitions with advantages and value targets.

    Args:
        state: `[T, N, ds]`.
        action: `[T, N]`.
        log_prob: `[T, N]`, log pi_old(action | state).
        advantage: `[T, N]`, with mean 0 and standard deviation 1 in each task.
        aim: `[T, N]`, the targets of the value function's regression.
        mask: `[T, N]` bool, True for a real transition.
    """

    state: Tensor
    action: Tensor
    log_prob: Tensor
    advantage: Tensor
    aim: Tensor
    mask: Tensor


@final
class Actors:
    """Policies pi(a | s) and values V(s), one pair of networks for each task, trained on that task's data alone:

        L = mean_t [-min(rho_t A_t, clip(rho_t, 1 - e, 1 + e) A_t) - c H(pi(. | s_t)) + ((1 - gamma) (V(s_t) - R_t))²]

    with rho = pi / pi_old (Schulman et al. 2017, arXiv 1707.06347, eq. 7 and 9), A by generalised advantage estimation
    (Schulman et al. 2016, arXiv 1506.02438), and R = A + V. At rho = 1 the gradient is the policy gradient. The factor
    (1 - gamma) scales the value of an endless episode with reward 1 to 1.

    Args:
        scale: scale of each component of the state, `[ds]`, by which states are divided.
        num_tasks: T.
        actions: the number of actions.
        hidden: widths of the hidden layers.
        lr: learning rate of Adam.
        discount: gamma, below 1.
        gae_lambda: lambda of generalised advantage estimation.
        clip: e, for clipping rho.
        entropy: c, weight of the entropy H.
        norm: the largest norm of a task's gradient; longer gradients are scaled down.
        generator: random numbers for weights and actions.

    Raises:
        ValueError: for sizes below 1 and rates out of range.

    >>> actors = Actors(torch.ones(4), 3)
    >>> action, log_prob = actors.draw(torch.zeros(3, 5, 4))
    >>> action.shape, actors.value(torch.zeros(3, 5, 4)).shape
    (torch.Size([3, 5]), torch.Size([3, 5]))
    """

    def __init__(
        self,
        scale: Tensor,
        num_tasks: int,
        *,
        actions: int = 2,
        hidden: tuple[int, ...] = (64, 64),
        lr: float = 3e-3,
        discount: float = 0.99,
        gae_lambda: float = 0.95,
        clip: float = 0.2,
        entropy: float = 0.0,
        norm: float = 1.0,
        generator: torch.Generator | None = None,
    ):
        check_whole("num_tasks", num_tasks)
        check_whole("actions", actions, 2)
        for name, value in (("entropy", entropy), ("clip", clip)):
            check_number(name, value)
        for name, value in (("discount", discount), ("gae_lambda", gae_lambda)):
            if check_number(name, value) > 1 or (value == 1 and name == "discount"):
                raise ValueError(f"{name}={value!r}; expected a number from 0 to 1 (discount: below 1)")
        self.scale, self.discount, self.gae_lambda = scale, discount, gae_lambda
        self.clip, self.entropy, self.generator = clip, entropy, generator
        self.policy = Networks((num_tasks,), (len(scale), *hidden, actions), last=0.1, generator=generator)
        self.critic = Networks((num_tasks,), (len(scale), *hidden, 1), last=0.1, generator=generator)
        self._optimizer = Adam(self.policy.parameters() + self.critic.parameters(), lr=lr, clip=norm)

    def copy_(self, other: "Actors") -> None:
        """Copy the weights of `other`, which has as many tasks, or one task, copied to all."""
        self.policy.copy_(other.policy)
        self.critic.copy_(other.critic)

    def log_probs(self, state: Tensor) -> Tensor:
        """Log-probabilities `[T, N, A]` of all actions in the states `[T, N, ds]`."""
        return self.policy(state / self.scale).log_softmax(-1)

    def value(self, state: Tensor) -> Tensor:
        """The values `[T, N]` of the states `[T, N, ds]`."""
        return self.critic(state / self.scale)[..., 0] / (1 - self.discount)

    @torch.no_grad()
    def draw(self, state: Tensor) -> tuple[Tensor, Tensor]:
        """Draw actions `[T, N]` in the states `[T, N, ds]`; returns them and their log-probabilities."""
        log_probs = self.log_probs(state)
        # the argmax of log p + Gumbel noise is a draw from p; torch.multinomial takes matrices only
        noise = torch.rand(log_probs.shape, generator=self.generator).to(log_probs)
        action = (log_probs - (-noise.clamp_min(1e-30).log()).log()).argmax(-1)
        return action, log_probs.gather(-1, action.unsqueeze(-1))[..., 0]

    @torch.no_grad()
    def best(self, state: Tensor) -> Tensor:
        """The most probable actions `[T, N]` in the states `[T, N, ds]`."""
        return self.policy(state / self.scale).argmax(-1)

    @torch.no_grad()
    def experience(self, episodes: Episodes) -> Experience:
        """Training data from `episodes [T, E, H]`; truncated episodes are bootstrapped by the value function."""
        shape = episodes.reward.shape
        value, following = (
            self.value(states.flatten(1, 2)).view(shape) for states in (episodes.observation, episodes.next_observation)
        )
        rates = {"discount": self.discount, "gae_lambda": self.gae_lambda}
        advantage = gae(episodes, value, next_value=following, **rates)
        aim, above = advantage + value, standardised(advantage, episodes.mask)
        parts = (episodes.observation, episodes.action, episodes.log_prob, above, aim, episodes.mask)
        return Experience(*(part.flatten(1, 2) for part in parts))

    def loss(self, experience: Experience) -> Tensor:
        """The loss L of each task, `[T]`; 0 for a task without real transitions."""
        state, action, old, advantage, aim, mask = experience
        log_probs = self.log_probs(state)
        ratio = (log_probs.gather(-1, action.long().unsqueeze(-1))[..., 0] - old).exp()
        gain = torch.minimum(ratio * advantage, ratio.clamp(1 - self.clip, 1 + self.clip) * advantage)
        spread = -(log_probs.exp() * log_probs).sum(-1)
        miss = ((self.value(state) - aim) * (1 - self.discount)).square()
        points = (miss - gain - self.entropy * spread) * mask
        return points.sum(1) / mask.sum(1).clamp_min(1)

    def learn(self, episodes: Episodes, *, epochs: int) -> None:
        """`epochs` steps of Adam on all of `episodes`; a task without real transitions is not changed."""
        experience = self.experience(episodes)
        decided = experience.mask.any(1)
        for _ in range(epochs):
            self._optimizer.step(self.loss(experience), decided)
