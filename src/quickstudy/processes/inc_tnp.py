"""A causal Transformer Neural Process, whose state grows point by point (Mortimer et al. 2026, incTNP)."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, NamedTuple, final

import torch
from torch import Tensor

from quickstudy.checks import check_choice, check_whole
from quickstudy.data import Examples, Tasks
from quickstudy.learner import Predictive
from quickstudy.processes.conditional import Conditional, negative_log_likelihood
from quickstudy.processes.heads import GaussianHead
from quickstudy.processes.heads.head import Head
from quickstudy.processes.parts.sizes import TRAINING_DEFAULTS
from quickstudy.processes.parts.transformer import Transformer, check_heads


class IncTNPState(NamedTuple):
    """The keys and values of every layer for the support points of `T` tasks; the first stands for no point."""

    keys: Tensor  # [T, layers, 1 + N, 2 width]
    real: Tensor  # [T, 1 + N]
    seen: Tensor  # [T]


@final
class IncTNP(Conditional):
    """A transformer in which each support point attends to those before it only.

    The keys of a point do not change when others follow, so `append` computes the keys of the new points alone, and
    training can predict every point given all points before it, in one pass (`objective="prefixes"`). Predictions
    depend on the order of the support points; training makes that dependence small, not zero.

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
        self.head, self._head = GaussianHead() if head is None else head, head
        if self.head.joint and objective == "prefixes":
            raise ValueError(
                f"head={self.head!r} is one belief about all points, and objective='prefixes' predicts each point by "
                "itself, given those before it; use objective='query', or a head for each point by itself"
            )
        self.transformer = Transformer(dx, dy, self.head.size(dy), **self.sizes)

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"dx": self.dx, "dy": self.dy, **self.sizes, "objective": self.objective, "head": self._head}

    def forward(self, tasks: Tasks) -> Tensor:
        """`meta_loss` without the checks."""
        support, query = tasks.support.clean(), tasks.query.clean()
        known = support.append(query) if self.objective == "prefixes" else support
        asked = known if self.objective == "prefixes" else query
        tokens = self.transformer.tokens(known.x, known.y)
        allowed = _before(tokens.shape[1], tokens.shape[1], tokens)
        if self.objective == "prefixes":  # point p is the token 1 + p, and attends to the tokens before that
            later = allowed[:-1]
        else:
            later = allowed[-1:].expand(asked.num_points, -1)
        allowed = torch.cat([allowed, later])
        if known.mask is not None:
            allowed = allowed & _first_and(known.mask)[:, None, None]
        belief = self.head(self.transformer(tokens, asked.x, allowed), self.dy)
        return negative_log_likelihood(belief, asked, joint=self.head.joint)

    def encoded(self, support: Examples) -> IncTNPState:
        """`encode` without the checks, of points whose padding holds zeros."""
        tokens = self.transformer.tokens(support.x, support.y)
        real = _first_and(support.real())
        allowed = _before(tokens.shape[1], tokens.shape[1], tokens) & real[:, None, None]
        return IncTNPState(self.transformer.encode(tokens, allowed), real, support.sizes())

    def extended(self, state: IncTNPState, examples: Examples) -> IncTNPState:
        """`append` without the checks, of points whose padding holds zeros."""
        tokens = self.transformer.more(examples.x, examples.y)
        real = torch.cat([state.real, examples.real()], 1)
        allowed = _before(tokens.shape[1], real.shape[1], tokens) & real[:, None, None]
        keys = self.transformer.encode(tokens, allowed, state.keys)
        return IncTNPState(keys, real, state.seen + examples.sizes())

    def outputs(self, state: IncTNPState, x: Tensor) -> Tensor:
        """The head's parameters at `x [T, M, dx]`."""
        return self.transformer.answer(x, state.keys, state.real[:, None, None])

    def chained(self, state: IncTNPState, points: Examples) -> Tensor:
        """The head's parameters `[T, M, size]` at each of `points`, given the points in `state` and those before it."""
        tokens = self.transformer.more(points.x, points.y)
        real = torch.cat([state.real, points.real()], 1)
        allowed = _before(tokens.shape[1], real.shape[1], tokens) & real[:, None, None]
        keys = self.transformer.encode(tokens, allowed, state.keys)
        without_itself = _before(tokens.shape[1], real.shape[1] - 1, tokens)
        without_itself = torch.nn.functional.pad(without_itself, (0, 1)) & real[:, None, None]
        return self.transformer.answer(points.x, keys, without_itself)

    def stream(self, state: IncTNPState, points: int) -> "IncTNPStream":
        """Predictions of one point after another, for at most `points` of them, without a graph."""
        return IncTNPStream(self, state, points)


class IncTNPStream:
    """Predicts point after point, each given the support set and all points before it; the keys have one buffer.

    Args:
        process: the process.
        state: its state after the support set.
        points: the largest number of points that will be appended.
    """

    def __init__(self, process: IncTNP, state: IncTNPState, points: int):
        self._process, self._count = process, state.keys.shape[2]
        self._keys = torch.nn.functional.pad(state.keys, (0, 0, 0, points))
        self._real = None if bool(state.real.all()) else torch.nn.functional.pad(state.real, (0, points), value=True)

    def __call__(self, x: Tensor, last: Examples | None) -> Predictive:
        """The belief at `x [T, 1, dx]`, after `last`, one real point of each task, is appended."""
        transformer = self._process.transformer
        self._count += last is not None
        keys = self._keys[:, :, : self._count]
        allowed = None if self._real is None else self._real[:, None, None, : self._count]
        if last is None:
            outputs = transformer.answer(x, keys, allowed)
        else:
            outputs = transformer.step(transformer.more(last.x, last.y), x, keys, allowed)
        return self._process.head(outputs, self._process.dy)


def _before(tokens: int, keys: int, like: Tensor) -> Tensor:
    """Whether each of the last `tokens` attends to each of the `keys`, `[tokens, keys]`: itself and earlier ones."""
    places = torch.arange(keys, device=like.device)
    return places[keys - tokens :, None] >= places


def _first_and(real: Tensor) -> Tensor:
    """The mask of the support tokens, `[T, 1 + N]`: one entry for the first token, then those of the points."""
    return torch.cat([real.new_ones(len(real), 1), real], 1)
