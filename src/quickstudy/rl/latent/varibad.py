"""VariBAD: a policy that acts on a learned belief about the task (Zintgraf et al. 2020, arXiv 1910.08348)."""

from collections.abc import Sequence
from typing import Any, Self, final

import torch
from torch import nn

from quickstudy.checks import check_number, check_positive, check_whole
from quickstudy.rl.environment import Environment
from quickstudy.rl.latent.autoencoder import BeliefAutoencoder
from quickstudy.rl.latent.decoders import Part, Rewards
from quickstudy.rl.latent.trial_buffer import TrialBuffer
from quickstudy.rl.normalising import observe_all
from quickstudy.rl.practice import Practice
from quickstudy.rl.recurrent.actor import RecurrentActor
from quickstudy.rl.recurrent.critic import Critic
from quickstudy.rl.recurrent.ppo import PPO
from quickstudy.rl.recurrent.trial import indifferent_policy, play


@final
class VariBAD(nn.Module):
    """A policy that reads the observation and a belief about the task, over several episodes of the same task.

    A recurrent encoder gives the belief `q(m | tau_:t)` about a latent variable m before every action, as a mean and a
    log variance. It is trained with decoders as a variational autoencoder: from each belief along a trial, the decoders
    predict all rewards (and observations) of the trial, past and future, and the divergence from the belief before is
    small. The loss is the mean over trials and times t of

        -E_{m ~ q_t} sum_h log p(r_h | m, s_h, a_h, s_{h+1}) + kl KL(q_t || q_{t-1})        (eq. 8)

    Policy and value function are trained by PPO on the latest trials, and their gradients do not enter the encoder. The
    autoencoder is trained on a buffer of earlier trials as well. To adapt is to change the belief: no gradient step is
    taken on a new task.

    Args:
        policy: from features `[N, autoencoder.encoder.features]` to distributions over actions.
        autoencoder: gives beliefs, and decodes them.
        critic: widths of the value function's hidden layers.
        episodes: episodes of a trial.
        discount, gae_lambda, clip, epochs, minibatches, entropy, value, max_norm: as in `RL2`.
        kl: weight of the divergence; 1 gives the bound.
        buffer: trials that are kept for training the autoencoder.
        vae_steps: steps of the autoencoder after each update of the policy; 3 in the publication, of fewer trials.
        vae_trials: trials in such a step, drawn from the buffer.
        vae_beliefs: beliefs of each trial that are decoded in a step, at random times; None decodes all. Each costs as
            much as the trial is long.
        outer_lr: learning rate of Adam for policy and value function.
        vae_lr: learning rate of Adam for encoder and decoders.

    Raises:
        TypeError, ValueError: for options out of range.

    >>> import quickstudy as qs
    >>> environment, generator = qs.rl.Bandit(arms=3, num_envs=4, horizon=10), torch.Generator().manual_seed(0)
    >>> environment.set_tasks(environment.sample_tasks(5, generator=generator))
    >>> learner = qs.rl.VariBAD.of(environment, width=16, episodes=1)
    >>> sorted(learner.update(environment, generator=generator))[:5]
    ['clipped', 'divergence', 'entropy', 'gradient_norm', 'kl']
    """

    def __init__(
        self,
        policy: nn.Module,
        autoencoder: BeliefAutoencoder,
        *,
        critic: Sequence[int] = (32, 32),
        episodes: int = 2,
        discount: float = 0.99,
        gae_lambda: float = 0.95,
        clip: float = 0.2,
        epochs: int = 4,
        minibatches: int = 4,
        entropy: float = 0.01,
        value: float = 0.5,
        max_norm: float = 5.0,
        kl: float = 1.0,
        buffer: int = 1000,
        vae_steps: int = 10,
        vae_trials: int = 25,
        vae_beliefs: int | None = None,
        outer_lr: float = 7e-4,
        vae_lr: float = 1e-3,
    ):
        super().__init__()
        self.policy: Any = policy
        self.autoencoder = autoencoder
        self.critic_hidden, self.critic = list(critic), Critic(autoencoder.encoder.features, critic)
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
        self.kl, self.trials = check_number("kl", kl), TrialBuffer(check_whole("buffer", buffer))
        self.vae_steps, self.vae_trials = check_whole("vae_steps", vae_steps), check_whole("vae_trials", vae_trials)
        self.vae_beliefs = None if vae_beliefs is None else check_whole("vae_beliefs", vae_beliefs)
        self.outer_lr, self.vae_lr = check_positive("outer_lr", outer_lr), check_positive("vae_lr", vae_lr)
        self._acting = [p for part in (self.policy, self.critic) for p in part.parameters()]
        self._believing = list(autoencoder.parameters())
        groups = [{"params": self._acting, "lr": outer_lr}, {"params": self._believing, "lr": vae_lr}]
        self.optimizer = torch.optim.Adam(groups)

    @classmethod
    def of(
        cls,
        environment: Environment,
        *,
        width: int = 64,
        latent: int = 5,
        hidden: Sequence[int] = (32, 32),
        reads: Sequence[Part] | None = None,
        rewards: Rewards = "value",
        sd: float = 0.2,
        decode_transitions: bool = False,
        **options: Any,
    ) -> Self:
        """A learner for the spaces of an environment.

        Args:
            environment: the environment.
            width: units of the memory.
            latent: components of the latent variable.
            hidden: widths of the hidden layers of policy, value function and decoders.
            reads: what the decoder of rewards reads of a transition, beside the latent variable: by default all,
                "observation", "action" and "next_observation".
            rewards, sd: as in `RewardDecoder`.
            decode_transitions: whether observations are decoded, too.
            options: those of the class.
        """
        autoencoder = BeliefAutoencoder.of(
            environment,
            width=width,
            latent=latent,
            hidden=hidden,
            reads=reads,
            rewards=rewards,
            sd=sd,
            decode_transitions=decode_transitions,
        )
        policy = indifferent_policy(environment, autoencoder.encoder.features, hidden)
        return cls(policy, autoencoder, **{"critic": hidden, **options})

    def config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        own = {name: getattr(self, name) for name in ("policy", "autoencoder", "episodes", "kl")}
        own |= {"critic": self.critic_hidden, "buffer": self.trials.capacity}
        names = ("vae_steps", "vae_trials", "vae_beliefs", "outer_lr", "vae_lr")
        return own | self.ppo.config() | {name: getattr(self, name) for name in names}

    def actor(self) -> RecurrentActor:
        """The actor before its first episode."""
        return RecurrentActor(self.policy, self.autoencoder.encoder, learner=self)

    def practise(self, environment: Environment, *, generator: torch.Generator | None = None) -> Practice:
        """A trial in every environment of every task: `episodes` episodes, one after another."""
        return play(self.actor(), environment, self.episodes, generator=generator)

    def update(self, environment: Environment, *, generator: torch.Generator | None = None) -> dict[str, float]:
        """Play a trial in every environment, improve the policy by PPO on them, then the autoencoder on the buffer.

        Returns:
            Metrics: `return_k` of the episode after k others, `loss` (minus the last of them), the number of
            `transitions`, those of `PPO.improve`, and those of `learn_belief`.
        """
        practice = self.practise(environment, generator=generator)
        encoder = self.autoencoder.encoder
        start = encoder.initial(environment.num_tasks * environment.num_envs)
        trials = encoder.reading(list(practice.episodes), start)
        with torch.no_grad():
            seen = trials._replace(inputs=encoder.seen(trials))
        said = self.ppo.improve(
            seen,
            lambda some: some.inputs,
            policy=self.policy,
            critic=self.critic,
            optimizer=self.optimizer,
            parameters=self._acting,
            generator=generator,
        )
        self.trials.add(trials)
        told = self.learn_belief(generator=generator)
        observe_all(self, practice.episodes)
        return practice.metrics() | said | told

    def learn_belief(self, *, generator: torch.Generator | None = None) -> dict[str, float]:
        """Take `vae_steps` steps of the autoencoder, on trials of the buffer.

        Returns:
            Means over the steps: `log_likelihood` of a transition given a belief, and `divergence` of a belief from the
            one before, in nats.
        """
        said = []
        for _ in range(self.vae_steps):
            trials = self.trials.draw(self.vae_trials, generator=generator)
            loss, told = self.autoencoder.loss(trials, kl=self.kl, count=self.vae_beliefs, generator=generator)
            self.optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self._believing, self.ppo.max_norm)
            self.optimizer.step()
            said.append(told)
        return {name: sum(step[name] for step in said) / len(said) for name in said[0]}
