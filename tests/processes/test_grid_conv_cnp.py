"""GridConvCNP against sums over points, and its contract on tasks that lie on a grid."""

import itertools
from dataclasses import dataclass
from typing import Any
from unittest import SkipTest

import pytest
import torch
from learner_table import Lines, masked
from torch import Tensor

import quickstudy as qs
from quickstudy.data import Examples, Tasks
from quickstudy.learner import Split
from quickstudy.processes.grid_conv_cnp import GridConvCNP
from quickstudy.testing import learner_checks


@dataclass(frozen=True)
class LinesOnAGrid:
    """The lines of `Lines`, at the multiples of 1/8 that are nearest to their inputs."""

    def sample(
        self,
        num_tasks: int,
        *,
        support: int,
        query: int,
        split: Split = "train",
        generator: torch.Generator | None = None,
    ) -> Tasks:
        tasks = Lines().sample(num_tasks, support=support, query=query, split=split, generator=generator)
        return Tasks(*(points._replace(x=(points.x * 8).round() / 8) for points in tasks[:2]))


def small(cells: tuple[int, ...] = (17,), dy: int = 1, **options: Any) -> Any:
    sizes = {"channels": 8, "blocks": 2, "kernel": 3, "first_kernel": 5}
    return GridConvCNP(cells, dy, **{**sizes, **options})


CHECKS = learner_checks(small, family=LinesOnAGrid())
ABSENT = ("a linear rule gives the same on low rank weights", "training progress is accepted")


@pytest.mark.parametrize("check", CHECKS, ids=str)
def test_contract(check: Any) -> None:
    try:
        check()
    except SkipTest as reason:
        assert check.name in ABSENT, reason


@pytest.fixture
def double() -> None:
    torch.set_default_dtype(torch.float64)


def points(cells: tuple[int, ...], count: int, dy: int, seed: int = 0) -> tuple[Tensor, Examples]:
    """The cells `[2, count, dx]` of points on a grid from -1 to 1, some of them twice, and the points."""
    chance = torch.Generator().manual_seed(seed)
    at = torch.stack([torch.randint(side, (2, count), generator=chance) for side in cells], -1)
    at[:, 1] = at[:, 0]
    y = torch.randn(2, count, dy, generator=chance)
    return at, Examples(-1 + 2 * at / (torch.tensor(cells) - 1), y)


@pytest.mark.parametrize("cells", [(7,), (6, 5), (4, 5, 4)])
def test_the_density_and_the_signal_are_sums_over_points(double: None, cells: tuple[int, ...]) -> None:
    process, dx = small(cells, 2), len(cells)
    with torch.no_grad():
        process.log_weight.add_(torch.randn_like(process.log_weight))  # so that kernels are not symmetric
    weight = process.weight()[:, 0]
    assert (weight > 0).all() and torch.allclose(weight.flatten(1).sum(1), torch.ones(8))
    at, examples = points(cells, 6, 2)
    found = process.encode(examples)
    assert found.sums[0, 0].sum() == 6 and found.sums[0, 0].max() >= 2
    grid = torch.zeros(2, 3, 8, *cells)
    for t, n in itertools.product(range(2), range(6)):
        for cell in itertools.product(*map(range, cells)):
            offset = tuple(int(a) - c + 2 for a, c in zip(at[t, n], cell, strict=True))
            if all(0 <= o < 5 for o in offset):
                own = weight[(slice(None), *offset)]
                values = torch.cat([torch.ones(1), examples.y[t, n]])
                grid[(t, slice(None), slice(None), *cell)] += values[:, None] * own
    density, sums = grid[:, :1], grid[:, 1:]
    features = process.mix(torch.cat([density, sums / (density + 1e-6)], 1).flatten(1, 2))
    for block in process.blocks:
        features = features + block(features)
    torch.testing.assert_close(process.convolved(found.sums), features)
    asked, query = points(cells, 5, 2, seed=1)
    own = torch.stack([features[(t, slice(None), *asked[t].T)].T for t in range(2)])
    torch.testing.assert_close(process.outputs(found, query.x), process.out(own))
    assert process.adapt(examples)(query.x).mean.shape == (2, 5, 2) and dx == process.dx


def test_an_image_that_moves_has_its_prediction_moved(double: None) -> None:
    process = small((21, 21))
    cell = torch.tensor([[[9, 10], [10, 11], [8, 10]]])
    y = torch.randn(1, 3, 1)
    here, there = (process.adapt(Examples(c / 10 - 1, y))(c / 10 - 0.9).mean for c in (cell, cell + 2))
    torch.testing.assert_close(here, there, atol=1e-12, rtol=1e-9)
    other = process.adapt(Examples(cell / 10 - 1, y))(cell / 10 - 0.8).mean
    assert (here - other).abs().max() > 1e-5


def test_padding_and_half_precision() -> None:
    process = small((6, 6)).to(torch.bfloat16)
    _, support = points((6, 6), 9, 1)
    half = Examples(*(part.to(torch.bfloat16) for part in masked(support, [9, 4])[:2]), masked(support, [9, 4]).mask)
    state = process.encode(half)
    assert state.sums.dtype == torch.float32 and state.seen.tolist() == [9, 4]
    assert state.sums[:, 0].flatten(1).sum(1).tolist() == [9, 4]
    padded = half.clean().x  # zeros are no cell of a grid of 6 from -1 to 1, but may be padding
    belief = process.predict(state, padded)
    assert belief.mean.isfinite().all() and belief.mean.dtype == torch.bfloat16
    process.meta_loss(Tasks(half, half)).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in process.parameters())


def test_the_grid_is_that_of_images() -> None:
    family = qs.tasks.Images(torch.randint(0, 256, (20, 6, 9, 3)))
    tasks = family.sample(2, support=20, query=34)
    process = small((6, 9), 3)
    sums = process.encode(tasks.support.append(tasks.query)).sums
    assert sums[:, 0].eq(1).all()
    image = sums[:, 1:].permute(0, 2, 3, 1).flatten(1, 2)
    assert (image - family.intensities(tasks.info["image"])).abs().max() <= 0.5 / 256 + 1e-6  # the noise of the family
    assert process.adapt(tasks.support)(family.coordinates().expand(2, -1, -1)).mean.shape == (2, 54, 3)


def test_heads() -> None:
    _, points_ = points((6, 6), 9, 1)
    tasks = Tasks(points_, points_)
    labels = Tasks(*(part._replace(y=torch.arange(18).view(2, 9) % 3) for part in tasks[:2]))
    for head, own in ((qs.heads.LowRankHead(3), tasks), (qs.heads.CategoricalHead(3), labels)):
        process = small((6, 6), head=head)
        process.meta_loss(own).backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in process.parameters())
        assert process.adapt(own.support)(own.query.x).log_prob(own.query.y, joint=True).shape == (2,)


def test_points_that_are_not_on_the_grid() -> None:
    process = small((5, 9))
    x = torch.tensor([[[-1.0, -0.75], [0.5, 0.25]], [[0.0, 0.0], [0.5, 0.3]]])
    says = (
        r"x of task 1, point 1 is \[0\.5, 0\.3\d*\], which is not on the grid of \[5, 9\] cells from -1 to 1 .* 0\.25\]"
    )
    with pytest.raises(ValueError, match=says):
        process.adapt(Examples(x, torch.zeros(2, 2, 1)))
    predictor = process.adapt(Examples(x[:, :1], torch.zeros(2, 1, 1)))
    for wrong in (x, x.clamp_min(0) * 4, x.masked_fill(x == 0.3, torch.nan), x.masked_fill(x == 0.3, torch.inf)):
        with pytest.raises(ValueError, match="x"):
            predictor(wrong)
    mask = torch.tensor([[True, True], [True, False]])
    process.adapt(Examples(x, torch.zeros(2, 2, 1), mask))  # padding may lie anywhere
    good = x[:1]
    found = torch.func.vmap(lambda shift: predictor(x[:, :1] + shift).mean)(torch.tensor([0.0, 0.1]))
    assert found[0].isfinite().all() and found[1].isnan().all() and good.isfinite().all()


def test_bad_options() -> None:
    for cells, options, says in (
        ((1, 4), {}, "cells=1"),
        ((2, 2, 2, 2), {}, "1 to 3 axes"),
        ((4,), {"kernel": 2}, "kernel=2; expected an odd number"),
        ((4,), {"domain": (1.0, 1.0)}, "domain"),
    ):
        with pytest.raises(ValueError, match=says):
            GridConvCNP(cells, **options)
