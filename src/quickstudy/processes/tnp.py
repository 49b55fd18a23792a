"""Transformer Neural Process (Nguyen and Grover 2022, arXiv 2207.04179)."""

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from quickstudy.checks import check_whole
from quickstudy.data import Examples, Tasks
from quickstudy.learner import Predictive
from quickstudy.processes import conditional
from quickstudy.processes.common import TRAINING_DEFAULTS
from quickstudy.processes.conditional import ConditionalPredictor
from quickstudy.processes.heads import GaussianHead
from quickstudy.processes.heads.head import Head
from quickstudy.processes.parts.transformer import Transformer, check_heads


class TNPState(NamedTuple):
    """The support points of `T` tasks, and the keys and values that every layer computed for them."""

    keys: Tensor  # [T, layers, 1 + N, 2 width]
    x: Tensor  # [T, N, dx]
    y: Tensor  # [T, N, dy]
    real: Tensor  # [T, N]
    seen: Tensor  # [T]


class TNP(nn.Module):
    """A transformer over the support points, to which every query point attends: TNP-D (section 3.2).

    p(y_1, ..., y_M | support) = prod_m p(y_m | x_m, support). Support points attend to each other, so the prediction
    does not depend on their order. A point that is appended changes what the others say: `append` encodes all points
    again. `IncTNP` appends without that.

    Args:
        dx: number of features of an input.
        dy: number of features of an output.
        width: number of features of a token (64 in the paper).
        depth: number of layers (6 in the paper).
        heads: number of attention heads; it divides `width` (4 in the paper).
        hidden: units of the network at each token (128 in the paper).
        embedding: number of linear layers from a point to a token (4 in the paper).
        head: the kind of belief at a point; by default `qs.heads.GaussianHead(1e-3)`.

    >>> import quickstudy as qs
    >>> tasks = qs.tasks.GaussianProcess().sample(4, support=8, query=5)
    >>> process = qs.TNP()
    >>> process.adapt(tasks.support)(tasks.query.x).log_prob(tasks.query.y).shape
    torch.Size([4, 5])
    """

    deterministic = True
    training_defaults: ClassVar[Mapping[str, Any]] = TRAINING_DEFAULTS | {"lr": 5e-4}

    def __init__(
        self,
        dx: int = 1,
        dy: int = 1,
        *,
        width: int = 64,
        depth: int = 6,
        heads: int = 4,
        hidden: int = 128,
        embedding: int = 4,
        head: Head | None = None,
    ):
        super().__init__()
        self.dx, self.dy = check_whole("dx", dx), check_whole("dy", dy)
        self.sizes = {"width": width, "depth": depth, "heads": heads, "hidden": hidden, "embedding": embedding}
        check_heads(self.sizes)
        self.head, self._head = GaussianHead() if head is None else head, head
        self.transformer = Transformer(dx, dy, self.head.size(dy), **self.sizes)

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"dx": self.dx, "dy": self.dy, **self.sizes, "head": self._head}

    def meta_loss(self, tasks: Tasks) -> Tensor:
        """Scalar: the mean over tasks of the mean negative log-likelihood of each task's real query points."""
        return conditional.meta_loss(self, tasks)

    def forward(self, tasks: Tasks) -> Tensor:
        """`meta_loss` without the checks, for transforms and compilers."""
        support, query = tasks.support.clean(), tasks.query.clean()
        tokens = self.transformer.tokens(support.x, support.y)
        outputs = self.transformer(tokens, query.x, _allowed(support.mask))
        return conditional.negative_log_likelihood(self.head(outputs, self.dy), query, joint=self.head.joint)

    def encode(self, support: Examples) -> TNPState:
        """The state of a support set `x [T, N, dx]`, `y [T, N, dy]`; `N` may be 0."""
        state: TNPState = conditional.encode(self, support)
        return state

    def append(self, state: TNPState, examples: Examples) -> TNPState:
        """The state of the union with `examples`. All points are encoded again."""
        union: TNPState = conditional.append(self, state, examples)
        return union

    def predict(self, state: TNPState, x: Tensor) -> Predictive:
        """The belief at `x [T, M, dx]`."""
        return conditional.predict(self, state, x)

    def adapt(
        self,
        support: Examples,
        *,
        steps: int | None = None,
        create_graph: bool = False,
        generator: torch.Generator | None = None,
    ) -> ConditionalPredictor:
        """The predictor that encodes `support`; `steps=0` and an empty support set give the prior."""
        return conditional.adapt(self, support, steps, create_graph=create_graph, generator=generator)

    def encoded(self, support: Examples) -> TNPState:
        """`encode` without the checks, of points whose padding holds zeros."""
        keys = self.transformer.encode(self.transformer.tokens(support.x, support.y), _allowed(support.mask))
        return TNPState(keys, support.x, support.y, support.real(), support.sizes())

    def extended(self, state: TNPState, examples: Examples) -> TNPState:
        """`append` without the checks, of points whose padding holds zeros."""
        return self.encoded(Examples(state.x, state.y, state.real).append(examples))

    def outputs(self, state: TNPState, x: Tensor) -> Tensor:
        """The head's parameters at `x [T, M, dx]`."""
        return self.transformer.answer(x, state.keys, _allowed(state.real))


def _allowed(real: Tensor | None) -> Tensor | None:
    """Whether tokens attend to each support token, `[T, 1, 1, 1 + N]`: to the first, and to those of real points."""
    if real is None:
        return None
    return torch.cat([real.new_ones(len(real), 1), real], 1)[:, None, None]
