"""Transformer Neural Process (Nguyen and Grover 2022, arXiv 2207.04179)."""

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, final

from torch import Tensor

from quickstudy.checks import check_whole
from quickstudy.data import Examples, Tasks
from quickstudy.likelihoods import negative_log_likelihood
from quickstudy.processes.conditional import Conditional, prepared
from quickstudy.processes.heads.head import Head, chosen, encoded_size
from quickstudy.processes.parts.sizes import TRAINING_DEFAULTS
from quickstudy.processes.parts.transformer import Transformer, attending, check_heads


class TNPState(NamedTuple):
    """The support points of `T` tasks, and the keys and values that every layer computed for them."""

    keys: Tensor  # [T, layers, 1 + N, 2 width]
    x: Tensor  # [T, N, dx]
    y: Tensor  # [T, N, features of y]
    real: Tensor  # [T, N]
    seen: Tensor  # [T]


@final
class TNP(Conditional):
    """A transformer over the support points, to which every query point attends: TNP-D (section 3.2).

    p(y_1, ..., y_M | support) = prod_m p(y_m | x_m, support). Support points attend to each other, so the prediction
    does not depend on their order. An appended point changes the encoding of all others, so `append` encodes all
    points again; `IncTNP` does not.

    Args:
        dx: number of features of an input.
        dy: number of features of an output.
        width: number of features of a token (64 in the paper).
        depth: number of layers (6 in the paper).
        heads: number of attention heads, a divisor of `width` (4 in the paper).
        hidden: units of the network at each token (128 in the paper).
        embedding: number of linear layers from a point to a token (4 in the paper).
        head: the kind of belief at a point; by default `qs.heads.GaussianHead(1e-3)`.

    >>> import quickstudy as qs
    >>> tasks = qs.tasks.GaussianProcess().sample(4, support=8, query=5)
    >>> process = qs.TNP()
    >>> process.adapt(tasks.support)(tasks.query.x).log_prob(tasks.query.y).shape
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
        heads: int = 4,
        hidden: int = 128,
        embedding: int = 4,
        head: Head | None = None,
    ):
        super().__init__()
        self.dx, self.dy = check_whole("dx", dx), check_whole("dy", dy)
        self.sizes = {"width": width, "depth": depth, "heads": heads, "hidden": hidden, "embedding": embedding}
        check_heads(self.sizes)
        self.head, self._head = chosen(head), head
        self.transformer = Transformer(dx, encoded_size(self.head, dy), self.head.size(dy), **self.sizes)

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"dx": self.dx, "dy": self.dy, **self.sizes, "head": self._head}

    def forward(self, tasks: Tasks) -> Tensor:
        """`meta_loss` without the checks."""
        support, query = prepared(self, tasks)
        tokens = self.transformer.tokens(support.x, support.y)
        outputs = self.transformer(tokens, query.x, attending(support.mask))
        return negative_log_likelihood(self.head(outputs, self.dy), query, joint=self.head.joint)

    def encoded(self, support: Examples) -> TNPState:
        """`encode` without the checks, of points as `entering` returns them."""
        keys = self.transformer.encode(self.transformer.tokens(support.x, support.y), attending(support.mask))
        return TNPState(keys, support.x, support.y, support.real(), support.sizes())

    def extended(self, state: TNPState, examples: Examples) -> TNPState:
        """`append` without the checks, of points as `entering` returns them."""
        return self.encoded(Examples(state.x, state.y, state.real).append(examples))

    def outputs(self, state: TNPState, x: Tensor) -> Tensor:
        """The head's parameters at `x [T, M, dx]`."""
        return self.transformer.answer(x, state.keys, attending(state.real))
