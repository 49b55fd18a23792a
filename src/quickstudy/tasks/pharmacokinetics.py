"""The concentration of a drug in blood after an oral dose; a task is a person."""

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from quickstudy.data import Tasks
from quickstudy.learner import Split
from quickstudy.tasks.sampling import Batch, Range, as_domain, check_fields, exprel, number, positive, stretch


@final
@dataclass(frozen=True, kw_only=True)
class Pharmacokinetics:
    """y = D k / (V (k - e)) (exp(-e x) - exp(-k x)), e = C / V: a drug is absorbed at rate k and eliminated at rate e.

    x is the time since the dose in hours, y the concentration in mg/L. Predicting a person's curve from a few blood
    samples and the curves of other people is a standard use of hierarchical models. The curves rise steeply and fall
    slowly, at rates that differ by a factor of ten. (In chemistry this is the reaction A -> B -> C.)

    The model is that of Pinheiro and Bates 1995. The ranges are this package's own; they include the least-squares fits
    of eleven of the twelve people in the theophylline data of that paper (the other one absorbed faster).

    Args:
        absorption: k, per hour; a number, or a `(low, high)` range drawn for every task.
        clearance: C, in litres per hour per kg of body weight; a number or a range.
        volume: V, volume of distribution, in litres per kg of body weight; a number or a range.
        dose: D, in mg per kg of body weight; a number or a range.
        domain: the interval from which x is drawn, in hours.
        noise: standard deviation of the observation noise on support and query, in mg/L; the residuals of the fits
            above have 0.2 to 1.1.

    Raises:
        ValueError: for a parameter that is not positive, a domain that is empty or starts before time 0, and a negative
            noise.

    >>> tasks = Pharmacokinetics().sample(8, support=3, query=50, generator=torch.Generator().manual_seed(0), grid=True)
    >>> tasks.query.y[:, 0].max().item(), bool(tasks.query.y.max() < 15)
    (0.0, True)
    """

    absorption: Range = (0.5, 4.0)
    clearance: Range = (0.015, 0.06)
    volume: Range = (0.35, 0.6)
    dose: Range = (3.0, 6.0)
    domain: tuple[float, float] = (0.0, 25.0)
    noise: float = 0.0
    dx: ClassVar[int] = 1
    dy: ClassVar[int] = 1

    def __post_init__(self) -> None:
        check_fields(self, positive, "absorption", "clearance", "volume", "dose")
        check_fields(self, as_domain, "domain")
        if self.domain[0] < 0:
            raise ValueError(f"domain={self.domain}; the dose is taken at time 0: expected 0 <= low < high")
        check_fields(self, number, "noise")

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
        """Draw tasks; the arguments are those of `Sinusoid.sample`.

        Returns:
            Tasks with `info` absorption, clearance, volume and dose, each `[T]`.
        """
        batch = Batch(num_tasks, support, query, split, generator, grid)
        draws = batch.uniform(4)
        info = {
            name: stretch(draws[:, i], getattr(self, name))
            for i, name in enumerate(("absorption", "clearance", "volume", "dose"))
        }
        x = batch.inputs(draws[:, 4:], self.domain)
        y = _concentration(x, *(value.view(-1, 1, 1) for value in info.values()))
        return batch.tasks(x, y, info, self.noise)


def _concentration(times: Tensor, absorption: Tensor, clearance: Tensor, volume: Tensor, dose: Tensor) -> Tensor:
    """The formula in a form that is also valid for equal rates; it is symmetric in the two rates."""
    elimination = clearance / volume
    slow, gap = torch.minimum(absorption, elimination), (absorption - elimination).abs()
    return dose * absorption / volume * times * torch.exp(-slow * times) * exprel(-gap * times)
