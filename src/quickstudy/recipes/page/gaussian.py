"""Functions from Gaussian processes of unknown length scale and scale, and their exact posterior."""

from collections.abc import Callable
from typing import final

import torch
from torch import Tensor

from quickstudy.data import Examples
from quickstudy.predictive import PointMixture
from quickstudy.tasks import GaussianProcess
from quickstudy.tasks.sampling import bounds

SIDE = 6  # length scales, and scales, of the grid


@final
class GPPosterior:
    """A predictor: a mixture of exact Gaussian processes over a grid of hyperparameters, weighted by their evidence.

    p(y | x, support) = sum_h p(h | support) p(y | x, support, h),  p(h | support) ~ p(support | h), for midpoints h of
    a grid over the ranges from which the family draws.

    Args:
        family: a family with ranges of length scales and scales, and one noise.
        support: `x [1, N, 1]` and `y [1, N, 1]`; N may be 0.
    """

    def __init__(self, family: GaussianProcess, support: Examples):
        self.family = family
        middle = (torch.arange(SIDE, dtype=torch.float64) + 0.5) / SIDE
        lengths, scales = (
            low + (high - low) * middle for low, high in (bounds(family.lengthscale), bounds(family.scale))
        )
        grid = torch.cartesian_prod(lengths, scales)
        noise = torch.full((len(grid),), bounds(family.noise)[0], dtype=torch.float64)
        self.info = {"lengthscale": grid[:, 0], "scale": grid[:, 1], "noise": noise}
        self.support = Examples(*(part.double().expand(len(grid), -1, -1) for part in support[:2]))
        nothing = Examples(self.support.x[:, :0], self.support.y[:, :0])
        prior = family.posterior(nothing, self.info)
        empty = self.support.x.shape[1] == 0
        self.logits = (
            noise.new_zeros(len(grid)) if empty else prior(self.support.x).log_prob(self.support.y, joint=True)
        )
        self.exact = family.posterior(self.support, self.info)

    def __call__(self, x: Tensor) -> PointMixture:
        """The belief about outcomes at `x [1, M, 1]`."""
        belief = self.exact(x.double().expand(len(self.logits), -1, -1))
        means, variances = (part[..., 0].T[None, :, :, None].to(x) for part in (belief.mean, belief.variance))
        return PointMixture(self.logits.to(x).expand(means.shape[:3]), means, variances)

    def functions(self, n: int, generator: torch.Generator | None = None) -> Callable[[Tensor], Tensor]:
        """`n` functions from the posterior, as one function `x [1, M, 1] -> [n, 1, M, 1]`."""
        pick = torch.multinomial(self.logits.softmax(0), n, replacement=True, generator=generator)
        support = Examples(self.support.x[pick], self.support.y[pick])
        exact = self.family.posterior(support, {name: value[pick] for name, value in self.info.items()})

        def drawn(x: Tensor) -> Tensor:
            belief = exact(x.double().expand(n, -1, -1))
            return belief.sample(1, generator, noise=False).transpose(0, 1)

        return drawn
