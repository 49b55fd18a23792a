"""A causal Transformer Neural Process, whose state grows point by point (Mortimer et al. 2026, incTNP)."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, NamedTuple, final

import torch
from torch import Tensor

from quickstudy.checks import check_choice, check_whole
from quickstudy.data import Examples, Tasks
from quickstudy.likelihoods import negative_log_likelihood
from quickstudy.processes.conditional import Conditional
from quickstudy.processes.heads.head import Head, asked, chosen, encoded_size, entering
from quickstudy.processes.parts.causal import Stream, attending_up_to, in_a_chain, with_first
from quickstudy.processes.parts.room import claim
from quickstudy.processes.parts.sizes import TRAINING_DEFAULTS
from quickstudy.processes.parts.transformer import Transformer, check_heads


class IncTNPState(NamedTuple):
    """The keys and values of every layer for the support points of `T` tasks; the first stands for no point."""

    keys: Tensor  # [T, layers, 1 + N, 2 width]
    real: Tensor  # [T, 1 + N]
    seen: Tensor  # [T]
    rows: Tensor  # [T, layers, at least 1 + N, 2 width], the buffer whose first rows are the keys
    filled: Tensor  # [T], the number of rows of the buffer that this state or later ones use


@final
class IncTNP(Conditional):
    """A transformer in which each support point attends to those before it only.

    The keys of a point do not change when others follow. So training can predict every point given all points before
    it, in one pass (`objective="prefixes"`), and `append` computes the keys of the new points alone. It writes them
    behind the earlier keys, which it copies only under a graph, when their buffer is full (it then doubles), or when
    other points were appended to the same state before. The new point attends to all earlier ones, so the time of an
    `append` still grows a little with their number. Predictions depend on the order of the support points; training
    makes that dependence small, not zero.

    Args:
        dx: number of features of an input.
        dy: number of features of an output.
        width: number of features of a token.
        depth: number of layers.
        heads: number of attention heads, a divisor of `width`.
        hidden: units of the network at each token.
        embedding: number of linear layers from a point to a token.
        objective: "prefixes" predicts each point, support and query, given all points before it (incTNP-Seq); "query"
            predicts each query point given the support set, as the other processes do.
        head: the kind of belief at a point; by default `qs.heads.GaussianHead(1e-3)`.

    >>> import quickstudy as qs
    >>> tasks = qs.tasks.GaussianProcess().sample(4, support=8, query=5)
    >>> process = qs.IncTNP()
    >>> state = process.append(process.encode(tasks.support), tasks.query)  # 5 points that arrive later
    >>> process.predict(state, tasks.query.x).mean.shape
    torch.Size([4, 5, 1])
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
        objective: Literal["prefixes", "query"] = "prefixes",
        head: Head | None = None,
    ):
        super().__init__()
        self.dx, self.dy = check_whole("dx", dx), check_whole("dy", dy)
        self.sizes = {"width": width, "depth": depth, "heads": heads, "hidden": hidden, "embedding": embedding}
        check_heads(self.sizes)
        check_choice("objective", objective, ("prefixes", "query"))
        self.objective = objective
        self.head, self._head = chosen(head), head
        if self.head.joint and objective == "prefixes":
            raise ValueError(
                f"head={self.head!r} is one belief about all points, and objective='prefixes' predicts each point by "
                "itself, given those before it; use objective='query', or a head for each point by itself"
            )
        self.transformer = Transformer(dx, encoded_size(self.head, dy), self.head.size(dy), **self.sizes)

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"dx": self.dx, "dy": self.dy, **self.sizes, "objective": self.objective, "head": self._head}

    def forward(self, tasks: Tasks) -> Tensor:
        """`meta_loss` without the checks."""
        points = tasks.support.append(tasks.query) if self.objective == "prefixes" else tasks.support
        known = entering(self.head, points)
        query = asked(self.head, points if self.objective == "prefixes" else tasks.query)
        tokens = self.transformer.tokens(known.x, known.y)
        count = tokens.shape[1]
        places = torch.arange(count, device=tokens.device)
        if self.objective == "prefixes":  # point p is the token 1 + p, and attends to the tokens before that
            later = places[1:]
        else:
            later = places.new_full((query.num_points,), count)
        allowed = attending_up_to(torch.cat([places + 1, later]), count)
        if known.mask is not None:
            allowed = allowed & with_first(known.mask)[:, None, None]
        belief = self.head(self.transformer(tokens, query.x, allowed), self.dy)
        return negative_log_likelihood(belief, query, joint=self.head.joint)

    def encoded(self, support: Examples) -> IncTNPState:
        """`encode` without the checks, of points as `entering` returns them."""
        tokens = self.transformer.tokens(support.x, support.y)
        real = with_first(support.real())
        keys = self.transformer.encode(tokens, _causal(tokens, real))
        return _state(keys, real, support.sizes())

    def extended(self, state: IncTNPState, examples: Examples) -> IncTNPState:
        """`append` without the checks, of points as `entering` returns them."""
        tokens = self.transformer.more(examples.x, examples.y)
        real = torch.cat([state.real, examples.real()], 1)
        seen = state.seen + examples.sizes()
        if torch.is_grad_enabled():
            return _state(self.transformer.encode(tokens, _causal(tokens, real), state.keys), real, seen)
        keys, room = claim(state.keys, state.rows, state.filled, examples.num_points)
        return IncTNPState(self.transformer.fill(tokens, _causal(tokens, real), keys), real, seen, *room)

    def outputs(self, state: IncTNPState, x: Tensor) -> Tensor:
        """The head's parameters at `x [T, M, dx]`."""
        return self.transformer.answer(x, state.keys, state.real[:, None, None])

    def chained(self, state: IncTNPState, points: Examples) -> Tensor:
        """The head's parameters `[T, M, size]` at each of `points`, given the points in `state` and those before it.

        `points` are as `entering` returns them.
        """
        return in_a_chain(self.transformer, state.keys, state.real, points)

    def stream(self, state: IncTNPState, points: int) -> Stream:
        """Predictions of one point after another, for at most `points` of them, without a graph."""
        return Stream(self, state.keys, state.real, points)


def _state(keys: Tensor, real: Tensor, seen: Tensor) -> IncTNPState:
    """A state whose buffer is full."""
    return IncTNPState(keys, real, seen, keys, torch.full_like(seen, keys.shape[2]))


def _causal(tokens: Tensor, real: Tensor) -> Tensor:
    """Whether each of the last `tokens` attends to each key of a real point, `[T, 1, tokens, K]`: itself and before."""
    keys = real.shape[1]
    places = torch.arange(keys - tokens.shape[1], keys, device=real.device)
    return attending_up_to(places + 1, keys) & real[:, None, None]
