"""Means and variances of activations; a layer stores those of the support points for the query points."""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from quickstudy.nets.clock import Turn, current_turn


class Moments(NamedTuple):
    """Mean and variance of each channel of a batch.

    Args:
        mean: `[features]`.
        variance: `[features]`, without Bessel's correction.
        points: number of points in the batch.
    """

    mean: Tensor
    variance: Tensor
    points: int


class SupportLayer(Protocol):
    """A layer that stores the moments of the support points.

    Attributes:
        kept: the moments of the last support pass, one entry for each call of the layer in it.
        calls: the `playing` block of the last call, and the number of calls in the same block before it.
        settled: a number in the adapted network of one task, where every pass is a prediction; otherwise None.
    """

    kept: tuple[Moments, ...]
    calls: tuple[Turn | None, int]
    settled: int | None


def by_channel(x: Tensor, features: int) -> Tensor:
    """`x [N, features, ...]` as `[N, features, L]`.

    Raises:
        ValueError: for other shapes.
    """
    check_channels(x, features)
    return x.unsqueeze(2) if x.dim() == 2 else x.flatten(2)


def check_channels(x: Tensor, features: int) -> None:
    """Raise ValueError unless `x` is `[N, features, ...]`."""
    if x.dim() < 2 or x.shape[1] != features:
        raise ValueError(
            f"the input has shape {list(x.shape)}; expected [N, {features}, ...]: points, channels, places"
        )


def mean_and_variance(x: Tensor, axes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Mean and variance over `axes`, which stay with size 1.

    Computed by hand, since the second derivative of torch's own normalisations is wrong under vmap.
    """
    mean = x.mean(axes, keepdim=True)
    return mean, (x - mean).square().mean(axes, keepdim=True)


def batch_moments(x: Tensor) -> Moments:
    """The moments over points and places of `x [N, features, L]`; mean 0 and variance 1 without points."""
    if x.shape[0] == 0:
        return Moments(x.new_zeros(x.shape[1]), x.new_ones(x.shape[1]), 0)
    mean, variance = mean_and_variance(x, (0, 2))
    return Moments(mean[0, :, 0], variance[0, :, 0], x.shape[0])


def scaled(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """`x [N, features, L]` times `weight [features]` plus `bias [features]`, as far as they are given."""
    x = x if weight is None else x * weight[:, None]
    return x if bias is None else x + bias[:, None]


def support_moments(layer: SupportLayer, x: Tensor) -> Moments:
    """The moments by which `layer` normalises `x [N, features, L]`: those of the task's support points.

    In a support pass, the moments of `x` are computed and stored. In a query pass the stored ones are returned; a layer
    that occurs several times in a network gets those of the same occurrence. Outside inner loops, the moments are those
    of `x`.

    Raises:
        RuntimeError: in a query pass before any support pass; if `torch.utils.checkpoint` runs the layer again, since
            it is not known which pass it repeats.
    """
    turn = current_turn()
    if turn is None and (layer.settled is None or not layer.kept):
        if layer.kept and torch._C._current_graph_task_id() != -1:  # run again by a backward pass
            raise RuntimeError(
                f"torch.utils.checkpoint runs a {type(layer).__name__} again in the backward pass, where it cannot "
                "tell support points from query points; leave this layer outside the checkpointed part, or use "
                "checkpoint= of the inner loop instead"
            )
        return batch_moments(x)
    number = layer.calls[1] + 1 if layer.calls[0] is turn else 0
    layer.calls = (turn, number)
    if turn is not None and turn.role == "support":
        found = batch_moments(x)
        layer.kept = (*layer.kept[:number], found)
        return found
    if not layer.kept:
        raise RuntimeError(
            f"{type(layer).__name__} normalises query points by the moments of the support points, and none have "
            "passed through it; give the inner loop support points, or use GroupNorm or LayerNorm"
        )
    return layer.kept[number % len(layer.kept)]
