"""TNP-ND: its density against a dense normal distribution, and what depends on other query points."""

from typing import Any

import pytest
import torch
from learner_table import Lines, made

from quickstudy.data import Examples, Tasks


@pytest.fixture(autouse=True)
def double() -> None:
    torch.set_default_dtype(torch.float64)


@pytest.fixture
def tasks() -> Tasks:
    return Lines().sample(3, support=5, query=4, generator=torch.Generator().manual_seed(0))


def dense(belief: Any) -> Any:
    """Torch's normal distribution over the points of one output."""
    factor = belief.factor[:, :, 0]
    covariance = factor @ factor.mT + torch.diag_embed(belief.noise[..., 0])
    return torch.distributions.MultivariateNormal(belief.mean[..., 0], covariance)


def test_the_loss_is_the_density_of_a_normal_distribution_per_point(tasks: Tasks) -> None:
    process = made("TNPND")
    belief = process.adapt(tasks.support)(tasks.query.x)
    covariance = dense(belief).covariance_matrix
    assert (covariance - torch.diag_embed(covariance.diagonal(dim1=1, dim2=2))).abs().max() > 0.01
    torch.testing.assert_close(process(tasks), -dense(belief).log_prob(tasks.query.y[..., 0]).mean() / 4)


def test_other_query_points_change_the_covariance_and_not_the_mean(tasks: Tasks) -> None:
    predictor, x = made("TNPND").adapt(tasks.support), tasks.query.x
    some, every = predictor(x[:, :2]), predictor(x)
    torch.testing.assert_close(some.mean, every.mean[:, :2])
    assert (some.variance - every.variance[:, :2]).abs().max() > 1e-6
    order = [2, 0, 3, 1]
    shuffled = predictor(x[:, order])
    torch.testing.assert_close(shuffled.factor, every.factor[:, order])  # but their order changes nothing
    torch.testing.assert_close(shuffled.noise, every.noise[:, order])


def test_padded_query_points_do_not_reach_the_others(tasks: Tasks) -> None:
    """The contract's own check of padding compares losses with points at the end alone."""
    process, query = made("TNPND"), tasks.query
    mask = torch.tensor([[True] * 4, [False, True, False, True], [False, False, True, False]])
    dirty = Examples(query.x.where(mask[..., None], torch.nan), query.y.where(mask[..., None], torch.nan), mask)
    alone = [
        Tasks(tasks.support.select(t), Examples(query.x[[t]][:, mask[t]], query.y[[t]][:, mask[t]])) for t in range(3)
    ]
    torch.testing.assert_close(process(Tasks(tasks.support, dirty)), torch.stack([process(t) for t in alone]).mean())
