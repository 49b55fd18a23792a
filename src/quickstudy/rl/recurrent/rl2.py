"""RL^2: a recurrent policy that learns to learn (Duan et al. 2016, arXiv 1611.02779; Wang et al. 2016, 1611.05763)."""

import math
from typing import Any, Self, final

import torch
from gymnasium.spaces import Discrete
from torch import Tensor, nn

from quickstudy.checks import check_number, check_positive, check_whole
from quickstudy.nets import MLP
from quickstudy.rl.environment import Environment
from quickstudy.rl.normalising import observe_all
from quickstudy.rl.policy import CategoricalPolicy, GaussianPolicy
from quickstudy.rl.practice import Practice
from quickstudy.rl.recurrent.actor import RecurrentActor
from quickstudy.rl.recurrent.memory import MemoryNetwork, Reading
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

    center: Tensor  # of the values, whose critic predicts them in units of spread
    spread: Tensor

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
        outer_lr: float = 2e-3,
        max_norm: float = 5.0,
        optimizer: OptimizerMaker | None = None,
    ):
        super().__init__()
        self.policy: Any = policy
        self.memory = memory
        self.episodes, self.epochs = check_whole("episodes", episodes), check_whole("epochs", epochs)
        self.minibatches = check_whole("minibatches", minibatches)
        self.discount, self.gae_lambda = _share("discount", discount), _share("gae_lambda", gae_lambda)
        self.clip, self.max_norm = check_positive("clip", clip), check_positive("max_norm", max_norm)
        self.entropy, self.value = check_number("entropy", entropy), check_positive("value", value)
        self.outer_lr, self.maker = check_positive("outer_lr", outer_lr), optimizer
        self.critic = nn.Linear(memory.width, 1)
        self.register_buffer("center", torch.zeros(()))
        self.register_buffer("spread", torch.ones(()))
        self.optimizer = make_optimizer(list(self.parameters()), outer_lr, optimizer)

    @classmethod
    def of(cls, environment: Environment, *, width: int = 128, **options: Any) -> Self:
        """A learner for the spaces of an environment, with a memory of `width` units and a linear policy on it."""
        space, shape = environment.action_space, environment.observation_space.shape or (1,)
        discrete = isinstance(space, Discrete)
        actions = int(space.n) if isinstance(space, Discrete) else math.prod(space.shape or (1,))
        head = MLP(width, [], actions)
        with torch.no_grad():  # all actions are nearly as probable at first
            for parameter in head.parameters():
                parameter.mul_(0.01)
        policy = CategoricalPolicy(head) if discrete else GaussianPolicy(head, actions)
        memory = MemoryNetwork(observations=math.prod(shape), actions=actions, discrete=discrete, width=width)
        return cls(policy, memory, **options)

    def config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        names = ("policy", "memory", "episodes", "discount", "gae_lambda", "clip", "epochs", "minibatches", "entropy")
        more = {name: getattr(self, name) for name in ("value", "outer_lr", "max_norm")}
        return {name: getattr(self, name) for name in names} | more | {"optimizer": self.maker}

    def actor(self) -> RecurrentActor:
        """The actor before its first episode."""
        return RecurrentActor(self.policy, self.memory, learner=self)

    def practise(self, environment: Environment, *, generator: torch.Generator | None = None) -> Practice:
        """A trial in every environment of every task: `episodes` episodes, one after another."""
        actor, found = self.actor(), []
        for k in range(self.episodes):
            found.append(actor.rollout(environment, generator=generator))
            if k + 1 < self.episodes:
                actor = actor.adapt(found[-1])
        return Practice(tuple(found), ())

    def update(self, environment: Environment, *, generator: torch.Generator | None = None) -> dict[str, float]:
        """Play a trial in every environment, and take `epochs` times `minibatches` steps of PPO on them.

        Returns:
            Metrics: `return_k` of the episode after k others, `loss` (minus the last of them), the number of
            `transitions`, and of the steps: the share of `clipped` ratios, the `kl` divergence from the policy that
            acted, the `entropy`, the `value_error` (of the value function, relative to the variance of returns), and
            the `gradient_norm`.
        """
        practice = self.practise(environment, generator=generator)
        streams = environment.num_tasks * environment.num_envs
        with torch.no_grad():
            reading = self.memory.reading(list(practice.episodes), self.memory.initial(streams))
            value = self._value(self._outputs(reading))
            advantage = generalised_advantages(reading, value, self.discount, self.gae_lambda)
            wanted = advantage + value
            self._rescale(wanted[reading.mask])
            spread, mean = torch.std_mean(advantage[reading.mask], correction=0)
            advantage = (advantage - mean) / (spread + 1e-8)
        said: list[dict[str, float]] = []
        place = reading.mask.device if generator is None else generator.device
        for _ in range(self.epochs):
            order = torch.randperm(streams, generator=generator, device=place).to(reading.mask.device)
            for part in order.chunk(self.minibatches):
                said.append(self._step(_rows(reading, part), advantage[part], wanted[part]))
        observe_all(self, practice.episodes)
        means = {name: sum(step[name] for step in said) / len(said) for name in said[0]}
        return practice.metrics() | means

    def _step(self, reading: Reading, advantage: Tensor, wanted: Tensor) -> dict[str, float]:
        mask, memory = reading.mask, self._outputs(reading)
        outputs, value = self.policy(memory[mask]), self._value(memory)[mask]
        advantage, wanted = advantage[mask], wanted[mask]
        log_ratio = self.policy.log_prob(outputs, reading.action[mask]) - reading.log_prob[mask]
        ratio = log_ratio.exp()
        gain = torch.minimum(ratio * advantage, ratio.clamp(1 - self.clip, 1 + self.clip) * advantage).mean()
        error, entropy = ((value - wanted) / self.spread).square().mean(), self.policy.entropy(outputs).mean()
        loss = -gain + self.value * error - self.entropy * entropy
        self.optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.parameters(), self.max_norm)
        self.optimizer.step()
        with torch.no_grad():
            return {
                "clipped": float(((ratio - 1).abs() > self.clip).float().mean()),
                "kl": float((ratio - 1 - log_ratio).mean()),
                "entropy": float(entropy),
                "value_error": float(error),
                "gradient_norm": float(norm),
            }

    def _outputs(self, reading: Reading) -> Tensor:
        """Outputs of the memory `[N, L, width]`."""
        outputs: Tensor = self.memory(reading.inputs, self.memory.initial(len(reading.mask)).hidden)
        return outputs

    def _value(self, outputs: Tensor) -> Tensor:
        """The discounted sum of all later rewards of the trial, `[N, L]`."""
        value: Tensor = self.critic(outputs).squeeze(2)
        return self.center + self.spread * value

    @torch.no_grad()
    def _rescale(self, values: Tensor) -> None:
        """Set center and spread to those of `values`; predicted values stay (van Hasselt et al. 2016, PopArt)."""
        spread, center = torch.std_mean(values, correction=0)
        spread = spread.clamp_min(1e-8)
        self.critic.weight.mul_(self.spread / spread)
        self.critic.bias.mul_(self.spread).add_(self.center - center).div_(spread)
        self.center.copy_(center)
        self.spread.copy_(spread)


def generalised_advantages(reading: Reading, value: Tensor, discount: float, gae_lambda: float) -> Tensor:
    """Generalised advantage estimates `[N, L]` over whole trials (Schulman et al. 2016, arXiv 1506.02438, eq. 16).

    A trial goes on over the ends of its episodes, and nothing comes after its last step.

    >>> one = torch.ones(1, 3)
    >>> trial = Reading(one.unsqueeze(2), one, one, one, one.bool(), one, one)
    >>> generalised_advantages(trial, 0 * one, 0.5, 1.0)
    tensor([[1.7500, 1.5000, 1.0000]])
    """
    real = reading.mask.to(value)
    value = value * real
    following = torch.cat([value[:, 1:], torch.zeros_like(value[:, :1])], 1)
    delta = (reading.reward.to(value) + discount * following - value) * real
    found = list(delta.unbind(1))
    for h in range(len(found) - 2, -1, -1):
        found[h] = found[h] + discount * gae_lambda * found[h + 1]
    return torch.stack(found, 1) * real


def _rows(reading: Reading, rows: Tensor) -> Reading:
    """Some of the streams."""
    return Reading(*(part[rows] for part in reading))


def _share(name: str, value: float) -> float:
    if check_number(name, value) > 1:
        raise ValueError(f"{name}={value!r}; expected a number from 0 to 1")
    return value
