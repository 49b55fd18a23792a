"""TNP-A against one masked transformer over three groups of tokens, and against chains of single predictions."""

from typing import Any

import pytest
import torch
from learner_table import SMALL, Lines, made
from torch import Tensor

from quickstudy.data import Examples, Tasks
from quickstudy.processes.heads import LowRankHead
from quickstudy.processes.tnp_a import TNPA


@pytest.fixture(autouse=True)
def double() -> None:
    torch.set_default_dtype(torch.float64)


@pytest.fixture
def tasks() -> Tasks:
    return Lines().sample(3, support=5, query=4, generator=torch.Generator().manual_seed(0))


def by_one_mask(process: Any, tasks: Tasks) -> Tensor:
    """The outputs at the query points, from three groups of tokens: support, query with outcome, query without."""
    (x, y, _), (asked, outcomes, _) = tasks.support, tasks.query
    transformer = process.transformer
    tokens = torch.cat([transformer.tokens(x, y), transformer.more(asked, outcomes), transformer.asked(asked)], 1)
    first, points = 1 + x.shape[1], asked.shape[1]
    seen = torch.zeros(first + 2 * points, first + 2 * points, dtype=torch.bool)
    seen[:, :first] = True
    for m in range(points):
        seen[first + m, first : first + m + 1] = True  # an outcome is seen by itself and by those after it
        seen[first + points + m, first : first + m] = True  # a question sees the outcomes before its own
    for layer in transformer.layers:
        tokens = layer(tokens, layer.keys(tokens), seen)
    outputs: Tensor = transformer.last(tokens[:, first + points :])
    return outputs


def test_training_and_prediction_are_one_masked_transformer(tasks: Tasks) -> None:
    process = made("TNPA")
    densities = process.head(by_one_mask(process, tasks), 1).log_prob(tasks.query.y)
    torch.testing.assert_close(process(tasks), -densities.mean())
    belief = process.predict(process.encode(tasks.support), tasks.query.x)
    torch.testing.assert_close(belief.log_prob(tasks.query.y, joint=True), densities.sum(1))


def test_each_point_by_itself_is_the_first_of_a_chain(tasks: Tasks) -> None:
    process, (x, y, _) = made("TNPA"), tasks.query
    belief = process.adapt(tasks.support)(x)
    first = [process.adapt(tasks.support)(x[:, [m]]).log_prob(y[:, [m]], joint=True) for m in range(4)]
    torch.testing.assert_close(belief.log_prob(y), torch.stack(first, 1))
    assert (belief.log_prob(y).sum(1) - belief.log_prob(y, joint=True)).abs().min() > 1e-3


def test_draws_follow_the_densities_along_the_order(tasks: Tasks) -> None:
    """Of a draw's last point, the mean without noise is that of the prediction given the draw's other points."""
    process, x = made("TNPA"), tasks.query.x
    belief = process.adapt(tasks.support)(x)
    draws, means = (belief.sample(2, torch.Generator().manual_seed(0), noise=noise) for noise in (True, False))
    for draw, mean in zip(draws, means, strict=True):
        outputs = by_one_mask(process, Tasks(tasks.support, Examples(x, draw)))
        torch.testing.assert_close(mean, process.head(outputs, 1).mean)


def test_padding_in_the_chain_has_no_effect(tasks: Tasks) -> None:
    process, query = made("TNPA"), tasks.query
    mask = torch.tensor([[True] * 4, [True, False, False, True], [False, False, True, True]])
    dirty = Examples(query.x.where(mask[..., None], torch.nan), query.y.where(mask[..., None], torch.nan), mask)
    alone = [
        Tasks(tasks.support.select(t), Examples(query.x[[t]][:, mask[t]], query.y[[t]][:, mask[t]])) for t in range(3)
    ]
    torch.testing.assert_close(process(Tasks(tasks.support, dirty)), torch.stack([process(t) for t in alone]).mean())
    belief = process.adapt(tasks.support)(query.x)
    found = belief.log_prob(dirty.y, mask, joint=True)
    expected = [process.adapt(t.support)(t.query.x).log_prob(t.query.y, joint=True) for t in alone]
    torch.testing.assert_close(found, torch.cat(expected))


def test_a_belief_keeps_the_graph_only_if_asked(tasks: Tasks) -> None:
    for graph in (False, True):
        belief = made("TNPA").adapt(tasks.support, create_graph=graph)(tasks.query.x)
        assert belief.log_prob(tasks.query.y, joint=True).requires_grad is graph


def test_a_joint_head_is_refused() -> None:
    with pytest.raises(ValueError, match=r"head=LowRankHead\(rank=3, floor=0.001\) is one belief about all points"):
        TNPA(**SMALL, head=LowRankHead(3))
