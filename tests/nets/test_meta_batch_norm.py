"""MetaBatchNorm against moments computed by hand, and against torch's batch normalisation."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from quickstudy.nets import MetaBatchNorm
from quickstudy.nets.clock import playing


def by_hand(support: Tensor, x: Tensor, eps: float) -> Tensor:
    """Number by number."""
    out = torch.empty_like(x)
    for c in range(x.shape[1]):
        values = support[:, c].flatten().tolist()
        mean = math.fsum(values) / len(values)
        variance = math.fsum((v - mean) ** 2 for v in values) / len(values)
        out[:, c] = (x[:, c] - mean) / math.sqrt(variance + eps)
    return out


@pytest.mark.parametrize("places", [(), (4,), (3, 2), (2, 1, 3)])
def test_support_and_query_are_normalised_by_the_support(places: tuple[int, ...]) -> None:
    torch.set_default_dtype(torch.float64)
    norm = MetaBatchNorm(3, eps=1e-3)
    torch.nn.init.normal_(norm.weight), torch.nn.init.normal_(norm.bias)
    support, query = 2 + torch.randn(5, 3, *places), 3 * torch.randn(7, 3, *places)
    with playing("support"):
        first = norm(support)
    with playing("query"):
        second = norm(query)
    column = (3, *[1] * len(places))
    for out, x in ((first, support), (second, query)):
        expected = by_hand(support, x, 1e-3) * norm.weight.view(column) + norm.bias.view(column)
        torch.testing.assert_close(out, expected, rtol=1e-12, atol=1e-12)


def test_alone_it_is_batch_normalisation() -> None:
    torch.set_default_dtype(torch.float64)
    norm, x = MetaBatchNorm(4), torch.randn(6, 4, 5, 5)
    torch.testing.assert_close(norm(x), F.batch_norm(x, None, None, training=True))


def test_nothing_is_buffered_and_modes_are_alike() -> None:
    norm, x = MetaBatchNorm(4), torch.randn(6, 4)
    assert torch.equal(norm.train()(x), norm.eval()(x))
    assert not list(norm.buffers()) and set(norm.state_dict()) == {"weight", "bias"}
    assert not list(MetaBatchNorm(4, affine=False).parameters())


def test_a_single_value_has_no_variance() -> None:
    with playing("support"), pytest.raises(ValueError, match="one value a channel.*more than one support point"):
        MetaBatchNorm(4)(torch.randn(1, 4))
    with playing("support"):
        MetaBatchNorm(4)(torch.randn(1, 4, 2))  # two places


def test_without_support_points_nothing_moves() -> None:
    norm, query = MetaBatchNorm(2), torch.randn(3, 2)
    with playing("support"):
        assert norm(torch.zeros(0, 2)).shape == (0, 2)
    with playing("query"):
        torch.testing.assert_close(norm(query), query, rtol=1e-4, atol=0)
