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
from quickstudy.learner import check_generator


class Policy(Protocol):
    """A module that maps observations to distributions over actions. A class fits the contract if it has these methods.

    All methods but `__call__` must depend on `outputs` alone, not on the module's parameters.
    """

    def __call__(self, observation: Tensor) -> Tensor:
        """Outputs `[N, k]` at `observation [N, *do]`."""

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

    Args:
        network: any module from `[N, *do]` to the mean `[N, da]`.
        action_dim: da.
        log_std: initial value of the log standard deviation.
        min_std: the smallest standard deviation; 1e-6 as in the code of Finn et al. 2017.

    Raises:
        ValueError: for a network whose outputs are not `da` wide.

    >>> import quickstudy as qs
    >>> policy = GaussianPolicy(qs.nets.MLP(4, [64, 64], 2, activation="tanh"), 2)
    >>> outputs = policy(torch.zeros(5, 4))
    >>> action = policy.sample(outputs, torch.Generator().manual_seed(0))
    >>> outputs.shape, action.shape, policy.log_prob(outputs, action).shape
    (torch.Size([5, 4]), torch.Size([5, 2]), torch.Size([5]))
    """

    def __init__(self, network: nn.Module, action_dim: int, *, log_std: float = 0.0, min_std: float = 1e-6):
        super().__init__()
        check_whole("action_dim", action_dim)
        if not min_std > 0:
            raise ValueError(f"min_std={min_std!r}; expected a number above 0")
        self.network, self.action_dim, self.initial_log_std, self.min_std = network, action_dim, log_std, min_std
        self.log_std = nn.Parameter(torch.full((action_dim,), float(log_std)))

    def config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            "network": self.network,
            "action_dim": self.action_dim,
            "log_std": self.initial_log_std,
            "min_std": self.min_std,
        }

    def forward(self, observation: Tensor) -> Tensor:
        """Outputs `[N, 2 da]`: the mean and the log standard deviation."""
        mean = self.network(observation)
        if mean.shape[-1] != self.action_dim:
            raise ValueError(
                f"the policy's network gave {list(mean.shape)} and action_dim is {self.action_dim}; "
                f"its last layer must have {self.action_dim} outputs"
            )
        return torch.cat([mean, self.log_std.clamp(min=math.log(self.min_std)).expand_as(mean)], -1)

    def noise(self, outputs: Tensor, *, steps: int = 1, generator: torch.Generator | None = None) -> Tensor:
        """Standard normal draws `[steps, ..., da]`."""
        shape = (steps, *outputs.shape[:-1], self.action_dim)
        return torch.randn(shape, dtype=outputs.dtype, **_drawn_by(outputs, generator)).to(outputs.device)

    def act(self, outputs: Tensor, noise: Tensor) -> Tensor:
        """The actions mean + sd * noise, `[..., da]`."""
        mean, log_std = outputs.chunk(2, -1)
        return torch.addcmul(mean, log_std.contiguous().exp(), noise)  # exp of a strided tensor is 3 times slower

    def sample(self, outputs: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Actions `[..., da]`."""
        return self.act(outputs, self.noise(outputs, generator=generator)[0])

    def mode(self, outputs: Tensor) -> Tensor:
        """The most probable action, which is the mean, `[..., da]`."""
        return outputs.chunk(2, -1)[0]

    def log_prob(self, outputs: Tensor, action: Tensor) -> Tensor:
        """The log-density `[...]` of the action before any clipping, summed over its components."""
        mean, log_std = outputs.chunk(2, -1)
        z = (action - mean) * (-log_std).exp()
        return -(z.square() / 2 + log_std + math.log(2 * math.pi) / 2).sum(-1)

    def kl(self, old: Tensor, new: Tensor) -> Tensor:
        """KL(old || new) = sum log(sd'/sd) + (sd^2 + (mu - mu')^2) / (2 sd'^2) - 1/2, `[...]`; a prime marks `new`."""
        (mean, log_std), (new_mean, new_log_std) = old.chunk(2, -1), new.chunk(2, -1)
        shrunk = log_std - new_log_std
        z = (mean - new_mean) * (-new_log_std).exp()
        return ((torch.expm1(2 * shrunk) + z.square()) / 2 - shrunk).sum(-1)

    def entropy(self, outputs: Tensor) -> Tensor:
        """The entropy sum(log sd + log(2 pi e) / 2), `[...]`, in nats."""
        return (outputs.chunk(2, -1)[1] + math.log(2 * math.pi * math.e) / 2).sum(-1)


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

    def forward(self, observation: Tensor) -> Tensor:
        """Logits `[N, k]`."""
        return self.network(observation)

    def noise(self, outputs: Tensor, *, steps: int = 1, generator: torch.Generator | None = None) -> Tensor:
        """Gumbel draws `[steps, ..., k]`: the argmax of logits + noise is a draw from the softmax of the logits."""
        where = _drawn_by(outputs, generator)
        drawn = torch.empty((steps, *outputs.shape), dtype=outputs.dtype, device=where["device"])
        return -drawn.exponential_(generator=generator).log_().to(outputs.device)

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
        return outputs.log_softmax(-1).gather(-1, action.long().unsqueeze(-1)).squeeze(-1)

    def kl(self, old: Tensor, new: Tensor) -> Tensor:
        """KL(old || new) = sum_a p(a) (log p(a) - log p'(a)), `[...]`; a prime marks `new`."""
        log_p = old.log_softmax(-1)
        return (log_p.exp() * (log_p - new.log_softmax(-1))).sum(-1)

    def entropy(self, outputs: Tensor) -> Tensor:
        """The entropy -sum_a p(a) log p(a), `[...]`, in nats."""
        log_p = outputs.log_softmax(-1)
        return -(log_p.exp() * log_p).sum(-1)


def _drawn_by(outputs: Tensor, generator: torch.Generator | None) -> dict[str, Any]:
    """Arguments with which `torch.rand` and similar functions draw on the generator's device."""
    check_generator(generator)
    return {"generator": generator, "device": outputs.device if generator is None else generator.device}
