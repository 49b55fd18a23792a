"""Processes that see differences of inputs only: a task that moves has its predictions moved with it."""

from typing import Any

import pytest
import torch
from learner_table import Lines, made

from quickstudy.data import Examples as Pair
from quickstudy.processes.conv_cnp import ConvCNP


@pytest.fixture(autouse=True)
def double() -> None:
    torch.set_default_dtype(torch.float64)


@pytest.mark.parametrize("name", ["RelativeCNP", "RelativeCNP, pairs", "TETNP"])
@pytest.mark.parametrize("shift", [0.3, -40.0])
def test_moved_tasks(name: str, shift: float) -> None:
    process, batch = made(name), Lines().sample(3, support=5, query=4, generator=torch.Generator().manual_seed(0))
    moved = batch.support._replace(x=batch.support.x + shift)
    here, there = process.adapt(batch.support)(batch.query.x), process.adapt(moved)(batch.query.x + shift)
    torch.testing.assert_close(here.mean, there.mean)
    torch.testing.assert_close(here.variance, there.variance)
    still = process.adapt(batch.support)(batch.query.x + shift).mean
    assert (still - here.mean).abs().max() > 1e-3


def conv(dx: int = 1) -> Any:
    torch.manual_seed(0)
    process = ConvCNP(dx, domain=(-2, 2), points_per_unit=4, margin=3.0, channels=4, levels=1, kernel=3)
    with torch.no_grad():
        process.out[-1].weight.mul_(100)
    return process


@pytest.mark.parametrize("dx", [1, 2, 3])
def test_a_grid_moves_by_its_own_steps(dx: int) -> None:
    """In the middle of the grid, whose edges are beyond the reach of the convolutions."""
    process = conv(dx)
    x = 0.4 * torch.rand(2, 9, dx, generator=torch.Generator().manual_seed(0)) - 0.2
    y = x.sum(-1, keepdim=True).cos()
    support, query = (x[:, :5], y[:, :5]), x[:, 5:]
    here = process.adapt(Pair(*support))(query).mean
    there = process.adapt(Pair(support[0] + 0.5, support[1]))(query + 0.5).mean  # two cells, the coarsest step
    torch.testing.assert_close(here, there, atol=1e-9, rtol=1e-9)
    between = process.adapt(Pair(support[0] + 0.3, support[1]))(query + 0.3).mean
    assert 0 < (between - here).abs().max() < 0.2 * (here - process.adapt(Pair(*support))(query + 0.5).mean).abs().max()


def test_points_outside_the_domain_have_a_larger_grid() -> None:
    process = conv()
    x = torch.linspace(-1, 1, 8)[None, :, None]
    inside, outside = (process.adapt(Pair(x + at, x.sin()))(x + at + 0.1).mean for at in (0.0, 50.0))
    torch.testing.assert_close(inside, outside, atol=1e-9, rtol=1e-9)
    together = torch.cat([x, x + 50])
    both = process.adapt(Pair(together, x.sin().expand(2, -1, -1)))(together + 0.1).mean
    torch.testing.assert_close(both[1:], outside, atol=1e-9, rtol=1e-9)


def test_a_grid_that_would_be_too_large_is_refused() -> None:
    with pytest.raises(ValueError, match=r"need a grid of [\d,]+ cells with spacing 0.25; rescale x"):
        conv(2).adapt(Pair(torch.tensor([[[0.0, 0.0], [1e5, 1e5]]]), torch.zeros(1, 2, 1)))(torch.zeros(1, 1, 2))
    with pytest.raises(ValueError, match="expected finite inputs"):
        conv().adapt(Pair(torch.zeros(1, 1, 1), torch.zeros(1, 1, 1)))(torch.full((1, 1, 1), torch.inf))
    with pytest.raises(ValueError, match="1 to 3 axes"):
        ConvCNP(4)


def test_points_outside_the_domain_inside_a_transform_are_not_lost_unnoticed() -> None:
    """There, the values of x cannot be read, and the grid is that of the domain."""
    process = conv()
    x = torch.linspace(-1, 1, 8)[None, :, None]
    predictor = process.adapt(Pair(x, x.sin()))
    found = torch.func.vmap(lambda shift: predictor(x + shift).mean)(torch.tensor([0.0, 50.0]))
    torch.testing.assert_close(found[0], predictor(x).mean)
    assert found[1].isnan().all()
