"""Translation-Equivariant Transformer Neural Process (Ashman et al. 2024, arXiv 2406.12409)."""

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from quickstudy.checks import check_whole
from quickstudy.data import Examples, Tasks
from quickstudy.likelihoods import negative_log_likelihood
from quickstudy.nets import MLP
from quickstudy.processes.conditional import Conditional, prepared
from quickstudy.processes.heads.head import Head, chosen, encoded_size
from quickstudy.processes.parts.sizes import TRAINING_DEFAULTS
from quickstudy.processes.parts.transformer import check_heads, last_layers


class TETNPState(NamedTuple):
    """The support points of `T` tasks, and the keys and values that every layer computed for them."""

    keys: Tensor  # [T, layers, N, 2 width]
    x: Tensor  # [T, N, dx]
    y: Tensor  # [T, N, features of y]
    real: Tensor  # [T, N]
    seen: Tensor  # [T]


class _Layer(nn.Module):
    """Attention whose scores depend on the difference of two inputs, then a network at each token."""

    def __init__(self, dx: int, width: int, heads: int, hidden: int):
        super().__init__()
        self.heads = heads
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.score = MLP(heads + dx, [hidden // 2], heads)
        self.nothing = nn.Parameter(torch.randn(2, width) / width**0.5)  # a score and a value for no point
        self.out = nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.between, self.after = nn.LayerNorm(width), nn.LayerNorm(width)

    def keys(self, tokens: Tensor) -> Tensor:
        """The keys and values of `tokens [T, N, width]`, as `[T, N, 2 width]`."""
        keys: Tensor = self.key_value(tokens)
        return keys

    def forward(self, tokens: Tensor, x: Tensor, keys: Tensor, at: Tensor, real: Tensor | None) -> Tensor:
        """The next tokens `[T, M, width]` at `x [T, M, dx]`, with keys `[T, N, 2 width]` at `at [T, N, dx]`."""
        query, key, value = (part.unflatten(-1, (self.heads, -1)) for part in (self.query(tokens), *keys.chunk(2, -1)))
        dots = torch.einsum("tmhd,tnhd->tmnh", query, key) / query.shape[-1] ** 0.5
        scores = self.score(torch.cat([dots, x.unsqueeze(2) - at.unsqueeze(1)], -1))
        if real is not None:
            scores = scores.masked_fill(~real[:, None, :, None], -torch.inf)
        none_key, none_value = self.nothing.unflatten(-1, (self.heads, -1))
        none = torch.einsum("tmhd,hd->tmh", query, none_key) / query.shape[-1] ** 0.5
        weights = torch.cat([none.unsqueeze(2), scores], 2).softmax(2)
        seen = torch.einsum("tmnh,tnhd->tmhd", weights[:, :, 1:], value) + weights[:, :, 0, :, None] * none_value
        tokens = self.between(tokens + self.out(seen.flatten(2)))
        return self.after(tokens + self.down(F.relu(self.up(tokens))))


@final
class TETNP(Conditional):
    """A transformer that sees only differences of inputs: if a task is moved, its predictions move with it.

    The token of a support point is made from its y alone, and that of a query point is learned. The score of a pair is
    phi(q . k / sqrt(d), x - x'), with phi a small network over all heads (section 4.1). So what was learned in one
    place holds in every other, also outside the range of training. `append` encodes all points again.

    Args:
        dx: number of features of an input.
        dy: number of features of an output.
        width: number of features of a token.
        depth: number of layers.
        heads: number of attention heads, a divisor of `width`.
        hidden: units of the network at each token.
        embedding: number of linear layers from an output to a token.
        head: the kind of belief at a point; by default `qs.heads.GaussianHead(1e-3)`.

    >>> import quickstudy as qs
    >>> tasks = qs.tasks.GaussianProcess().sample(4, support=8, query=5)
    >>> process = qs.TETNP()
    >>> here, there = process.adapt(tasks.support), process.adapt(tasks.support._replace(x=tasks.support.x + 3))
    >>> torch.allclose(here(tasks.query.x).mean, there(tasks.query.x + 3).mean, atol=1e-5)
    True
    """

    equivariant = True
    training_defaults: ClassVar[Mapping[str, Any]] = {**TRAINING_DEFAULTS, "lr": 5e-4}

    def __init__(
        self,
        dx: int = 1,
        dy: int = 1,
        *,
        width: int = 64,
        depth: int = 5,
        heads: int = 4,
        hidden: int = 128,
        embedding: int = 2,
        head: Head | None = None,
    ):
        super().__init__()
        self.dx, self.dy = check_whole("dx", dx), check_whole("dy", dy)
        self.sizes = {"width": width, "depth": depth, "heads": heads, "hidden": hidden, "embedding": embedding}
        check_heads(self.sizes)
        self.head, self._head = chosen(head), head
        self.point = MLP(encoded_size(self.head, dy), [width] * (embedding - 1), width)
        self.asked = nn.Parameter(torch.randn(width) / width**0.5)
        self.layers: Any = nn.ModuleList(_Layer(dx, width, heads, hidden) for _ in range(depth))
        self.last = last_layers(width, hidden, self.head.size(dy))

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"dx": self.dx, "dy": self.dy, **self.sizes, "head": self._head}

    def forward(self, tasks: Tasks) -> Tensor:
        """`meta_loss` without the checks."""
        support, query = prepared(self, tasks)
        belief = self.head(self.outputs(self.encoded(support), query.x), self.dy)
        return negative_log_likelihood(belief, query, joint=self.head.joint)

    def encoded(self, support: Examples) -> TETNPState:
        """`encode` without the checks, of points as `entering` returns them."""
        tokens, found = self.point(support.y), []
        for layer in self.layers:
            found.append(layer.keys(tokens))
            tokens = layer(tokens, support.x, found[-1], support.x, support.mask)
        return TETNPState(torch.stack(found, 1), support.x, support.y, support.real(), support.sizes())

    def extended(self, state: TETNPState, examples: Examples) -> TETNPState:
        """`append` without the checks, of points as `entering` returns them."""
        return self.encoded(Examples(state.x, state.y, state.real).append(examples))

    def outputs(self, state: TETNPState, x: Tensor) -> Tensor:
        """The head's parameters at `x [T, M, dx]`."""
        tokens = self.asked.expand(*x.shape[:2], -1)
        for i, layer in enumerate(self.layers):
            tokens = layer(tokens, x, state.keys[:, i], state.x, state.real)
        return self.last(tokens)
