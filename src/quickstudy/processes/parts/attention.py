"""The deterministic path of attentive processes: each query point attends to the support points."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from quickstudy.data import Examples
from quickstudy.nets import MLP
from quickstudy.processes.parts.blocks import he_normal
from quickstudy.processes.parts.transformer import Layer


class Attended(NamedTuple):
    """The encoded support points of `T` tasks. The first key and value are learned, and stand for no point."""

    keys: Tensor  # [T, 1 + N, width]
    values: Tensor  # [T, 1 + N, width]
    real: Tensor  # [T, 1 + N]


class CrossAttention(nn.Module):
    """r(x) = sum_i softmax_i(k(x) . k(x_i) / sqrt(width / heads)) v_i (Kim et al. 2019, arXiv 1901.05761, figure 2).

    The values are encoded points, after `self_attention` layers in which the points attend to each other.

    Args:
        dx: number of features of an input.
        dy: number of features of an output, as the head encodes it.
        width: units of every hidden layer, and features of a key and of a value.
        depth: number of linear layers before a value, at least 2.
        heads: number of attention heads, a divisor of `width`.
        self_attention: number of layers in which the support points attend to each other.
    """

    def __init__(self, dx: int, dy: int, *, width: int, depth: int, heads: int, self_attention: int):
        super().__init__()
        self.heads = heads
        self.value = he_normal(MLP(dx + dy, [width] * (depth - 1), width, activation="gelu"))
        self.key = he_normal(MLP(dx, [width], width, activation="gelu"))
        self.layers: Any = nn.ModuleList(Layer(width, heads, width) for _ in range(self_attention))
        self.nothing = nn.Parameter(torch.randn(2, width) / width**0.5)
        self.before, self.out = nn.Linear(width, width), nn.Linear(width, width)

    def encode(self, support: Examples) -> Attended:
        """The keys and values of a support set whose padding holds zeros."""
        nothing = self.nothing.expand(len(support.x), -1, -1)
        real = (
            torch.cat([support.mask.new_ones(len(support.x), 1), support.mask], 1) if support.mask is not None else None
        )
        values = torch.cat([nothing[:, :1], self.value(torch.cat([support.x, support.y], -1))], 1)
        allowed = None if real is None else real[:, None, None]
        for layer in self.layers:
            values = layer(values, layer.keys(values), allowed)
        keys = torch.cat([nothing[:, 1:], self.key(support.x)], 1)
        if real is None:
            real = torch.ones(keys.shape[:2], dtype=torch.bool, device=keys.device)
        return Attended(keys, self.before(values), real)

    def extend(self, attended: Attended, union: Examples, count: int) -> Attended:
        """The keys and values of `union`, whose last `count` points are not in `attended`; padding holds zeros."""
        if len(self.layers):
            return self.encode(union)
        more = self.encode(Examples(*(part[:, part.shape[1] - count :] for part in (union.x, union.y, union.real()))))
        return Attended(*(torch.cat([old, new[:, 1:]], 1) for old, new in zip(attended, more, strict=True)))

    def forward(self, attended: Attended, x: Tensor) -> Tensor:
        """The representations `[T, M, width]` at `x [T, M, dx]`."""
        parts = (self.key(x), attended.keys, attended.values)
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        seen = F.scaled_dot_product_attention(query, key, value, attn_mask=attended.real[:, None, None])
        return self.out(seen.transpose(1, 2).flatten(2))
