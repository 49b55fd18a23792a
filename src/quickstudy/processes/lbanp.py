"""Latent Bottlenecked Attentive Neural Process (Feng et al. 2023, arXiv 2211.08458)."""

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, final

import torch
from torch import Tensor, nn

from quickstudy.checks import check_whole
from quickstudy.data import Examples, Tasks
from quickstudy.likelihoods import negative_log_likelihood
from quickstudy.nets import MLP
from quickstudy.processes.conditional import Conditional, prepared
from quickstudy.processes.heads.head import Head, chosen, encoded_size
from quickstudy.processes.parts.sizes import TRAINING_DEFAULTS
from quickstudy.processes.parts.transformer import Layer, attending, check_heads, last_layers


class LBANPState(NamedTuple):
    """The support points of `T` tasks, and the keys and values of the latents of every layer."""

    keys: Tensor  # [T, layers, latents, 2 width]
    x: Tensor  # [T, N, dx]
    y: Tensor  # [T, N, features of y]
    real: Tensor  # [T, N]
    seen: Tensor  # [T]


@final
class LBANP(Conditional):
    """A transformer in which a fixed number of latents attend to the support points, and query points to the latents.

    In every layer the latents attend to the support points, then to each other; the query points attend to the latents
    of that layer. So the cost is linear in the number of support points, and that of a query does not depend on it.
    (Latents here are learned vectors, not random variables.) `append` encodes all points again.

    Args:
        dx: number of features of an input.
        dy: number of features of an output.
        width: number of features of a token and of a latent.
        depth: number of layers.
        latents: number of latents (8 to 128 in the paper).
        heads: number of attention heads, a divisor of `width`.
        hidden: units of the network at each token.
        embedding: number of linear layers from a point to a token.
        head: the kind of belief at a point; by default `qs.heads.GaussianHead(1e-3)`.

    >>> import quickstudy as qs
    >>> tasks = qs.tasks.GaussianProcess().sample(4, support=8, query=5)
    >>> qs.LBANP().adapt(tasks.support)(tasks.query.x).log_prob(tasks.query.y).shape
    torch.Size([4, 5])
    """

    training_defaults: ClassVar[Mapping[str, Any]] = {**TRAINING_DEFAULTS, "lr": 5e-4}

    def __init__(
        self,
        dx: int = 1,
        dy: int = 1,
        *,
        width: int = 64,
        depth: int = 6,
        latents: int = 32,
        heads: int = 4,
        hidden: int = 128,
        embedding: int = 4,
        head: Head | None = None,
    ):
        super().__init__()
        self.dx, self.dy = check_whole("dx", dx), check_whole("dy", dy)
        self.sizes = {"width": width, "depth": depth, "latents": latents, "heads": heads, "hidden": hidden}
        self.sizes["embedding"] = embedding
        check_heads(self.sizes)
        self.head, self._head = chosen(head), head
        self.point = MLP(dx + encoded_size(self.head, dy), [width] * (embedding - 1), width)
        self.asked = MLP(dx, [width] * (embedding - 1), width)
        self.nothing = nn.Parameter(torch.randn(width) / width**0.5)
        self.start = nn.Parameter(torch.randn(latents, width) / width**0.5)
        self.reading: Any = nn.ModuleList(Layer(width, heads, hidden) for _ in range(depth))
        self.thinking: Any = nn.ModuleList(Layer(width, heads, hidden) for _ in range(depth))
        self.answering: Any = nn.ModuleList(Layer(width, heads, hidden) for _ in range(depth))
        self.last = last_layers(width, hidden, self.head.size(dy))

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"dx": self.dx, "dy": self.dy, **self.sizes, "head": self._head}

    def forward(self, tasks: Tasks) -> Tensor:
        """`meta_loss` without the checks."""
        support, query = prepared(self, tasks)
        belief = self.head(self._answer(self._keys(support), query.x), self.dy)
        return negative_log_likelihood(belief, query, joint=self.head.joint)

    def encoded(self, support: Examples) -> LBANPState:
        """`encode` without the checks, of points as `entering` returns them."""
        return LBANPState(self._keys(support), support.x, support.y, support.real(), support.sizes())

    def extended(self, state: LBANPState, examples: Examples) -> LBANPState:
        """`append` without the checks, of points as `entering` returns them."""
        return self.encoded(Examples(state.x, state.y, state.real).append(examples))

    def outputs(self, state: LBANPState, x: Tensor) -> Tensor:
        """The head's parameters at `x [T, M, dx]`."""
        return self._answer(state.keys, x)

    def _keys(self, support: Examples) -> Tensor:
        """The keys and values of the latents of every layer, `[T, layers, latents, 2 width]`."""
        points = self.point(torch.cat([support.x, support.y], -1))
        points = torch.cat([self.nothing.expand(len(points), 1, -1), points], 1)
        latents, found = self.start.expand(len(points), -1, -1), []
        for read, think, answer in zip(self.reading, self.thinking, self.answering, strict=True):
            latents = read(latents, read.keys(points), attending(support.mask))
            latents = think(latents, think.keys(latents), None)
            found.append(answer.keys(latents))
        return torch.stack(found, 1)

    def _answer(self, keys: Tensor, x: Tensor) -> Tensor:
        tokens = self.asked(x)
        for i, layer in enumerate(self.answering):
            tokens = layer(tokens, keys[:, i], None)
        return self.last(tokens)
