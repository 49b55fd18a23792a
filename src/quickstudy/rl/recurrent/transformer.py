"""A small causal transformer that is called like `torch.nn.GRU`, and keeps what it has read in its state."""

import math
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from quickstudy.checks import check_whole


@final
class CausalTransformer(nn.Module):
    """Each output depends on all inputs so far (Vaswani et al. 2017, arXiv 1706.03762; norms first).

    The state of a stream holds keys and values of what it has read, `[P, c]` with c = 2 layers width + 1: the last
    component is 1, or 0 for an entry that does not count. So streams of different lengths fit into one tensor.

    Args:
        inputs: components of an input.
        width: components of an output, a multiple of `2 heads`.
        layers: number of layers.
        heads: heads of the attention.

    Raises:
        ValueError: for a width that is no multiple of `2 heads`.

    >>> network = CausalTransformer(3, 8)
    >>> outputs, state = network(torch.zeros(5, 2, 3), network.start(5).unsqueeze(0))
    >>> outputs.shape, state.shape
    (torch.Size([5, 2, 8]), torch.Size([1, 5, 2, 33]))
    """

    def __init__(self, inputs: int, width: int, layers: int = 2, heads: int = 4):
        super().__init__()
        self.width, self.heads = check_whole("width", width), check_whole("heads", heads)
        if width % (2 * heads):
            raise ValueError(f"width={width} with heads={heads}; expected a multiple of {2 * heads}")
        self.embed = nn.Linear(inputs, width)
        self.blocks = nn.ModuleList(_Block(width, heads) for _ in range(check_whole("layers", layers)))
        self.norm = nn.LayerNorm(width)

    def start(self, streams: int) -> Tensor:
        """The state of `N` streams before their first input, `[N, 0, c]`."""
        return self.embed.weight.new_zeros(streams, 0, 2 * len(self.blocks) * self.width + 1)

    def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs `[N, L, width]` and the new state `[1, N, P + L, c]`, from `inputs [N, L, i]` and a state.

        The axis of length 1 is that of the layers in `torch.nn.GRU`.
        """
        past, steps = state[0], inputs.shape[1]
        counts = past[..., -1]
        place = counts.sum(1, keepdim=True) + torch.arange(steps, device=inputs.device, dtype=counts.dtype)
        x = self.embed(inputs) + self._positions(place)
        earlier = (counts > 0).unsqueeze(1).expand(-1, steps, -1)
        own = torch.ones(steps, steps, dtype=torch.bool, device=inputs.device).tril().expand(len(inputs), -1, -1)
        allowed = torch.cat([earlier, own], 2).unsqueeze(1) if past.shape[1] else None
        kept = []
        for i, block in enumerate(self.blocks):
            before = past[..., 2 * i * self.width : 2 * (i + 1) * self.width]
            x, new = block(x, before, allowed)
            kept.append(new)
        entry = torch.cat([*kept, torch.ones_like(x[..., :1])], 2)
        return self.norm(x), torch.cat([past, entry], 1).unsqueeze(0)

    def _positions(self, place: Tensor) -> Tensor:
        """Sines and cosines of the place in the stream, `[N, L, width]`."""
        half = self.width // 2
        rates = torch.exp(-math.log(1e4) * torch.arange(half, device=place.device, dtype=place.dtype) / half)
        angle = place.unsqueeze(-1) * rates
        return torch.cat([angle.sin(), angle.cos()], -1)


@final
class _Block(nn.Module):
    """Attention to what was read, and a network for each place."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.read, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.each = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor, past: Tensor, allowed: Tensor | None) -> tuple[Tensor, Tensor]:
        """The new features `[N, L, width]`, and keys and values `[N, L, 2 width]`; `past [N, P, 2 width]`."""
        query, new = self.read(self.before(x)).split([x.shape[2], 2 * x.shape[2]], 2)
        key, value = torch.cat([past, new], 1).chunk(2, 2)
        query, key, value = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in (query, key, value))
        seen = F.scaled_dot_product_attention(query, key, value, attn_mask=allowed, is_causal=allowed is None)
        x = x + self.out(seen.transpose(1, 2).flatten(2))
        return x + self.each(self.after(x)), new
