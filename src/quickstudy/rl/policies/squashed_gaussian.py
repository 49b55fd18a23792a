"""Normal distributions squashed into the bounds of a Box."""

import math
from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quickstudy.rl.policies.bounds import Bounds, check_bounds
from quickstudy.rl.policies.drawing import normal_noise
from quickstudy.rl.policies.normal import normal_draw, normal_entropy, normal_kl, normal_log_prob


@final
class SquashedGaussianPolicy(nn.Module):
    """Actions between bounds: the tanh of a normal variable, scaled (Haarnoja et al. 2018, arXiv 1801.01290, app. C):

        a = (low + high) / 2 + (high - low) / 2 tanh(u),     u ~ N(mu(s), diag(sd(s)^2))
        log p(a) = log N(u) - sum log (high - low) / 2 (1 - tanh(u)^2)

    The outputs are the mean and the log standard deviation of u, concatenated, `[..., 2 da]`. The KL divergence is that
    of u, as squashing is one to one. `mode` is the action at u = mu, which is the median of each component; where sd is
    large the density is higher near the bounds. `entropy` has no closed form: it is computed by quadrature, for each
    component, with an error below 1e-5 nats (sd <= e^2).

    Args:
        network: any module `[N, *do] -> [N, 2 da]`, to the mean and the log standard deviation of u; to the mean alone,
            `[N, da]`, where `log_std` is a number.
        low, high: the bounds, `[da]` each: `action_space.low` and `action_space.high` of the environment.
        log_std: None, as in SAC: the network gives the log standard deviation. A number: the initial value of a learned
            vector that does not depend on the state, as in TRPO.
        log_std_range: the smallest and the largest log standard deviation; beyond them it is clipped. (-20, 2) as in
            the code of Haarnoja et al.

    Raises:
        ValueError: for bounds that are not finite vectors with low < high, a range that is not one, and a network whose
            outputs have another width.

    >>> import quickstudy as qs
    >>> policy = SquashedGaussianPolicy(qs.nets.MLP(3, [64, 64], 2), low=[-2.0], high=[2.0])
    >>> outputs = policy(torch.zeros(5, 3))
    >>> noise = policy.noise(outputs, generator=torch.Generator().manual_seed(0))[0]
    >>> action, log_prob = policy.act_and_log_prob(outputs, noise)
    >>> action.shape, bool((action.abs() < 2).all()), log_prob.shape
    (torch.Size([5, 1]), True, torch.Size([5]))
    """

    low: Tensor
    high: Tensor
    log_std: nn.Parameter | None

    def __init__(
        self,
        network: nn.Module,
        low: Bounds,
        high: Bounds,
        *,
        log_std: float | None = None,
        log_std_range: tuple[float, float] = (-20.0, 2.0),
    ):
        super().__init__()
        below, above = check_bounds(low, high)
        least, most = log_std_range
        if not -math.inf < least < most < math.inf:
            raise ValueError(f"log_std_range={log_std_range!r}; expected two finite numbers, the smaller one first")
        self.network, self.action_dim = network, len(below)
        self.initial_log_std, self.log_std_range = log_std, (least, most)
        self.register_buffer("low", below, persistent=False)
        self.register_buffer("high", above, persistent=False)
        learned = None if log_std is None else nn.Parameter(torch.full((self.action_dim,), float(log_std)))
        self.register_parameter("log_std", learned)

    def config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            "network": self.network,
            "low": self.low.tolist(),
            "high": self.high.tolist(),
            "log_std": self.initial_log_std,
            "log_std_range": list(self.log_std_range),
        }

    def forward(self, observation: Tensor, **inputs: Tensor) -> Tensor:
        """Outputs `[N, 2 da]`: the mean and the log standard deviation of u."""
        found: Tensor = self.network(observation, **inputs)
        width = self.action_dim * (2 if self.log_std is None else 1)
        if found.shape[-1] != width:
            raise ValueError(
                f"the policy's network gave {list(found.shape)}; its last layer must have {width} outputs: "
                f"the mean{' and the log standard deviation' if self.log_std is None else ''} of {self.action_dim} "
                "components"
            )
        mean, log_std = found.chunk(2, -1) if self.log_std is None else (found, self.log_std.expand_as(found))
        return torch.cat([mean, log_std.clamp(*self.log_std_range)], -1)

    def noise(self, outputs: Tensor, *, steps: int = 1, generator: torch.Generator | None = None) -> Tensor:
        """Standard normal draws `[steps, ..., da]`."""
        return normal_noise(outputs, self.action_dim, steps, generator)

    def act(self, outputs: Tensor, noise: Tensor) -> Tensor:
        """The actions `[..., da]` at u = mean + sd * noise, which have derivatives with respect to outputs."""
        return self._squash(normal_draw(outputs, noise))

    def act_and_log_prob(self, outputs: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The actions `[..., da]` and their log-densities `[...]`, with derivatives of both with respect to outputs.

        The log-density is computed from u, and so is exact however close to a bound the action is.
        """
        u = normal_draw(outputs, noise)
        return self._squash(u), normal_log_prob(outputs, u) - (_log_slope(u) + self._half().log()).sum(-1)

    def sample(self, outputs: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Actions `[..., da]`."""
        return self.act(outputs, self.noise(outputs, generator=generator)[0])

    def mode(self, outputs: Tensor) -> Tensor:
        """The action `[..., da]` at the mean of u, the median of each component."""
        return self._squash(outputs.chunk(2, -1)[0])

    def log_prob(self, outputs: Tensor, action: Tensor) -> Tensor:
        """The log-density `[...]` of the action, summed over its components; -inf beyond the bounds.

        Its distances to the bounds determine u: log((a - low) / (high - a)) / 2. An action that was rounded to a bound
        counts as the closest number within, about (high - low) / 10^7 away from it in single precision.
        """
        within = self._within(action)
        below, above, right = within - self.low, self.high - within, 2 * within - self.low - self.high
        u = torch.where(right > 0, (right / above).log1p(), -(-right / below).log1p()) / 2  # exact around 0, too
        slope = below.log() + above.log() - self._half().log()
        density = normal_log_prob(outputs, u) - slope.sum(-1)
        return torch.where(((action < self.low) | (action > self.high)).any(-1), -math.inf, density)

    def kl(self, old: Tensor, new: Tensor) -> Tensor:
        """KL(old || new), `[...]`, which is that of u."""
        return normal_kl(old, new)

    def entropy(self, outputs: Tensor) -> Tensor:
        """The entropy H(u) + sum E[log (high - low) / 2 (1 - tanh(u)^2)], `[...]`, in nats, by quadrature."""
        mean, log_std = outputs.unsqueeze(-1).chunk(2, -2)
        z = torch.linspace(-8, 8, 129, dtype=outputs.dtype, device=outputs.device)  # trapezoids: exponentially accurate
        weight = (-z.square() / 2).softmax(0)
        slope = (weight * _log_slope(mean + log_std.exp() * z)).sum(-1)
        return normal_entropy(outputs) + (slope + self._half().log()).sum(-1)

    def _half(self) -> Tensor:
        return (self.high - self.low) / 2

    def _squash(self, u: Tensor) -> Tensor:
        return self._within(torch.addcmul((self.low + self.high) / 2, self._half(), u.tanh()))

    def _within(self, action: Tensor) -> Tensor:
        """The action, moved off the bounds by the size of rounding."""
        margin = torch.finfo(action.dtype).eps * self._half()
        low = torch.maximum(self.low + margin, torch.nextafter(self.low, self.high))
        high = torch.minimum(self.high - margin, torch.nextafter(self.high, self.low))
        return torch.minimum(torch.maximum(action, low), high)


def _log_slope(u: Tensor) -> Tensor:
    """log(1 - tanh(u)^2), exact for all u."""
    return math.log(4) + F.logsigmoid(2 * u) + F.logsigmoid(-2 * u)
