"""Autoregressive Transformer Neural Process (Nguyen and Grover 2022, arXiv 2207.04179)."""

from collections.abc import Mapping
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from quickstudy.checks import check_whole
from quickstudy.data import Examples, Tasks, at_least_float32
from quickstudy.processes.conditional import Conditional, prepared
from quickstudy.processes.heads.head import Head, chosen, encoded_size, entering
from quickstudy.processes.joint.chained import ChainedBelief, chained_belief
from quickstudy.processes.parts.causal import Stream, attending_up_to, in_a_chain, with_first
from quickstudy.processes.parts.sizes import TRAINING_DEFAULTS
from quickstudy.processes.parts.transformer import Transformer, attending, check_heads
from quickstudy.processes.tnp import TNPState


@final
class TNPA(Conditional):
    """A transformer that predicts each query point given the support set and the query points before it: TNP-A.

    p(y_1, ..., y_M | support) = prod_m p(y_m | x_m, support, (x_1, y_1), ..., (x_{m-1}, y_{m-1})) (section 3.2).

    Support points attend to each other, so their order does not matter. Query points form a chain: training gives each
    of them the true outcomes of those before it, in one pass. So the loss is the joint density per point.

    In a belief, `sample` and `log_prob(y, joint=True)` take the points in the order in which they are given: the
    density needs one pass, and a draw needs one small pass for each point. (`predictor.autoregressive()` averages the
    density over random orders.) `mean`, `variance` and `log_prob(y)` are about each point by itself. `append` encodes
    all points again.

    Args:
        dx: number of features of an input.
        dy: number of features of an output.
        width: number of features of a token (64 in the paper).
        depth: number of layers (6 in the paper).
        heads: number of attention heads, a divisor of `width` (4 in the paper).
        hidden: units of the network at each token (128 in the paper).
        embedding: number of linear layers from a point to a token (4 in the paper).
        head: the kind of belief at a point; by default `qs.heads.GaussianHead(1e-3)`.

    Raises:
        ValueError: for a head that is one belief about all points.

    >>> import quickstudy as qs
    >>> tasks = qs.tasks.GaussianProcess().sample(4, support=8, query=5)
    >>> belief = qs.TNPA().adapt(tasks.support)(tasks.query.x)
    >>> belief.log_prob(tasks.query.y, joint=True).shape, belief.sample(3).shape
    (torch.Size([4]), torch.Size([3, 4, 5, 1]))
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
        if self.head.joint:
            raise ValueError(
                f"head={self.head!r} is one belief about all points, and a TNPA predicts each point by itself, given "
                "those before it; use a head for each point by itself, or the processes TNP and TNPND"
            )
        self.transformer = Transformer(dx, encoded_size(self.head, dy), self.head.size(dy), **self.sizes)

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"dx": self.dx, "dy": self.dy, **self.sizes, "head": self._head}

    def forward(self, tasks: Tasks) -> Tensor:
        """`meta_loss` without the checks."""
        support, query = prepared(self, tasks)
        known = support.append(entering(self.head, tasks.query))
        tokens = self.transformer.tokens(known.x, known.y)
        first, count = 1 + support.num_points, tokens.shape[1]
        places = torch.arange(first, count, device=tokens.device)  # of the query points among the tokens
        limits = torch.cat([places.new_full((first,), first), places + 1, places])
        allowed = attending_up_to(limits, count)
        if known.mask is not None:
            allowed = allowed & with_first(known.mask)[:, None, None]
        density = self.head(self.transformer(tokens, query.x, allowed), self.dy).log_prob(query.y, query.mask)
        return -(density.sum(1, dtype=at_least_float32(density)) / query.sizes().clamp_min(1)).mean()

    def encoded(self, support: Examples) -> TNPState:
        """`encode` without the checks, of points as `entering` returns them."""
        keys = self.transformer.encode(self.transformer.tokens(support.x, support.y), attending(support.mask))
        return TNPState(keys, support.x, support.y, support.real(), support.sizes())

    def extended(self, state: TNPState, examples: Examples) -> TNPState:
        """`append` without the checks, of points as `entering` returns them."""
        return self.encoded(Examples(state.x, state.y, state.real).append(examples))

    def outputs(self, state: TNPState, x: Tensor) -> Tensor:
        """The head's parameters at `x [T, M, dx]`, for each point by itself."""
        return self.transformer.answer(x, state.keys, attending(state.real))

    def belief(self, state: TNPState, x: Tensor) -> ChainedBelief:
        """`predict` without the checks."""
        return chained_belief(self, state, x)

    def chained(self, state: TNPState, points: Examples) -> Tensor:
        """The head's parameters `[T, M, size]` at each of `points`, given the points in `state` and those before it.

        `points` are as `entering` returns them.
        """
        return in_a_chain(self.transformer, state.keys, with_first(state.real), points)

    def stream(self, state: TNPState, points: int) -> Stream:
        """Predictions of one point after another, for at most `points` of them, without a graph."""
        return Stream(self, state.keys, with_first(state.real), points)
