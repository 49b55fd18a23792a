"""Proximal policy optimisation on whole trials (Schulman et al. 2017, arXiv 1707.06347)."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Self, final

import torch
from torch import Tensor, nn

from quickstudy.checks import check_number, check_positive, check_whole
from quickstudy.rl.recurrent.critic import Critic
from quickstudy.rl.recurrent.memory import Reading


@final
@dataclass(frozen=True, kw_only=True)
class PPO:
    """The settings of PPO on trials, and its steps.

    Args:
        discount: discount of rewards, over the whole trial.
        gae_lambda: lambda of generalised advantage estimation.
        clip: epsilon of PPO's ratio.
        epochs: passes over the trials of an update.
        minibatches: parts of the trials, with a step of the optimiser for each.
        entropy: weight of the policy's entropy.
        value: weight of the squared error of the value function.
        max_norm: largest norm of a gradient.

    Raises:
        TypeError, ValueError: for options out of range.
    """

    discount: float
    gae_lambda: float
    clip: float
    epochs: int
    minibatches: int
    entropy: float
    value: float
    max_norm: float

    def __post_init__(self) -> None:
        for name in ("discount", "gae_lambda"):
            _share(name, getattr(self, name))
        for name in ("clip", "value", "max_norm"):
            check_positive(name, getattr(self, name))
        for name in ("epochs", "minibatches"):
            check_whole(name, getattr(self, name))
        check_number("entropy", self.entropy)

    def config(self) -> dict[str, Any]:
        """The settings by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def eased(self, share: float) -> Self:
        """These settings with `share` of the discount, from 0 to 1, and 1 - `share` of the entropy's weight."""
        return replace(self, discount=share * self.discount, entropy=(1 - share) * self.entropy)

    def improve(
        self,
        reading: Reading,
        features: Callable[[Reading], Tensor],
        *,
        policy: Any,
        critic: Critic,
        optimizer: torch.optim.Optimizer,
        parameters: list[nn.Parameter],
        generator: torch.Generator | None,
    ) -> dict[str, float]:
        """Take `epochs` times `minibatches` steps on trials, played by the present policy.

        Args:
            reading: the trials, `[N, L]`.
            features: what policy and critic read at each step, `[n, L, k]`, of some of these trials.
            policy: from features `[..., k]` to distributions over actions.
            critic: the value function.
            optimizer: takes the steps.
            parameters: those whose gradients are clipped together.
            generator: draws the parts.

        Returns:
            Means over the steps: the share of `clipped` ratios, the `kl` divergence from the policy that acted, the
            `entropy`, the `value_error` (relative to the variance of returns), and the `gradient_norm`.
        """
        with torch.no_grad():
            value = critic(features(reading))
            advantage = generalised_advantages(reading, value, self.discount, self.gae_lambda)
            wanted = advantage + value
            critic.rescale(wanted[reading.mask])
            spread, mean = torch.std_mean(advantage[reading.mask], correction=0)
            advantage = (advantage - mean) / (spread + 1e-8)
        said: list[dict[str, float]] = []
        place = reading.mask.device if generator is None else generator.device
        for _ in range(self.epochs):
            order = torch.randperm(len(reading.mask), generator=generator, device=place).to(reading.mask.device)
            for part in order.chunk(self.minibatches):
                some = reading.rows(part)
                loss, told = self.loss(
                    some, features(some), advantage[part], wanted[part], policy=policy, critic=critic
                )
                optimizer.zero_grad()
                loss.backward()
                norm = nn.utils.clip_grad_norm_(parameters, self.max_norm)
                optimizer.step()
                said.append(told | {"gradient_norm": float(norm)})
        return {name: sum(step[name] for step in said) / len(said) for name in said[0]}

    def loss(
        self, reading: Reading, features: Tensor, advantage: Tensor, wanted: Tensor, *, policy: Any, critic: Critic
    ) -> tuple[Tensor, dict[str, float]]:
        """The loss, and metrics of the step before it is taken.

        Args:
            reading: trials `[N, L]`.
            features: `[N, L, k]`.
            advantage, wanted: advantages, and targets of the value function, `[N, L]`.
            policy, critic: as in `improve`.
        """
        mask = reading.mask
        outputs, value = policy(features[mask]), critic(features[mask])
        advantage, wanted = advantage[mask], wanted[mask]
        log_ratio = policy.log_prob(outputs, reading.action[mask]) - reading.log_prob[mask]
        ratio = log_ratio.exp()
        gain = torch.minimum(ratio * advantage, ratio.clamp(1 - self.clip, 1 + self.clip) * advantage).mean()
        error, entropy = ((value - wanted) / critic.spread).square().mean(), policy.entropy(outputs).mean()
        with torch.no_grad():
            told = {
                "clipped": float(((ratio - 1).abs() > self.clip).float().mean()),
                "kl": float((ratio - 1 - log_ratio).mean()),
                "entropy": float(entropy),
                "value_error": float(error),
            }
        return -gain + self.value * error - self.entropy * entropy, told


def generalised_advantages(reading: Reading, value: Tensor, discount: float, gae_lambda: float) -> Tensor:
    """Generalised advantage estimates `[N, L]` over whole trials (Schulman et al. 2016, arXiv 1506.02438, eq. 16).

    A trial goes on over the ends of its episodes, and nothing comes after its last step.

    >>> one = torch.ones(1, 3)
    >>> vector = one.unsqueeze(2)
    >>> trial = Reading(vector, one, one, vector, one, one.bool(), one, one)
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


def _share(name: str, value: float) -> float:
    if check_number(name, value) > 1:
        raise ValueError(f"{name}={value!r}; expected a number from 0 to 1")
    return value
