"""A transformer whose query points attend to the support points, and never to each other.

The queries, and the support points themselves, attend to the same keys. So one attention over all tokens, with the
keys of the support points alone, gives what a masked transformer over all points gives (Nguyen and Grover 2022,
figure 2), and needs no mask between them.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from quickstudy.checks import check_whole
from quickstudy.nets import MLP


class Layer(nn.Module):
    """One layer: attention, then a network at each token; each is added to the token, and the sum is normalised.

    (With a LayerNorm before each part instead, the first thousands of steps on Gaussian processes gained less.)

    Args:
        width: number of features of a token.
        heads: number of attention heads, a divisor of `width`.
        hidden: units of the network at each token.
    """

    def __init__(self, width: int, heads: int, hidden: int):
        super().__init__()
        self.heads = heads
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.between, self.after = nn.LayerNorm(width), nn.LayerNorm(width)

    def keys(self, tokens: Tensor) -> Tensor:
        """The keys and values of `tokens [T, N, width]`, as `[T, N, 2 width]`."""
        keys: Tensor = self.key_value(tokens)
        return keys

    def forward(self, tokens: Tensor, keys: Tensor, allowed: Tensor | None, own: Tensor | None = None) -> Tensor:
        """The next tokens `[T, M, width]`.

        Args:
            tokens: `[T, M, width]`.
            keys: `[T, N, 2 width]`.
            allowed: whether a token attends to a key, bool, broadcastable to `[T, 1, M, N]`; None for all.
            own: a key for each token, to which no other token attends, `[T, M, 2 width]`; None for none.
        """
        query, key, value = self._split(self.query(tokens), *keys.chunk(2, -1))
        if own is None:
            seen = F.scaled_dot_product_attention(query, key, value, attn_mask=allowed)
        else:
            seen = _attention_with_own(query, key, value, self._split(*own.chunk(2, -1)), allowed)
        tokens = self.between(tokens + self.out(seen.transpose(1, 2).flatten(2)))
        return self.after(tokens + self.down(F.relu(self.up(tokens))))

    def _split(self, *parts: Tensor) -> list[Tensor]:
        """Each part `[T, N, width]` as `[T, heads, N, width / heads]`."""
        return [part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts]


def _attention_with_own(query: Tensor, key: Tensor, value: Tensor, own: list[Tensor], allowed: Tensor | None) -> Tensor:
    """Attention of each token to all keys and to its own; `own` are the keys and values of the tokens."""
    scale = query.shape[-1] ** -0.5
    scores = scale * query @ key.mT
    if allowed is not None:
        scores = scores.masked_fill(~allowed, -torch.inf)
    scores = torch.cat([scores, scale * (query * own[0]).sum(-1, keepdim=True)], -1)
    weights = scores.softmax(-1)
    return weights[..., :-1] @ value + weights[..., -1:] * own[1]


class Transformer(nn.Module):
    """Maps the tokens of support points and queries, through layers of attention, to the outputs at the queries.

    The first token of the support set is a learned one, which stands for no point; it makes the empty support set
    possible.

    Args:
        dx: number of features of an input.
        dy: number of features of an output, as the head encodes it.
        outputs: number of outputs at a query.
        width: number of features of a token.
        depth: number of layers.
        heads: number of attention heads, a divisor of `width`.
        hidden: units of the network at each token.
        embedding: number of linear layers from a point to a token.
        features: number of features of a query; by default `dx`.
    """

    def __init__(
        self,
        dx: int,
        dy: int,
        outputs: int,
        *,
        features: int | None = None,
        width: int,
        depth: int,
        heads: int,
        hidden: int,
        embedding: int,
    ):
        super().__init__()
        self.dx, self.dy = dx, dy
        self.point = MLP(dx + dy, [width] * (embedding - 1), width)
        self.asked = MLP(dx if features is None else features, [width] * (embedding - 1), width)
        self.nothing = nn.Parameter(torch.randn(width) / width**0.5)
        self.layers: Any = nn.ModuleList(Layer(width, heads, hidden) for _ in range(depth))
        self.last = last_layers(width, hidden, outputs)

    def tokens(self, x: Tensor, y: Tensor) -> Tensor:
        """The tokens of support points, `[T, 1 + N, width]`: first the token that stands for no point."""
        nothing = self.nothing.expand(len(x), 1, -1)
        return torch.cat([nothing, self.more(x, y)], 1)

    def more(self, x: Tensor, y: Tensor) -> Tensor:
        """The tokens of points `x [T, N, dx]`, `y [T, N, dy]`, as `[T, N, width]`."""
        return self.point(torch.cat([x, y], -1))

    def encode(self, tokens: Tensor, allowed: Tensor | None, earlier: Tensor | None = None) -> Tensor:
        """The keys and values of every layer for support tokens, as `[T, layers, N, 2 width]`.

        Args:
            tokens: `[T, N, width]`, or the last of them.
            allowed: whether a token attends to each key, broadcastable to `[T, 1, tokens, N]`; None for all.
            earlier: the keys and values of the tokens before these, if they do not depend on these.
        """
        if earlier is not None and not torch.is_grad_enabled():
            return self.fill(tokens, allowed, F.pad(earlier, (0, 0, 0, tokens.shape[1])))
        found: list[Tensor] = []
        for i, layer in enumerate(self.layers):
            if i:
                tokens = self.layers[i - 1](tokens, found[-1], allowed)
            keys = layer.keys(tokens)
            found.append(keys if earlier is None else torch.cat([earlier[:, i], keys], 1))
        return torch.stack(found, 1)

    def fill(self, tokens: Tensor, allowed: Tensor | None, keys: Tensor) -> Tensor:
        """`keys [T, layers, N, 2 width]`, after those of the last `tokens [T, n, width]` are written into it."""
        count = keys.shape[2] - tokens.shape[1]
        for i, layer in enumerate(self.layers):
            if i:
                tokens = self.layers[i - 1](tokens, keys[:, i - 1], allowed)
            keys[:, i, count:] = layer.keys(tokens)
        return keys

    def answer(self, x: Tensor, keys: Tensor, allowed: Tensor | None) -> Tensor:
        """The outputs `[T, M, outputs]` at `x [T, M, dx]`, given the keys of the support points."""
        return self.last(self.read(self.asked(x), keys, allowed))

    def read(self, tokens: Tensor, keys: Tensor, allowed: Tensor | None) -> Tensor:
        """The tokens `[T, M, width]` of queries after all layers, given the keys of the support points."""
        for i, layer in enumerate(self.layers):
            tokens = layer(tokens, keys[:, i], allowed)
        return tokens

    def step(self, latest: Tensor, x: Tensor, keys: Tensor, allowed: Tensor | None) -> Tensor:
        """`encode` of one more support token and `answer` for the queries, in one pass; writes into `keys`.

        Args:
            latest: token `[T, 1, width]` of the last support point.
            x: inputs `[T, M, dx]` of the queries.
            keys: `[T, layers, N, 2 width]`, of which the last is computed here.
            allowed: whether a token attends to each key, broadcastable to `[T, 1, 1 + M, N]`; None for all.
        """
        tokens = torch.cat([latest, self.asked(x)], 1)
        for i, layer in enumerate(self.layers):
            keys[:, i, -1:] = layer.keys(tokens[:, :1])
            tokens = layer(tokens, keys[:, i], allowed)
        return self.last(tokens[:, 1:])

    def forward(self, support: Tensor, x: Tensor, allowed: Tensor | None) -> Tensor:
        """`answer` after `encode`, in one pass.

        Args:
            support: tokens `[T, N, width]`.
            x: inputs `[T, M, dx]` of the queries.
            allowed: whether a token attends to a support token, broadcastable to `[T, 1, N + M, N]`; None for all.
        """
        count = support.shape[1]
        tokens = torch.cat([support, self.asked(x)], 1)
        for layer in self.layers[:-1]:
            tokens = layer(tokens, layer.keys(tokens[:, :count]), allowed)
        keys = self.layers[-1].keys(tokens[:, :count])  # after which the support tokens are not needed
        if allowed is not None and allowed.shape[-2] > 1:
            allowed = allowed[..., count:, :]
        return self.last(self.layers[-1](tokens[:, count:], keys, allowed))


def last_layers(width: int, hidden: int, outputs: int) -> nn.Sequential:
    """The network from a token to the outputs, which begin near zero, so that the first losses are small."""
    last = nn.Linear(hidden, outputs)
    with torch.no_grad():
        last.weight.mul_(0.01)
        last.bias.zero_()
    return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), last)


def attending(real: Tensor | None) -> Tensor | None:
    """Whether tokens attend to each support token, `[T, 1, 1, 1 + N]`: to the first, and to those of real points."""
    if real is None:
        return None
    return torch.cat([real.new_ones(len(real), 1), real], 1)[:, None, None]


def check_heads(sizes: dict[str, int]) -> None:
    """Raise ValueError unless the sizes of a `Transformer` are whole numbers, and `heads` divides `width`."""
    for name, value in sizes.items():
        check_whole(name, value)
    if sizes["width"] % sizes["heads"]:
        raise ValueError(
            f"width={sizes['width']} cannot be divided among heads={sizes['heads']}; expected a multiple of it"
        )
