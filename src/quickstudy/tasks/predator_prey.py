"""Populations of predators and their prey against time, by a stochastic simulation."""

import math
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, NamedTuple, final

import torch
from torch import Tensor

from quickstudy.data import Tasks
from quickstudy.learner import Split
from quickstudy.tasks.sampling import Batch, Range, as_domain, as_range, check_fields, number, positive, stretch

_RANGES = ("growth", "predation", "death", "conversion", "volatility", "scale")


@final
@dataclass(frozen=True, kw_only=True)
class PredatorPrey:
    """Stochastic Lotka-Volterra equations: x is the time in years, and y holds s U, the prey, and s V, the predators.

    dU = U (a - b V) dt + q U^(1/6) dW1,    dV = V (g U - d) dt + q V^(1/6) dW2

    as in Bruinsma et al. 2023 (Autoregressive CNPs, arXiv 2303.14468), whose ranges are the defaults. They resemble the
    hares and lynxes in the records of the Hudson's Bay Company, in thousands. The exponent 1/6 makes the noise matter
    most in small populations, so that none dies out; a population that the noise makes negative is reflected at 0. Both
    populations are observed at the same times and without noise. (In the publication each has times of its own.)

    A task of *interpolation* has support and query points in the whole domain. A task of *forecasting* has its support
    before a time in the middle half of the domain, which is random, and its query after it.

    Args:
        growth: a, per year; a number, or a `(low, high)` range drawn for every task.
        predation: b, per year and predator; a number or a range.
        death: d, per year; a number or a range.
        conversion: g, per year and prey; a number or a range.
        volatility: q, for time in years; a number or a range.
        scale: s; a number or a range.
        start: U and V at the beginning of the simulation, drawn separately; a number or a range.
        forecasting: the share of forecasting tasks, from 0 to 1.
        domain: the interval from which x is drawn.
        lead: years that are simulated before the domain begins, to forget the start.
        step: length of a step of the simulation, in years, at most 1. With a step of 1/80 year in place of 1/10 the
            means of both populations are 1 to 3% smaller.

    Raises:
        ValueError: for a rate, a scale, a start or a step that is not positive, a negative volatility or lead, a share
            outside [0, 1], an empty range or domain.

    >>> tasks = PredatorPrey(step=0.5).sample(4, support=20, query=10, generator=torch.Generator().manual_seed(0))
    >>> tasks.query.y.shape, bool((tasks.query.y >= 0).all())
    (torch.Size([4, 10, 2]), True)
    """

    growth: Range = (0.2, 0.8)
    predation: Range = (0.04, 0.08)
    death: Range = (0.8, 1.2)
    conversion: Range = (0.04, 0.08)
    volatility: Range = (0.5, 10.0)
    scale: Range = (1.0, 5.0)
    start: Range = (5.0, 100.0)
    forecasting: float = 0.0
    domain: tuple[float, float] = (0.0, 100.0)
    lead: float = 10.0
    step: float = 0.1
    dx: ClassVar[int] = 1
    dy: ClassVar[int] = 2

    def __post_init__(self) -> None:
        check_fields(self, positive, "growth", "predation", "death", "conversion", "scale", "start")
        check_fields(self, partial(as_range, least=0), "volatility")
        check_fields(self, as_domain, "domain")
        check_fields(self, number, "forecasting", "lead", "step")
        if self.forecasting > 1:
            raise ValueError(f"forecasting={self.forecasting}; expected a share from 0 to 1")
        if not 0 < self.step <= 1:
            raise ValueError(f"step={self.step}; expected a length above 0 of at most 1 year: longer ones are unstable")

    def sample(
        self,
        num_tasks: int,
        *,
        support: int,
        query: int,
        split: Split = "train",
        generator: torch.Generator | None = None,
        grid: bool = False,
    ) -> Tasks:
        """Draw tasks; the arguments are those of `Sinusoid.sample`. A grid always covers the whole domain.

        Returns:
            Tasks with `info` growth, predation, death, conversion, volatility and scale, is_forecast (bool) and now,
            the time after which the query points of a forecasting task lie, each `[T]`.
        """
        batch = Batch(num_tasks, support, query, split, generator, grid)
        draws = batch.uniform(10)
        info = {name: stretch(draws[:, i], getattr(self, name)) for i, name in enumerate(_RANGES)}
        info |= {"is_forecast": draws[:, 6] < self.forecasting, "now": self._middle(draws[:, 7])}
        begin, (low, high) = stretch(draws[:, 8:10], self.start).T, self.domain
        steps = math.ceil((high - low + self.lead) / self.step)
        white = batch.draw(torch.randn, (num_tasks, steps * 2), axis=0).view(num_tasks, steps, 2)
        x = self._times(batch.inputs(draws[:, 10:], self.domain), info, batch)
        rates = Rates(*(info[name] for name in _RANGES[:5]))
        path = simulate(begin, rates, white.permute(1, 2, 0), self.step)
        y = _between(path.permute(2, 0, 1), (x.squeeze(2) - low + self.lead) / self.step)
        return batch.tasks(x, y * info["scale"].view(-1, 1, 1), info)

    def _middle(self, draws: Tensor) -> Tensor:
        """Times in the middle half of the domain."""
        low, high = self.domain
        return stretch(draws, (low + (high - low) / 4, high - (high - low) / 4))

    def _times(self, x: Tensor, info: dict[str, Tensor], batch: Batch) -> Tensor:
        """`x [T, N + M, 1]`, of forecasting tasks with the support before `now` and the query after it."""
        low, high = self.domain
        share, now = (x - low) / (high - low), info["now"].view(-1, 1, 1)
        before, after = low + share * (now - low), x if batch.grid else now + share * (high - now)
        moved = torch.cat([before[:, : batch.support], after[:, batch.support :]], 1)
        return torch.where(info["is_forecast"].view(-1, 1, 1), moved, x)


class Rates(NamedTuple):
    """The parameters of the equations, each `[T]`."""

    growth: Tensor
    predation: Tensor
    death: Tensor
    conversion: Tensor
    volatility: Tensor


def simulate(start: Tensor, rates: Rates, white: Tensor, step: float) -> Tensor:
    """Populations `[steps + 1, 2, T]` after each step.

    A step multiplies U by exp((a - b V) step), then V by exp((g U - d) step) with the new U, and then adds the noise.
    Without noise this is the symplectic Euler method for log U and log V: orbits stay closed at any length of time.

    Args:
        start: U and V at the beginning, `[2, T]`.
        rates: the parameters.
        white: standard normal numbers, `[steps, 2, T]`.
        step: length of a step.
    """
    grow, eaten, starve, fed = (rate * step for rate in rates[:4])
    path = start.new_empty(len(white) + 1, *start.shape)
    path[0] = start
    now = start.clone()
    prey, predators = now
    for place, kick in enumerate(white * (rates.volatility * math.sqrt(step)), 1):
        prey *= torch.addcmul(grow, predators, eaten, value=-1).exp_()
        predators *= torch.addcmul(-starve, prey, fed).exp_()
        now.addcmul_(now.pow(1 / 6), kick).abs_()
        path[place] = now
    return path


def _between(nodes: Tensor, places: Tensor) -> Tensor:
    """Linear interpolation of `nodes [T, K, 2]` at `places [T, P]`, in units of nodes."""
    first = places.long().clamp_(0, nodes.shape[1] - 2)
    share = (places - first).unsqueeze(2)
    low, high = (nodes.gather(1, at.unsqueeze(2).expand(-1, -1, nodes.shape[2])) for at in (first, first + 1))
    return low + share * (high - low)
