"""RL^2: a recurrent policy that learns to learn (Duan et al. 2016, arXiv 1611.02779; Wang et al. 2016, 1611.05763)."""

from typing import Any, Self, final

import torch
from torch import Tensor, nn

from quickstudy.checks import check_positive, check_whole
from quickstudy.rl.environment import Environment
from quickstudy.rl.normalising import observe_all
from quickstudy.rl.practice import Practice
from quickstudy.rl.recurrent.actor import RecurrentActor
from quickstudy.rl.recurrent.critic import Critic
from quickstudy.rl.recurrent.memory import Kind, MemoryNetwork, Reading
from quickstudy.rl.recurrent.ppo import PPO
from quickstudy.rl.recurrent.trial import indifferent_policy, play
from quickstudy.training.updates import OptimizerMaker, make_optimizer


@final
class RL2(nn.Module):
    """A policy whose memory reads observations, actions and rewards, over several episodes of the same task.

    To adapt is to remember: no gradient step is taken on a new task. A trial consists of `episodes` episodes of one
    task, between which the memory stays. The policy and a value function on the memory's outputs maximise the
    discounted sum of all rewards of a trial by PPO (Schulman et al. 2017, arXiv 1707.06347), with gradients through the
    whole trial. So it pays to explore in early episodes for the sake of later ones.

    Args:
        policy: from outputs of the memory `[N, width]` to distributions over actions: `CategoricalPolicy` or
            `GaussianPolicy`.
        memory: the recurrent network.
        episodes: episodes of a trial.
        discount: discount of rewards, over the whole trial.
        gae_lambda: lambda of generalised advantage estimation; 0.3 as in Duan et al. 2016.
        clip: epsilon of PPO's ratio.
        epochs: passes over the trials of an update.
        minibatches: parts of the trials, with a step of Adam for each.
        entropy: weight of the policy's entropy.
        value: weight of the squared error of the value function.
        anneal: updates over which the discount grows from 0, and the entropy's weight falls to 0, both evenly; 0 keeps
            them as they are. Where rewards follow each action, as in bandits, a policy then learns first what pays now.
        outer_lr: learning rate of Adam.
        max_norm: largest norm of a gradient.
        optimizer: a function parameters -> `torch.optim.Optimizer`, in place of Adam.

    Raises:
        TypeError, ValueError: for options out of range.

    >>> import quickstudy as qs
    >>> environment, generator = qs.rl.Bandit(arms=3, num_envs=4, horizon=10), torch.Generator().manual_seed(0)
    >>> environment.set_tasks(environment.sample_tasks(5, generator=generator))
    >>> learner = qs.rl.RL2.of(environment, width=16, episodes=1)
    >>> sorted(learner.update(environment, generator=generator))
    ['clipped', 'entropy', 'gradient_norm', 'kl', 'loss', 'return_0', 'transitions', 'value_error']
    """

    updates: Tensor  # taken so far, if `anneal` is above 0

    def __init__(
        self,
        policy: nn.Module,
        memory: MemoryNetwork,
        *,
        episodes: int = 2,
        discount: float = 0.99,
        gae_lambda: float = 0.3,
        clip: float = 0.2,
        epochs: int = 4,
        minibatches: int = 4,
        entropy: float = 0.01,
        value: float = 0.1,
        anneal: int = 0,
        outer_lr: float = 2e-3,
        max_norm: float = 5.0,
        optimizer: OptimizerMaker | None = None,
    ):
        super().__init__()
        self.policy: Any = policy
        self.memory = memory
        self.episodes = check_whole("episodes", episodes)
        self.ppo = PPO(
            discount=discount,
            gae_lambda=gae_lambda,
            clip=clip,
            epochs=epochs,
            minibatches=minibatches,
            entropy=entropy,
            value=value,
            max_norm=max_norm,
        )
        self.anneal = check_whole("anneal", anneal, 0)
        if anneal:
            self.register_buffer("updates", torch.zeros((), dtype=torch.long))
        self.outer_lr, self.maker = check_positive("outer_lr", outer_lr), optimizer
        self.critic = Critic(memory.width)
        self.optimizer = make_optimizer(list(self.parameters()), outer_lr, optimizer)

    @classmethod
    def of(cls, environment: Environment, *, width: int = 128, kind: Kind = "gru", **options: Any) -> Self:
        """A learner for the spaces of an environment, with a memory of `width` units and a linear policy on it.

        The memory is of this `kind`: a gated recurrent unit, or a small transformer.
        """
        policy = indifferent_policy(environment, width)
        return cls(policy, MemoryNetwork.of(environment, width=width, kind=kind), **options)

    def config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        own = {"policy": self.policy, "memory": self.memory, "episodes": self.episodes}
        return own | self.ppo.config() | {"anneal": self.anneal, "outer_lr": self.outer_lr, "optimizer": self.maker}

    def actor(self) -> RecurrentActor:
        """The actor before its first episode."""
        return RecurrentActor(self.policy, self.memory, learner=self)

    def practise(self, environment: Environment, *, generator: torch.Generator | None = None) -> Practice:
        """A trial in every environment of every task: `episodes` episodes, one after another."""
        return play(self.actor(), environment, self.episodes, generator=generator)

    def update(self, environment: Environment, *, generator: torch.Generator | None = None) -> dict[str, float]:
        """Play a trial in every environment, and take `epochs` times `minibatches` steps of PPO on them.

        Returns:
            Metrics: `return_k` of the episode after k others, `loss` (minus the last of them), the number of
            `transitions`, and those of `PPO.improve`.
        """
        practice = self.practise(environment, generator=generator)
        start = self.memory.initial(environment.num_tasks * environment.num_envs)
        said = self._settings().improve(
            self.memory.reading(list(practice.episodes), start),
            self._features,
            policy=self.policy,
            critic=self.critic,
            optimizer=self.optimizer,
            parameters=list(self.parameters()),
            generator=generator,
        )
        observe_all(self, practice.episodes)
        return practice.metrics() | said

    def _settings(self) -> PPO:
        """The settings of this update, which is then counted."""
        if not self.anneal:
            return self.ppo
        share = min(1.0, int(self.updates) / self.anneal)
        self.updates += 1
        return self.ppo.eased(share)

    def _features(self, reading: Reading) -> Tensor:
        """Outputs of the memory `[N, L, width]`."""
        outputs: Tensor = self.memory(reading.inputs, self.memory.initial(len(reading.mask)).hidden)
        return outputs
