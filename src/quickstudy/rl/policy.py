"""Policies: networks from observations to the parameters of a distribution over actions.

A policy's forward pass returns the parameters of this distribution, which are called its outputs, `[..., k]`. Samples,
log-probabilities, KL divergences and entropies depend on outputs alone, not on the module's weights, so they also work
with the outputs of adapted copies: `policy.log_prob(adapted(x), action)`.
"""

import math
from typing import Any, Protocol, final

import torch
from torch import Tensor, nn

from quickstudy.checks import check_whole
from quickstudy.rl.policies.bounds import Bounds, check_bounds
from quickstudy.rl.policies.categories import categorical_entropy, categorical_kl, categorical_log_prob
from quickstudy.rl.policies.drawing import gumbel_noise, normal_noise
from quickstudy.rl.policies.normal import normal_draw, normal_entropy, normal_kl, normal_log_prob


class Policy(Protocol):
    """A module that maps observations to distributions over actions. A class fits the contract if it has these methods.

    All methods but `__call__` must depend on `outputs` alone, not on the module's parameters.
    """

    def __call__(self, observation: Tensor, **inputs: Tensor) -> Tensor:
        """Outputs `[N, k]` at `observation [N, *do]`; the package's policies pass `inputs` on to their network."""

    def noise(self, outputs: Tensor, *, steps: int = 1, generator: torch.Generator | None = None) -> Tensor:
        """Draw the noise of `steps` actions, `[steps, ..., n]`, for outputs of this shape."""

    def act(self, outputs: Tensor, noise: Tensor) -> Tensor:
        """The actions `[..., *da]` determined by outputs and noise."""

    def sample(self, outputs: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw actions: `act` with new noise."""

    def mode(self, outputs: Tensor) -> Tensor:
        """The most probable action."""

    def log_prob(self, outputs: Tensor, action: Tensor) -> Tensor:
        """The log-probability `[...]` of the action as it was drawn, before any clipping."""

    def kl(self, old: Tensor, new: Tensor) -> Tensor:
        """KL(old || new), `[...]`, of the distributions with these outputs."""

    def entropy(self, outputs: Tensor) -> Tensor:
        """The entropy `[...]`, in nats."""


@final
class GaussianPolicy(nn.Module):
    """Actions with independent normal components (Finn et al. 2017; Schulman et al. 2015):

        a ~ N(mu(s), diag(sd^2)),     sd = max(exp(log_std), min_std)

    A network gives the mean mu; `log_std` is a learned vector, independent of the state. The outputs are the mean and
    the log standard deviation, concatenated, `[..., 2 da]`.

    With bounds, mu and sd are in units in which `low` is -1 and `high` is 1, so that a new policy explores a Box of any
    size: the outputs are (low + high) / 2 + (high - low) / 2 mu and log (high - low) / 2 sd. Actions may still lie
    beyond the bounds, where the environment clips them; those of `SquashedGaussianPolicy` do not.

    Args:
        network: any module from `[N, *do]` to the mean `[N, da]`.
        action_dim: da.
        log_std: initial value of the log standard deviation.
        min_std: the smallest standard deviation; 1e-6 as in the code of Finn et al. 2017.
        low, high: None, or the bounds, `[da]` each: `action_space.low` and `action_space.high` of the environment.

    Raises:
        ValueError: for a network whose outputs are not `da` wide, and for bounds that are not finite vectors of that
            width with low < high.

    >>> import quickstudy as qs
    >>> policy = GaussianPolicy(qs.nets.MLP(4, [64, 64], 2, activation="tanh"), 2)
    >>> outputs = policy(torch.zeros(5, 4))
    >>> action = policy.sample(outputs, torch.Generator().manual_seed(0))
    >>> outputs.shape, action.shape, policy.log_prob(outputs, action).shape
    (torch.Size([5, 4]), torch.Size([5, 2]), torch.Size([5]))
    """

    low: Tensor | None
    high: Tensor | None

    def __init__(
        self,
        network: nn.Module,
        action_dim: int,
        *,
        log_std: float = 0.0,
        min_std: float = 1e-6,
        low: Bounds | None = None,
        high: Bounds | None = None,
    ):
        super().__init__()
        check_whole("action_dim", action_dim)
        if not min_std > 0:
            raise ValueError(f"min_std={min_std!r}; expected a number above 0")
        self.network, self.action_dim, self.initial_log_std, self.min_std = network, action_dim, log_std, min_std
        self.log_std = nn.Parameter(torch.full((action_dim,), float(log_std)))
        bounds: tuple[Tensor | None, Tensor | None] = (None, None)
        if low is not None or high is not None:
            bounds = check_bounds(low, high, action_dim)
        self.register_buffer("low", bounds[0], persistent=False)
        self.register_buffer("high", bounds[1], persistent=False)

    def config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            "network": self.network,
            "action_dim": self.action_dim,
            "log_std": self.initial_log_std,
            "min_std": self.min_std,
            "low": None if self.low is None else self.low.tolist(),
            "high": None if self.high is None else self.high.tolist(),
        }

    def forward(self, observation: Tensor, **inputs: Tensor) -> Tensor:
        """Outputs `[N, 2 da]`: the mean and the log standard deviation."""
        mean = self.network(observation, **inputs)
        if mean.shape[-1] != self.action_dim:
            raise ValueError(
                f"the policy's network gave {list(mean.shape)} and action_dim is {self.action_dim}; "
                f"its last layer must have {self.action_dim} outputs"
            )
        log_std = self.log_std.clamp(min=math.log(self.min_std))
        if self.low is not None and self.high is not None:
            half = (self.high - self.low) / 2
            mean, log_std = torch.addcmul((self.low + self.high) / 2, half, mean), log_std + half.log()
        return torch.cat([mean, log_std.expand_as(mean)], -1)

    def noise(self, outputs: Tensor, *, steps: int = 1, generator: torch.Generator | None = None) -> Tensor:
        """Standard normal draws `[steps, ..., da]`."""
        return normal_noise(outputs, self.action_dim, steps, generator)

    def act(self, outputs: Tensor, noise: Tensor) -> Tensor:
        """The actions mean + sd * noise, `[..., da]`."""
        return normal_draw(outputs, noise)

    def sample(self, outputs: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Actions `[..., da]`."""
        return self.act(outputs, self.noise(outputs, generator=generator)[0])

    def mode(self, outputs: Tensor) -> Tensor:
        """The most probable action, which is the mean, `[..., da]`."""
        return outputs.chunk(2, -1)[0]

    def log_prob(self, outputs: Tensor, action: Tensor) -> Tensor:
        """The log-density `[...]` of the action before any clipping, summed over its components."""
        return normal_log_prob(outputs, action)

    def kl(self, old: Tensor, new: Tensor) -> Tensor:
        """KL(old || new) = sum log(sd'/sd) + (sd^2 + (mu - mu')^2) / (2 sd'^2) - 1/2, `[...]`; a prime marks `new`."""
        return normal_kl(old, new)

    def entropy(self, outputs: Tensor) -> Tensor:
        """The entropy sum(log sd + log(2 pi e) / 2), `[...]`, in nats."""
        return normal_entropy(outputs)


@final
class CategoricalPolicy(nn.Module):
    """Discrete actions 0, 1, ... k - 1; the outputs `[..., k]` of the network are their logits.

    Args:
        network: any module from `[N, *do]` to `[N, k]`.

    >>> import quickstudy as qs
    >>> policy = CategoricalPolicy(qs.nets.MLP(4, [64, 64], 3, activation="tanh"))
    >>> outputs = policy(torch.zeros(5, 4))
    >>> policy.sample(outputs).shape, policy.entropy(torch.zeros(3)).exp().round()
    (torch.Size([5]), tensor(3.))
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"network": self.network}

    def forward(self, observation: Tensor, **inputs: Tensor) -> Tensor:
        """Logits `[N, k]`."""
        return self.network(observation, **inputs)

    def noise(self, outputs: Tensor, *, steps: int = 1, generator: torch.Generator | None = None) -> Tensor:
        """Gumbel draws `[steps, ..., k]`: the argmax of logits + noise is a draw from the softmax of the logits."""
        return gumbel_noise(outputs, steps, generator)

    def act(self, outputs: Tensor, noise: Tensor) -> Tensor:
        """The actions argmax(logits + noise), `[...]`."""
        return (outputs + noise).argmax(-1)

    def sample(self, outputs: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Actions `[...]`, integers."""
        return self.act(outputs, self.noise(outputs, generator=generator)[0])

    def mode(self, outputs: Tensor) -> Tensor:
        """The most probable action, `[...]`."""
        return outputs.argmax(-1)

    def log_prob(self, outputs: Tensor, action: Tensor) -> Tensor:
        """The log-probability `[...]` of the actions, integers `[...]`."""
        return categorical_log_prob(outputs, action)

    def kl(self, old: Tensor, new: Tensor) -> Tensor:
        """KL(old || new) = sum_a p(a) (log p(a) - log p'(a)), `[...]`; a prime marks `new`."""
        return categorical_kl(old, new)

    def entropy(self, outputs: Tensor) -> Tensor:
        """The entropy -sum_a p(a) log p(a), `[...]`, in nats."""
        return categorical_entropy(outputs)
