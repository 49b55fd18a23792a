"""Divergences from exact posteriors: known values, and a learner that is the exact posterior."""

from typing import Any

import pytest
import torch
from torch import nn

from quickstudy.data import Examples
from quickstudy.experiments.unseen import Unseen
from quickstudy.recipes.gp import divergence


class Exact(nn.Module):
    """Predicts with the exact posterior of the process."""

    def __init__(self, family: Any):
        super().__init__()
        self.family, self.place = family, nn.Parameter(torch.zeros(()))

    def adapt(self, support: Examples, **kwargs: Any) -> Any:
        count = support.num_tasks
        names = ("lengthscale", "scale", "period", "noise")
        return self.family.posterior(support, {k: torch.full((count,), float(getattr(self.family, k))) for k in names})


@pytest.mark.parametrize(
    ("kernel", "diagonal", "prior"),
    [("rbf", 0.413, 1.196), ("matern52", 0.404, 1.082), ("weakly_periodic", 0.384, 0.821)],
)
def test_the_exact_posterior_has_none_and_references_are_as_computed_elsewhere(
    kernel: divergence.KLKernel, diagonal: float, prior: float
) -> None:
    family = divergence.process_of(kernel)
    found = divergence.divergences(Exact(family), Unseen(family, divergence.usual_sizes, 600, 0, batch=4))
    assert abs(found["kl"].mean) < 1e-3
    assert found["diagonal/kl"].mean == pytest.approx(diagonal, abs=2 * found["diagonal/kl"].ci95)
    assert found["prior/kl"].mean == pytest.approx(prior, abs=2 * found["prior/kl"].ci95)
    assert found["mse"].mean == pytest.approx(found["oracle_mse"].mean)


def test_more_points() -> None:
    family = divergence.process_of("rbf")
    unseen = Unseen(family, divergence.usual_sizes, 4, 0)
    found = divergence.with_more_points(Exact(family), unseen, 301)
    assert set(found) == {f"{name}/support=301" for name in ("mse", "oracle_mse", "kl", "diagonal/kl")}
    assert 0 <= found["diagonal/kl/support=301"].mean < 0.03  # hundreds of points leave little to depend on
    assert found["mse/support=301"].mean == pytest.approx(0.05, rel=0.3)  # the noise
