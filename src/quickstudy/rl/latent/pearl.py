"""PEARL: off-policy meta-reinforcement learning by posterior sampling (Rakelly et al. 2019, arXiv 1903.08254)."""

import copy
import json
import math
from collections.abc import Sequence
from typing import Any, Self, final

import torch
from gymnasium.spaces import Box
from torch import Tensor, nn

from quickstudy.checks import check_number, check_positive, check_whole
from quickstudy.nets import MLP
from quickstudy.rl.environment import Environment
from quickstudy.rl.envs.described import described
from quickstudy.rl.envs.stepping import check_drawn
from quickstudy.rl.latent.belief import Belief
from quickstudy.rl.latent.context_encoder import ContextEncoder
from quickstudy.rl.latent.posterior_actor import PosteriorActor
from quickstudy.rl.latent.sac import TwinCritic, critic_loss, follow, policy_loss
from quickstudy.rl.latent.task_replay import TaskReplay
from quickstudy.rl.normalising import observe_all
from quickstudy.rl.policies.squashed_gaussian import SquashedGaussianPolicy
from quickstudy.rl.practice import Practice
from quickstudy.training.updates import OptimizerMaker, make_optimizer


@final
class PEARL(nn.Module):
    """A policy that acts on a latent variable, drawn from a belief about the task, trained by soft actor-critic.

    An encoder turns each transition into a normal factor, and the belief q(z | c) is the product of those of a context
    c of transitions. A new task begins with z ~ N(0, 1); after each episode its transitions join the context, and the
    next episode has a new z from the belief. No gradient step is taken on a new task.

    Training is off-policy, on a fixed set of tasks, which the first `update` draws. An update visits some of them,
    plays `episodes` episodes in each, and stores the transitions in the task's buffer. Then it takes `gradient_steps`
    steps on batches of several tasks: the context comes from the last visit, the transitions of soft actor-critic from
    the whole buffer. The losses are

        encoder and values:   sum_i (Q_i(s, a, z) - y)^2 + kl KL(q(z | c) || N(0, 1)),     z ~ q(z | c)
        policy:               temperature log pi(a | s, z) - min_i Q_i(s, a, z),           z without gradients

    and the temperature is such that the policy's entropy is `entropy` on average. A context has 1 to `context`
    transitions in training, since a new task has few at first; the publication always takes the same number.

    Args:
        policy: from observation and latent variable to squashed normal distributions over actions.
        encoder: turns transitions into factors.
        latent: components of the latent variable; 5 as in the publication.
        critic: widths of the hidden layers of the values.
        episodes: episodes of a visit; the belief changes between them.
        train_tasks: number of training tasks.
        capacity: transitions that are kept of each task.
        discount: discount of rewards. An episode that is cut off at the horizon goes on in the values.
        kl: weight of the divergence; 0.1 as in the publication.
        entropy: the mean entropy of the policy, in nats, for actions whose bounds are -1 and 1; None takes minus the
            number of components, as Haarnoja et al.
        gradient_steps: steps after each visit.
        meta_batch: tasks in a step; 16 as in the publication.
        batch: transitions of each task in a step.
        context: the largest number of transitions in a context.
        target_rate: share of the way that the targets of the values move in a step; 0.005 as in the publication.
        outer_lr: learning rate of Adam, for all parts; 3e-4 as in the publication.
        optimizer: a function parameters -> `torch.optim.Optimizer`, in place of Adam.

    Raises:
        TypeError, ValueError: for options out of range.

    >>> import quickstudy as qs
    >>> board, generator = qs.rl.Navigation2D(num_envs=1, horizon=5), torch.Generator().manual_seed(0)
    >>> board.set_tasks(board.sample_tasks(2, generator=generator))
    >>> learner = qs.rl.PEARL.of(board, hidden=[8], train_tasks=4, gradient_steps=2)
    >>> sorted(learner.update(board, generator=generator))
    ['critic_loss', 'divergence', 'entropy', 'loss', 'return_0', 'return_1', 'temperature', 'transitions']
    """

    log_temperature: nn.Parameter

    def __init__(
        self,
        policy: SquashedGaussianPolicy,
        encoder: ContextEncoder,
        *,
        observations: int,
        latent: int = 5,
        critic: Sequence[int] = (128, 128),
        episodes: int = 2,
        train_tasks: int = 100,
        capacity: int = 10_000,
        discount: float = 0.99,
        kl: float = 0.1,
        entropy: float | None = None,
        gradient_steps: int = 100,
        meta_batch: int = 16,
        batch: int = 64,
        context: int = 64,
        target_rate: float = 0.005,
        outer_lr: float = 3e-4,
        optimizer: OptimizerMaker | None = None,
    ):
        super().__init__()
        self.policy, self.encoder, self.latent = policy, encoder, check_whole("latent", latent)
        self.observations, self.critic_hidden = check_whole("observations", observations), list(critic)
        self.critic = TwinCritic(observations + latent + policy.action_dim, critic)
        self.target = copy.deepcopy(self.critic).requires_grad_(False)
        self.episodes, self.train_tasks = check_whole("episodes", episodes), check_whole("train_tasks", train_tasks)
        self.discount, self.kl = check_number("discount", discount), check_number("kl", kl)
        if self.discount > 1:
            raise ValueError(f"discount={discount!r}; expected a number from 0 to 1")
        if entropy is not None and not (isinstance(entropy, int | float) and math.isfinite(entropy)):
            raise ValueError(f"entropy={entropy!r}; expected a finite number, or None for minus the number of actions")
        self.entropy, self.target_rate = entropy, check_positive("target_rate", target_rate)
        self.gradient_steps = check_whole("gradient_steps", gradient_steps)
        self.meta_batch, self.batch = check_whole("meta_batch", meta_batch), check_whole("batch", batch)
        self.context, self.outer_lr = check_whole("context", context), check_positive("outer_lr", outer_lr)
        self.replay = TaskReplay(check_whole("capacity", capacity))
        self.log_temperature = nn.Parameter(torch.zeros(()))
        self._valued = [*self.encoder.parameters(), *self.critic.parameters()]
        self.maker = optimizer
        self.optimizer = make_optimizer([p for p in self.parameters() if p.requires_grad], outer_lr, optimizer)

    @classmethod
    def of(
        cls, environment: Environment, *, latent: int = 5, hidden: Sequence[int] = (128, 128), **options: Any
    ) -> Self:
        """A learner for the spaces of an environment, whose actions have finite bounds.

        Args:
            environment: the environment.
            latent: components of the latent variable.
            hidden: widths of the hidden layers of policy, values and encoder; (300, 300, 300) in the publication.
            options: those of the class.

        Raises:
            ValueError: for actions that are discrete or have no bounds.
        """
        space, size = environment.action_space, math.prod(environment.observation_space.shape or (1,))
        if not isinstance(space, Box) or len(space.shape) != 1 or not space.is_bounded():
            raise ValueError(
                f"PEARL needs actions in a Box of one axis with finite bounds, and the environment has {space}; "
                "RL2 and VariBAD take any actions"
            )
        actions = space.shape[0]
        network = MLP(size + latent, list(hidden), 2 * actions)
        policy = SquashedGaussianPolicy(network, space.low, space.high)
        encoder = ContextEncoder(MLP(2 * size + actions + 1, list(hidden), 2 * latent))
        return cls(policy, encoder, observations=size, latent=latent, **{"critic": hidden, **options})

    def config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        names = ("policy", "encoder", "observations", "latent", "episodes", "train_tasks", "discount", "kl", "entropy")
        more = ("gradient_steps", "meta_batch", "batch", "context", "target_rate", "outer_lr")
        own = {"critic": self.critic_hidden, "capacity": self.replay.capacity, "optimizer": self.maker}
        return {name: getattr(self, name) for name in (*names, *more)} | own

    def actor(self) -> PosteriorActor:
        """The actor before its first episode."""
        return PosteriorActor(self.policy, self.encoder, self.latent, learner=self)

    def practise(self, environment: Environment, *, generator: torch.Generator | None = None) -> Practice:
        """A visit to the environment's tasks: `episodes` episodes in each environment, with a belief that grows."""
        actor, found = self.actor(), []
        for _ in range(self.episodes):
            found.append(actor.rollout(environment, generator=generator))
            actor = actor.adapt(found[-1])
        return Practice(tuple(found), ())

    def update(self, environment: Environment, *, generator: torch.Generator | None = None) -> dict[str, float]:
        """Visit as many training tasks as the environment has tasks, and take `gradient_steps` steps.

        The first update draws the training tasks from the environment and visits all of them. The environment keeps the
        tasks that were visited, in place of its own.

        Returns:
            Metrics: `return_k` of the episode after k others, `loss` (minus the last of them), the number of
            `transitions`, and those of `learn`.
        """
        told = json.dumps({k: v for k, v in described(environment).items() if k != "num_envs"}, sort_keys=True)
        if self.replay.environment not in (None, told):
            raise ValueError(
                f"the learner was trained in {self.replay.environment}, and is given {told}; its transitions belong to "
                "one environment: make a new learner for another"
            )
        self.replay.environment = told
        place = "cpu" if generator is None else generator.device
        rows = torch.randperm(self.train_tasks, generator=generator, device=place)[: environment.num_tasks].cpu()
        if not len(self.replay):
            drawn = environment.sample_tasks(self.train_tasks, split="train", generator=generator)
            check_drawn(environment, drawn, self.train_tasks)
            self.replay.begin(drawn)
            rows = torch.arange(self.train_tasks)
        environment.set_tasks(self.replay.some_tasks(rows))
        practice = self.practise(environment, generator=generator)
        self.replay.add(rows, list(practice.episodes))
        said = self.learn(generator=generator)
        observe_all(self, practice.episodes)
        return practice.metrics() | said

    def learn(self, *, generator: torch.Generator | None = None) -> dict[str, float]:
        """Take `gradient_steps` steps on stored transitions.

        Returns:
            Means over the steps: `critic_loss`, `divergence` of the belief from N(0, 1), both in training, `entropy` of
            the policy (minus the mean log density of its actions), and the `temperature`.
        """
        said = [self._step(generator) for _ in range(self.gradient_steps)]
        return {name: sum(step[name] for step in said) / len(said) for name in said[0]}

    def _step(self, generator: torch.Generator | None) -> dict[str, float]:
        place = "cpu" if generator is None else generator.device
        rows = torch.randperm(len(self.replay), generator=generator, device=place)[: self.meta_batch].cpu()
        size = int(torch.randint(1, self.context + 1, (), generator=generator, device=place))
        context = self.replay.draw(rows, size, generator=generator, latest=True)
        batch = self.replay.draw(rows, self.batch, generator=generator)

        def noise(width: int, *shape: int) -> Tensor:
            drawn = torch.randn(*shape, width, generator=generator, device=place, dtype=batch.reward.dtype)
            return drawn.to(batch.reward.device)

        belief = self.encoder(context.transitions()).belief()
        divergence = belief.divergence(Belief.standard(belief.mean)).mean()
        latent = belief.at(noise(self.latent, len(rows))).unsqueeze(1).expand(-1, self.batch, -1)
        temperature, width = self.log_temperature.detach().exp(), self.policy.action_dim
        lots = noise(width, 2, len(rows), self.batch)
        error = critic_loss(
            self.critic,
            self.target,
            self.policy,
            batch,
            latent,
            noise=lots[0],
            discount=self.discount,
            temperature=temperature,
        )
        gain, log_prob = policy_loss(
            self.critic, self.policy, batch.observation, latent.detach(), noise=lots[1], temperature=temperature
        )
        lack = (-log_prob - self._wanted_entropy()).mean()  # the temperature falls where the entropy is too large
        self.optimizer.zero_grad()
        (error + self.kl * divergence).backward(inputs=self._valued)
        gain.backward(inputs=list(self.policy.parameters()))
        (self.log_temperature * lack).backward()
        self.optimizer.step()
        follow(self.target, self.critic, self.target_rate)
        found = {
            "critic_loss": error,
            "divergence": divergence,
            "entropy": -log_prob.mean(),
            "temperature": temperature,
        }
        return {name: float(value.detach()) for name, value in found.items()}

    def _wanted_entropy(self) -> Tensor:
        """The mean entropy that the temperature is tuned for, in the units of the actions."""
        wanted = float(-self.policy.action_dim) if self.entropy is None else self.entropy
        return wanted + ((self.policy.high - self.policy.low) / 2).log().sum()
