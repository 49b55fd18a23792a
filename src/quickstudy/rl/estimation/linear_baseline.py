"""A linear baseline, fitted anew to the episodes of each task."""

from dataclasses import dataclass
from functools import lru_cache
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from quickstudy.checks import check_number
from quickstudy.rl.episodes import Episodes
from quickstudy.rl.estimation.baseline import Value

LARGE, PROJECTED = 512, 128  # observations of more numbers, such as pictures, are projected to so many


@final
@dataclass(frozen=True, kw_only=True)
class LinearBaseline:
    """Ridge regression, separately for each task, on features of observation and time (Duan et al. 2016, in rllab).

        phi(s, t) = [o, o^2, tau, tau^2, tau^3, 1],     o = clip(s, -10, 10),  tau = t / 100
        w = argmin sum (w . phi - R)^2 + ridge |w|^2

    Observations of more than 512 numbers, such as pictures, are divided by their root mean square in the task and
    projected to 128 numbers by a fixed random matrix (Johnson and Lindenstrauss 1984): the Gram matrix of a picture of
    84 x 84 x 3 would need 14 GB for each task.

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
        unit = _unit(episodes)
        phi = self.features(episodes.observation, episodes.time, unit)
        features = torch.where(episodes.mask.unsqueeze(-1), phi, 0).flatten(1, 2)
        target = torch.where(episodes.mask, returns, 0).double().flatten(1)
        gram, moment = features.mT @ features, features.mT @ target.unsqueeze(-1)
        weights = _solved(gram, moment, self.ridge)

        def value(observation: Tensor, time: Tensor) -> Tensor:
            phi = self.features(observation, time, unit)
            return (phi.flatten(1, 2) @ weights).reshape(time.shape).to(returns.dtype)

        return value

    def features(
        self, observation: Tensor, time: Tensor, unit: Float[Tensor, " T"] | None = None
    ) -> Float[Tensor, "T E H F"]:
        """The features phi, in float64; large observations are projected, in units of `unit` (1 for None)."""
        o = observation.detach().reshape(*time.shape, -1)
        if o.shape[-1] > LARGE:
            o = o @ _projection(o.shape[-1], o.device).to(o.dtype)
            o = o if unit is None else o / unit[:, None, None, None]
        o = o.double().clamp(-self.clip, self.clip)
        tau = time.unsqueeze(-1).double() / 100
        return torch.cat([o, o.square(), tau, tau.square(), tau**3, torch.ones_like(tau)], -1)


def _unit(episodes: Episodes) -> Tensor | None:
    """The root mean square `[T]` of each task's observations, if they are large; otherwise None."""
    seen, mask = episodes.observation.detach().flatten(3), episodes.mask
    if seen.shape[-1] <= LARGE:
        return None
    squares = torch.where(mask, torch.linalg.vector_norm(seen, dim=-1).square(), 0).sum((1, 2))
    return (squares / (mask.sum((1, 2)).clamp(min=1) * seen.shape[-1])).sqrt().clamp(min=1e-12)


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


@lru_cache(maxsize=4)
def _projection(size: int, device: torch.device) -> Tensor:
    """A fixed random matrix `[size, PROJECTED]` with columns of length about 1."""
    draws = torch.randn(size, PROJECTED, generator=torch.Generator().manual_seed(size), device="cpu")
    return (draws / size**0.5).to(device)
