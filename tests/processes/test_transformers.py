"""Transformers against torch's own, with one mask over all points, as the published code builds them."""

from typing import Any

import pytest
import torch
from learner_table import SMALL, Lines
from torch import Tensor, nn

from quickstudy.data import Examples, Tasks
from quickstudy.processes.heads import LowRankHead
from quickstudy.processes.inc_tnp import IncTNP
from quickstudy.processes.tnp import TNP


@pytest.fixture(autouse=True)
def double() -> None:
    torch.set_default_dtype(torch.float64)


@pytest.fixture
def tasks() -> Tasks:
    return Lines().sample(3, support=5, query=4, generator=torch.Generator().manual_seed(0))


def dense(process: Any, tokens: Tensor, forbidden: Tensor) -> Tensor:
    """Torch's encoder with the weights of `process`, over all tokens at once."""
    sizes = process.sizes
    encoder = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(sizes["width"], sizes["heads"], sizes["hidden"], dropout=0.0, batch_first=True),
        sizes["depth"],
        enable_nested_tensor=False,
    )
    for own, layer in zip(encoder.layers, process.transformer.layers, strict=True):
        projections = (layer.query, layer.key_value)
        weights = {
            "self_attn.in_proj_weight": torch.cat([part.weight for part in projections]),
            "self_attn.in_proj_bias": torch.cat([part.bias for part in projections]),
        }
        pairs = {"self_attn.out_proj": "out", "linear1": "up", "linear2": "down", "norm1": "between", "norm2": "after"}
        for theirs, ours in pairs.items():
            weights |= {f"{theirs}.{k}": v for k, v in getattr(layer, ours).state_dict().items()}
        own.load_state_dict(weights)
    return process.transformer.last(encoder(tokens, mask=forbidden))


def of_all(process: Any, support: Examples, x: Tensor) -> Tensor:
    return torch.cat([process.transformer.tokens(support.x, support.y), process.transformer.asked(x)], 1)


def test_tnp_is_a_masked_transformer_over_all_points(tasks: Tasks) -> None:
    """The first token and the 5 support points are seen by all, the 4 query points by none."""
    torch.manual_seed(0)
    process = TNP(**SMALL)
    forbidden = torch.zeros(10, 10, dtype=torch.bool)
    forbidden[:, 6:] = True
    expected = dense(process, of_all(process, tasks.support, tasks.query.x), forbidden)[:, 6:]
    torch.testing.assert_close(process.outputs(process.encode(tasks.support), tasks.query.x), expected)
    belief = process.head(expected, 1)
    torch.testing.assert_close(process(tasks), -belief.log_prob(tasks.query.y).mean())


def test_inc_tnp_is_a_transformer_with_a_causal_mask(tasks: Tasks) -> None:
    torch.manual_seed(0)
    process = IncTNP(**SMALL, objective="query")
    forbidden = torch.ones(10, 10, dtype=torch.bool).triu(1)
    forbidden[6:, :6], forbidden[:, 6:] = False, True
    expected = dense(process, of_all(process, tasks.support, tasks.query.x), forbidden)[:, 6:]
    torch.testing.assert_close(process.outputs(process.encode(tasks.support), tasks.query.x), expected)
    torch.testing.assert_close(process(tasks), -process.head(expected, 1).log_prob(tasks.query.y).mean())


def test_the_loss_over_prefixes_is_that_of_each_point_given_those_before_it(tasks: Tasks) -> None:
    torch.manual_seed(0)
    process = IncTNP(**SMALL)
    points, state, densities = tasks.support.append(tasks.query), process.encode(tasks.support.first(0)), []
    for i in range(9):
        point = Examples(points.x[:, [i]], points.y[:, [i]])
        densities.append(process.predict(state, point.x).log_prob(point.y))
        state = process.append(state, point)
    torch.testing.assert_close(process(tasks), -torch.cat(densities, 1).mean())


def test_the_loss_over_prefixes_with_padding(tasks: Tasks) -> None:
    torch.manual_seed(0)
    process = IncTNP(**SMALL)
    mask = torch.tensor([[True] * 5, [True, False, True, False, False], [False] * 5])
    dirty = Tasks(
        Examples(tasks.support.x, tasks.support.y.masked_fill(~mask[..., None], torch.nan), mask), tasks.query
    )
    alone = []
    for i in range(3):
        own = tasks.support.select(i)
        alone.append(process(Tasks(Examples(own.x[:, mask[i]], own.y[:, mask[i]]), tasks.query.select(i))))
    torch.testing.assert_close(process(dirty), torch.stack(alone).mean())


def test_appending_does_not_change_what_was_computed(tasks: Tasks) -> None:
    process = IncTNP(**SMALL)
    first = process.encode(tasks.support)
    later = process.append(first, tasks.query)
    assert torch.equal(later.keys[:, :, :6], first.keys)


def test_a_joint_head_has_no_loss_over_prefixes() -> None:
    with pytest.raises(ValueError, match=r"head=LowRankHead\(rank=3, floor=0.001\) is one belief about all points"):
        IncTNP(**SMALL, head=LowRankHead(3))
    IncTNP(**SMALL, head=LowRankHead(3), objective="query")


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="width=30 cannot be divided among heads=4"):
        TNP(width=30)
