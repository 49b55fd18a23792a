"""Means and variances of activations, and how a layer keeps those of the support points for the query points."""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from quickstudy.nets.clock import Turn, current_turn


class Moments(NamedTuple):
    """Of a batch, for each channel.

    Args:
        mean: `[features]`.
        variance: `[features]`, without Bessel's correction.
        points: how many points the batch held.
    """

    mean: Tensor
    variance: Tensor
    points: int


class Keeper(Protocol):
    """A layer that keeps the moments of support points.

    Attributes:
        kept: moments of the last support pass, one for each time that the layer was called in it.
        calls: the turn in which the layer was called last, and how many calls of the same turn came before that one.
        settled: not None in one task's adapted network, where every pass is a prediction.
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
    """Over `axes`, which stay. By hand: the second derivative of torch's own normalisations is wrong under vmap."""
    mean = x.mean(axes, keepdim=True)
    return mean, (x - mean).square().mean(axes, keepdim=True)


def batch_moments(x: Tensor) -> Moments:
    """Over the points and places of `x [N, features, L]`; mean 0 and variance 1 where there is no point."""
    if x.shape[0] == 0:
        return Moments(x.new_zeros(x.shape[1]), x.new_ones(x.shape[1]), 0)
    mean, variance = mean_and_variance(x, (0, 2))
    return Moments(mean[0, :, 0], variance[0, :, 0], x.shape[0])


def scaled(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """`x [N, features, L]` times `weight [features]` plus `bias [features]`, those that there are."""
    x = x if weight is None else x * weight[:, None]
    return x if bias is None else x + bias[:, None]


def support_moments(layer: Keeper, x: Tensor) -> Moments:
    """What `layer` normalises `x [N, features, L]` by: the moments of the task's support points.

    In a support pass they are those of `x`, and are kept. In a query pass they are those that were kept; a layer that
    occurs several times in a network finds those of the same occurrence. Outside of inner loops `x` is taken for the
    support points.

    Raises:
        RuntimeError: in a query pass that no support pass came before; where `torch.utils.checkpoint` runs the layer
            again and nobody can say which pass it is.
    """
    turn = current_turn()
    if turn is None and (layer.settled is None or not layer.kept):
        if layer.kept and torch._C._current_graph_task_id() != -1:  # run again by a backward pass
            raise RuntimeError(
                f"torch.utils.checkpoint runs a {type(layer).__name__} again in the backward pass, where it no longer "
                "knows support points from query points; leave this layer outside of the checkpointed part, or use "
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
            "passed through it; give the inner loop support points, or take GroupNorm or LayerNorm"
        )
    return layer.kept[number % len(layer.kept)]
