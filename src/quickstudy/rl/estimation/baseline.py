"""Baselines: values of observations, fitted to returns.

`baseline.fit(episodes, returns)` returns a function `(observation [T, E, H, *do], time [T, E, H]) -> value [T, E, H]`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.checks import check_number
from quickstudy.rl.episodes import Episodes

Value = Callable[[Tensor, Tensor], Tensor]


class Baseline(Protocol):
    """Fits the values of observations."""

    def fit(self, episodes: Episodes, returns: Tensor) -> Value:
        """The function `(observation, time) -> value [T, E, H]` fitted to the returns `[T, E, H]` where not masked."""


@final
@dataclass(frozen=True, kw_only=True)
class LinearBaseline:
    """Ridge regression, separately for each task, on features of observation and time (Duan et al. 2016, in rllab).

        phi(s, t) = [o, o^2, tau, tau^2, tau^3, 1],     o = clip(s, -10, 10),  tau = t / 100
        w = argmin sum (w . phi - R)^2 + ridge |w|^2

    All tasks are solved in one batch in float64; a task with a singular system is solved again with ten times the
    ridge. Nothing is shared between tasks. As in Finn et al. 2017, it is fitted to the episodes it is used on.

    Args:
        ridge: weight of the penalty; 1e-5 as in rllab.
        clip: largest absolute value of an observation in the features; 10 as in rllab.

    Raises:
        ValueError: for returns that are not finite.

    >>> import quickstudy as qs
    >>> from quickstudy.rl.episodes import Episodes
    >>> time = torch.arange(50).expand(3, 4, 50)
    >>> s, no, yes = torch.randn(3, 4, 50, 2), torch.zeros(3, 4, 50).bool(), torch.ones(3, 4, 50).bool()
    >>> reward = s.sum(-1)
    >>> episodes = Episodes(s, s, reward, s, reward, no, no, yes, time)
    >>> value = LinearBaseline().fit(episodes, 2 * s[..., 0] - time / 100)
    >>> torch.allclose(value(s, time), 2 * s[..., 0] - time / 100, atol=1e-4)
    True
    """

    ridge: float = 1e-5
    clip: float = 10.0

    def __post_init__(self) -> None:
        for name in ("ridge", "clip"):
            if not check_number(name, getattr(self, name)):
                raise ValueError(f"{name}=0; expected a number above 0")

    def config(self) -> dict[str, float]:
        """The constructor's arguments."""
        return {"ridge": self.ridge, "clip": self.clip}

    def fit(self, episodes: Episodes, returns: Float[Tensor, "T E H"]) -> Value:
        """The value function of each task."""
        phi = self.features(episodes.observation, episodes.time)
        features = torch.where(episodes.mask.unsqueeze(-1), phi, 0).flatten(1, 2)
        target = torch.where(episodes.mask, returns, 0).double().flatten(1)
        gram, moment = features.mT @ features, features.mT @ target.unsqueeze(-1)
        weights = _solved(gram, moment, self.ridge)

        def value(observation: Tensor, time: Tensor) -> Tensor:
            phi = self.features(observation, time)
            return (phi.flatten(1, 2) @ weights).reshape(time.shape).to(returns.dtype)

        return value

    def features(self, observation: Tensor, time: Tensor) -> Float[Tensor, "T E H F"]:
        """The features phi, in float64."""
        o = observation.detach().reshape(*time.shape, -1).double().clamp(-self.clip, self.clip)
        tau = time.unsqueeze(-1).double() / 100
        return torch.cat([o, o.square(), tau, tau.square(), tau**3, torch.ones_like(tau)], -1)


@final
class NetworkBaseline:
    """A value network shared by all tasks. Every fit trains it further, from its present weights:

        V = argmin mean (V(s) - R)^2,     by Adam

    Args:
        network: any module from `[N, *do]` to `[N, 1]`.
        lr: learning rate of Adam.
        epochs: passes over the transitions at each fit.
        batch_size: transitions in a step of Adam.
        generator: random numbers for shuffling.

    Raises:
        ValueError: for episodes without a transition, or outputs of another shape.

    >>> import quickstudy as qs
    >>> baseline = NetworkBaseline(qs.nets.MLP(2, [32], 1), lr=1e-2, epochs=1)
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        lr: float = 1e-3,
        epochs: int = 10,
        batch_size: int = 256,
        generator: torch.Generator | None = None,
    ):
        self.network, self.epochs, self.batch_size, self.generator = network, epochs, batch_size, generator
        self.optimizer = torch.optim.Adam(network.parameters(), lr=lr)

    def fit(self, episodes: Episodes, returns: Float[Tensor, "T E H"]) -> Value:
        """The network, after `epochs` passes over these transitions."""
        x, y = episodes.observation[episodes.mask].detach(), returns[episodes.mask].detach()
        if not len(y):
            raise ValueError("the episodes hold no transition to fit a baseline to; roll out at least one")
        with torch.enable_grad():
            for _ in range(self.epochs):
                order = torch.randperm(len(y), generator=self.generator).to(y.device)
                for index in order.split(self.batch_size):
                    loss = (self._at(x[index]) - y[index]).square().mean()
                    self.optimizer.zero_grad()
                    loss.backward()
                    self.optimizer.step()
        return self.value

    @torch.no_grad()
    def value(self, observation: Tensor, time: Tensor) -> Tensor:
        """The network's values `[T, E, H]`; `time` is not used."""
        return self._at(observation.flatten(0, time.dim() - 1)).reshape(time.shape)

    def _at(self, x: Tensor) -> Tensor:
        value = self.network(x)
        if value.shape != (len(x), 1):
            raise ValueError(f"the value network gave {list(value.shape)} for {len(x)} observations; expected [N, 1]")
        return value.squeeze(1)


def _solved(gram: Tensor, moment: Tensor, ridge: float) -> Tensor:
    """`w [T, F, 1]` with `(gram + ridge I) w = moment`; the ridge is increased for tasks where this is singular."""
    if not bool(torch.isfinite(moment).all() & torch.isfinite(gram).all()):
        raise ValueError("returns or observations have NaN or infinite values; a baseline cannot be fitted to them")
    eye = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    amount = torch.full((len(gram), 1, 1), ridge, dtype=gram.dtype, device=gram.device)
    least = 1e-12 * gram.diagonal(dim1=1, dim2=2).amax(1).clamp(min=1e-12)[:, None, None]  # the least with an effect
    for _ in range(16):
        factor, failed = torch.linalg.cholesky_ex(gram + amount * eye)
        bad = failed != 0
        if not bool(bad.any()):
            break
        amount = torch.where(bad[:, None, None], torch.maximum(10 * amount, least), amount)
    return torch.cholesky_solve(moment, factor)
