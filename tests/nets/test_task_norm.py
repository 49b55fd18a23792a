"""TaskNorm against pooled moments computed by hand."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from quickstudy.nets import TaskNorm
from quickstudy.nets.clock import playing

KINDS = ("instance", "layer")


def moments(values: Tensor) -> tuple[float, float]:
    """Of all numbers in it."""
    listed = values.flatten().tolist()
    mean = math.fsum(listed) / len(listed)
    return mean, math.fsum((v - mean) ** 2 for v in listed) / len(listed)


def by_hand(support: Tensor, x: Tensor, norm: TaskNorm) -> Tensor:
    """The paper's formulas, number by number, for points `[N, C, L]`."""
    alpha = 1 / (1 + math.exp(-(norm.scale.item() * len(support) + norm.offset.item())))
    out = torch.empty_like(x)
    for n in range(len(x)):
        for c in range(x.shape[1]):
            mean_bn, var_bn = moments(support[:, c])
            mean_own, var_own = moments(x[n, c] if norm.kind == "instance" else x[n])
            mean = alpha * mean_bn + (1 - alpha) * mean_own
            variance = alpha * (var_bn + (mean_bn - mean) ** 2) + (1 - alpha) * (var_own + (mean_own - mean) ** 2)
            out[n, c] = (x[n, c] - mean) / math.sqrt(variance + norm.eps) * norm.weight[c] + norm.bias[c]
    return out


def made(kind: Any, features: int = 3) -> TaskNorm:
    """With parameters that are not those of the start."""
    norm = TaskNorm(features, kind=kind, eps=1e-3)
    with torch.no_grad():
        for p, value in zip((norm.scale, norm.offset), (0.3, -0.8), strict=True):
            p.fill_(value)
        norm.weight.normal_(), norm.bias.normal_()
    return norm


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("points", [1, 2, 5])
def test_moments_are_pooled_as_in_the_paper(kind: str, points: int) -> None:
    torch.set_default_dtype(torch.float64)
    norm = made(kind)
    support, query = 2 + torch.randn(points, 3, 4), 3 * torch.randn(7, 3, 4)
    with playing("support"):
        first = norm(support)
    with playing("query"):
        second = norm(query)
    torch.testing.assert_close(first, by_hand(support, support, norm), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(second, by_hand(support, query, norm), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_shapes_are_all_the_same_to_it(kind: str) -> None:
    torch.set_default_dtype(torch.float64)
    norm, x = made(kind), torch.randn(5, 3, 12)
    for places in ((12,), (4, 3), (2, 3, 2)):
        torch.testing.assert_close(norm(x.reshape(5, 3, *places)).flatten(2), norm(x))
    torch.testing.assert_close(norm(x[:, :, 0]), norm(x[:, :, :1])[:, :, 0])


def test_its_ends_are_batch_instance_and_layer_normalisation() -> None:
    torch.set_default_dtype(torch.float64)
    x = torch.randn(4, 3, 6)
    ends = {
        "instance": F.instance_norm(x),
        "layer": F.layer_norm(x, (3, 6)),
    }
    for kind, expected in ends.items():
        norm = TaskNorm(3, kind=kind)  # type: ignore[arg-type]
        for offset, end in ((60.0, F.batch_norm(x, None, None, training=True)), (-60.0, expected)):
            norm.offset.data.fill_(offset)
            torch.testing.assert_close(norm(x), end)


def test_at_the_start_both_count_alike() -> None:
    norm = TaskNorm(3)
    assert torch.sigmoid(norm.scale * 7 + norm.offset).item() == 0.5


def test_the_size_of_the_support_set_decides_and_not_that_of_the_query_set() -> None:
    torch.set_default_dtype(torch.float64)
    norm, query = made("instance"), torch.randn(9, 3, 4)
    support = torch.randn(2, 3, 4)
    outputs = []
    for times in (1, 3):  # the same moments, from more points
        with playing("support"):
            norm(support.repeat(times, 1, 1))
        with playing("query"):
            outputs.append(norm(query))
            torch.testing.assert_close(norm(query[:2]), outputs[-1][:2])
    assert not torch.allclose(*outputs)
    torch.testing.assert_close(outputs[1], by_hand(support.repeat(3, 1, 1), query, norm))


@pytest.mark.parametrize("kind", KINDS)
def test_without_support_points_a_point_stands_for_itself(kind: Any) -> None:
    torch.set_default_dtype(torch.float64)
    norm, query = TaskNorm(3, kind=kind), torch.randn(5, 3, 4)
    with playing("support"):
        assert norm(query[:0]).shape == (0, 3, 4)
    with playing("query"):
        expected = F.instance_norm(query) if kind == "instance" else F.layer_norm(query, (3, 4))
        torch.testing.assert_close(norm(query), expected)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="kind='batch'; choose one of 'instance', 'layer'"):
        TaskNorm(3, kind="batch")  # type: ignore[arg-type]
