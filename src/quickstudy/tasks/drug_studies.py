"""Simulated studies of drugs: several people take the same drug; a task is a person."""

import math
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from quickstudy.checks import check_choice, check_whole
from quickstudy.data import Tasks
from quickstudy.learner import Split
from quickstudy.tasks.compartments import Compartments, Route
from quickstudy.tasks.sampling import Batch, Range, bounds, check_fields, positive, stretch

_TAILS = 5  # degrees of freedom of the errors


@final
@dataclass(frozen=True, kw_only=True)
class DrugStudies:
    """Concentrations of a drug in people's blood: a drug has a typical person, and people differ from it at random.

    x is the time since the dose in hours, y the natural logarithm of the concentration over the dose. Every `people`
    tasks that follow one another are the people of one study, whose drug, error and sampling times are its own.

    log y = log f(x; theta_i) + eps,  log theta_i ~ N(log theta, omega^2).  f is that of `Compartments`; eps is
    Student's t with 5 degrees of freedom and scale (error^2 + (jitter f' / f)^2)^(1/2), as sampling times are not
    exact. Samples are denser soon after the dose, as in practice: times are that of the last sample, times u^2 for
    uniform u.

    The ranges are this package's own: half-lives from one hour to one day, volumes from that of blood to that of drugs
    that bind to tissue, and people who differ by 10 to 50 per cent. All are drawn uniformly on the logarithmic scale.

    Args:
        people: number of people in a study.
        compartments: 1 or 2.
        route: "oral", or "bolus" for an injection.
        half_life: log(2) V / C of the typical person, in hours; a number, or a `(low, high)` range.
        volume: V, in dose per concentration: litres, or litres per kg of body weight for doses per kg.
        absorption: A, per hour; the rate of absorption is that of elimination plus A.
        tissue: volume of the second compartment, relative to V.
        exchange: flow to the second compartment, relative to the clearance C.
        between: standard deviation of every logarithm between people.
        error: relative error of a concentration.
        jitter: error of the sampling times, in hours.
        last: time of the last sample, in half-lives.

    Raises:
        ValueError: for a number that is not positive, and an unknown route.

    >>> tasks = DrugStudies(people=6).sample(12, support=4, query=7, generator=torch.Generator().manual_seed(0))
    >>> tasks.info["study"].tolist()
    [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1]
    """

    people: int = 12
    compartments: int = 1
    route: Route = "oral"
    half_life: Range = (1.0, 24.0)
    volume: Range = (0.05, 10.0)
    absorption: Range = (0.3, 3.0)
    tissue: Range = (0.3, 3.0)
    exchange: Range = (0.3, 3.0)
    between: Range = (0.1, 0.5)
    error: Range = (0.03, 0.2)
    jitter: Range = (0.01, 0.3)
    last: Range = (3.0, 6.0)
    dx: ClassVar[int] = 1
    dy: ClassVar[int] = 1

    def __post_init__(self) -> None:
        check_fields(self, check_whole, "people", "compartments")
        check_choice("route", self.route, ("oral", "bolus"))
        if self.compartments > 2:
            raise ValueError(f"compartments={self.compartments}; expected 1 or 2")
        names = ("half_life", "volume", "absorption", "tissue", "exchange", "between", "error", "jitter", "last")
        check_fields(self, positive, *names)

    @property
    def model(self) -> Compartments:
        """The compartment model of a person."""
        return Compartments(self.compartments, self.route)

    def sample(
        self,
        num_tasks: int,
        *,
        support: int,
        query: int,
        split: Split = "train",
        generator: torch.Generator | None = None,
    ) -> Tasks:
        """Draw tasks; the arguments are those of `Sinusoid.sample`.

        Returns:
            Tasks with `info` study, and the person's parameters by their names in `Compartments.names`, each `[T]`.
        """
        batch = Batch(num_tasks, support, query, split, generator)
        names = self.model.names
        levels = 2 * len(names) + 3
        draws = batch.uniform(levels).double()
        own = batch.normal(len(names), 0).double()
        study = torch.arange(num_tasks, device=draws.device) // self.people
        drug = draws[study * self.people, :levels]
        typical = self._typical(drug[:, : len(names)])
        between = _spread(drug[:, len(names) : -3], self.between)
        logs = typical + between * own
        hours = self._hours(draws[:, levels:], typical, drug[:, -1])
        level, slope = self.model.level_and_slope(logs, hours)
        error, jitter = (_spread(drug[:, place], value) for place, value in ((-3, self.error), (-2, self.jitter)))
        scale = (error.unsqueeze(1).square() + (jitter.unsqueeze(1) * slope).square()).sqrt()
        noise = batch.noise(_TAILS + 1).to(scale)
        y = level + scale * noise[..., 0] / noise[..., 1:].square().mean(2).sqrt()
        kind = torch.get_default_dtype()
        info = {"study": study} | {name: logs[:, i].exp().to(kind) for i, name in enumerate(names)}
        return batch.tasks(hours.unsqueeze(2).to(kind), y.unsqueeze(2).to(kind), info)

    def _typical(self, draws: Tensor) -> Tensor:
        """Logarithms `[T, P]` of the parameters of the typical person, from draws in [0, 1)."""
        found = [_spread(draws[:, 0], self.volume).log()]
        rate = math.log(2) / _spread(draws[:, 1], self.half_life)
        found.append(found[0] + rate.log())
        for i, name in enumerate(self.model.names[2:], 2):
            found.append(_spread(draws[:, i], getattr(self, name)).log())
        return torch.stack(found, 1)

    def _hours(self, draws: Tensor, typical: Tensor, last: Tensor) -> Tensor:
        """Sampling times `[T, N + M]`, from draws in [0, 1)."""
        half_life = math.log(2) * (typical[:, 0] - typical[:, 1]).exp()
        whole = half_life * _spread(last, self.last)
        return whole.unsqueeze(1) * (0.1 + 0.9 * draws).square()


def _spread(draws: Tensor, value: Range) -> Tensor:
    """Draws from [0, 1) moved to the range `value`, uniformly on the logarithmic scale."""
    low, high = bounds(value)
    return stretch(draws, (math.log(low), math.log(high))).exp()
