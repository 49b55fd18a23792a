"""Families of curves with a few parameters, and their exact posterior."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, final

import torch
from torch import Tensor

from quickstudy.data import Examples, Tasks
from quickstudy.learner import Split
from quickstudy.predictive import PointMixture
from quickstudy.tasks.sampling import Batch, stretch

CELLS = 4_096  # of a grid, about
LARGER = (4.0, 2.0, 1.0)  # factors of the noise, one for each grid
FAR = 20.0  # a cell is dropped if its log-likelihood is so far below the largest
MEMBERS = 100  # curves that stand for the posterior


class Parameter(NamedTuple):
    """A parameter of a curve: its name, its smallest and its largest value, and what it is in words.

    It is drawn uniformly; on a logarithmic scale if `log`.
    """

    name: str
    low: float
    high: float
    title: str
    log: bool = False

    def at(self, share: Tensor) -> Tensor:
        """The values at these shares, from 0 to 1, of the way from `low` to `high`."""
        if self.log:
            return self.low * (self.high / self.low) ** share
        return self.low + (self.high - self.low) * share


@final
@dataclass(frozen=True)
class Curves:
    """y = f(theta, x) + noise e, e ~ N(0, 1): the parameters theta are drawn for every task, each by itself.

    Args:
        parameters: the `P` parameters.
        curve: `(theta [..., P], x [..., N]) -> [..., N]`.
        noise: standard deviation of the observation noise.
        domain: the interval from which x is drawn.
    """

    parameters: tuple[Parameter, ...]
    curve: Callable[[Tensor, Tensor], Tensor] = field(repr=False)
    noise: float
    domain: tuple[float, float]
    dx = 1
    dy = 1

    def values(self, shares: Tensor) -> Tensor:
        """Parameters `[..., P]` at these shares of their ranges."""
        return torch.stack([p.at(share) for p, share in zip(self.parameters, shares.unbind(-1), strict=True)], -1)

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
        """Draw tasks; the arguments are those of `quickstudy.tasks.Sinusoid.sample`.

        Returns:
            Tasks with the parameters by their names in `info`, each `[T]`.
        """
        batch = Batch(num_tasks, support, query, split, generator, grid)
        draws = batch.uniform(len(self.parameters))
        theta = self.values(draws[:, : len(self.parameters)])
        x = batch.with_grid(stretch(draws[:, len(self.parameters) :], self.domain).unsqueeze(2), self.domain)
        y = self.curve(theta, x[..., 0]).unsqueeze(2)
        info = {p.name: theta[:, i] for i, p in enumerate(self.parameters)}
        return batch.tasks(x, y, info, self.noise)

    def posterior(self, support: Examples) -> "CurvePosterior":
        """The exact posterior of one task, up to the fineness of its grid."""
        return CurvePosterior(self, support)


@final
class CurvePosterior:
    """A predictor: the posterior of the parameters of one task, on a grid that is fine where the posterior is.

    The prior is uniform over the shares of the ranges, and so all cells of a grid have the same prior. Cells that fit
    much worse than the best are dropped, and the others divided, until the grid is fine. On the way the noise counts as
    larger, so that no cell is dropped whose midpoint alone fits badly.

    Args:
        family: the curves.
        support: `x [1, N, 1]` and `y [1, N, 1]`; N may be 0.
    """

    def __init__(self, family: Curves, support: Examples):
        self.family = family
        self.x, self.y = support.x[0, :, 0].double(), support.y[0, :, 0].double()
        shares, width = _first_grid(len(family.parameters))
        for larger in LARGER:
            fit = self._fit(shares, larger)
            shares, width = _divided(shares[fit > fit.max() - FAR], width)
        self.members = family.values(_systematic(shares, self._fit(shares, 1.0).softmax(0)))

    def __call__(self, x: Tensor) -> PointMixture:
        """The belief about outcomes at `x [1, M, 1]`."""
        curves = self.family.curve(self.members, x[0, :, 0].double().expand(len(self.members), -1))
        means = curves.T[None, :, :, None].to(x)
        logits = means.new_zeros(means.shape[:3])
        return PointMixture(logits, means, torch.full_like(means, self.family.noise**2))

    def functions(self, n: int, generator: torch.Generator | None = None) -> Callable[[Tensor], Tensor]:
        """`n` curves from the posterior, as one function `x [1, M, 1] -> [n, 1, M, 1]`."""
        pick = torch.randint(len(self.members), (n,), generator=generator)
        theta = self.members[pick]

        def drawn(x: Tensor) -> Tensor:
            return self.family.curve(theta, x[0, :, 0].double().expand(n, -1))[:, None, :, None]

        return drawn

    def _fit(self, shares: Tensor, larger: float) -> Tensor:
        """Log-likelihood of the support at each point of the grid, with noise that is `larger`."""
        curves = self.family.curve(self.family.values(shares), self.x.expand(len(shares), -1))
        return -0.5 * ((curves - self.y) / (larger * self.family.noise)).square().sum(1)


def _first_grid(parameters: int) -> tuple[Tensor, float]:
    """Midpoints `[cells, P]` of a grid over the unit cube, and the width of its cells."""
    side = round(CELLS ** (1 / parameters))
    line = (torch.arange(side, dtype=torch.float64) + 0.5) / side
    return torch.cartesian_prod(*[line] * parameters).reshape(-1, parameters), 1 / side


def _divided(shares: Tensor, width: float) -> tuple[Tensor, float]:
    """The cells around these midpoints, each divided into equal parts, as far as the number of cells allows."""
    parameters = shares.shape[1]
    side = max(1, round((CELLS / len(shares)) ** (1 / parameters)))
    line = ((torch.arange(side, dtype=torch.float64) + 0.5) / side - 0.5) * width
    offsets = torch.cartesian_prod(*[line] * parameters).reshape(-1, parameters)
    return (shares.unsqueeze(1) + offsets).flatten(0, 1), width / side


def _systematic(shares: Tensor, weights: Tensor) -> Tensor:
    """`MEMBERS` rows of `shares`, each about as often as its weight says (systematic resampling, without chance)."""
    levels = (torch.arange(MEMBERS, dtype=torch.float64) + 0.5) / MEMBERS
    return shares[torch.searchsorted(weights.cumsum(0).clamp_max(1.0), levels).clamp_max(len(shares) - 1)]
