"""Relational Conditional Neural Process (Huang et al. 2023, arXiv 2306.10915)."""

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, final

import torch
from torch import Tensor
from torch.nn import functional as F

from quickstudy.checks import check_switch, check_whole
from quickstudy.data import Examples, Tasks
from quickstudy.likelihoods import negative_log_likelihood
from quickstudy.nets import MLP
from quickstudy.processes.conditional import Conditional, prepared
from quickstudy.processes.heads.head import Head, chosen, encoded_size
from quickstudy.processes.parts.blocks import he_normal
from quickstudy.processes.parts.sizes import TRAINING_DEFAULTS


class RelativeState(NamedTuple):
    """The support points of `T` tasks."""

    x: Tensor  # [T, N, dx]
    y: Tensor  # [T, N, features of y]
    real: Tensor  # [T, N]
    seen: Tensor  # [T]


@final
class RelativeCNP(Conditional):
    """A conditional process that sees only differences of inputs: if a task is moved, its predictions move with it.

    y | x ~ N(mu(r(x)), sigma(r(x))^2),  r(x) = mean_n f(x_n - x, y_n). With `pairs`,
    r(x) = mean_nm f(x_n - x, x_n - x_m, y_n, y_m) (eq. 6, "full"): f then sees pairs, which costs N^2 for each query
    point. `append` keeps the points; each prediction looks at all of them.

    Args:
        dx: number of features of an input.
        dy: number of features of an output.
        width: units of every hidden layer, and features of the representation r.
        encoder_depth: number of linear layers of f, at least 2.
        decoder_depth: number of linear layers of the decoder, at least 2.
        pairs: whether f sees pairs of support points.
        head: the kind of belief at a point; by default `qs.heads.GaussianHead(1e-3)`.

    >>> import quickstudy as qs
    >>> tasks = qs.tasks.GaussianProcess().sample(4, support=8, query=5)
    >>> qs.RelativeCNP().adapt(tasks.support)(tasks.query.x).log_prob(tasks.query.y).shape
    torch.Size([4, 5])
    """

    equivariant = True
    training_defaults: ClassVar[Mapping[str, Any]] = TRAINING_DEFAULTS

    def __init__(
        self,
        dx: int = 1,
        dy: int = 1,
        *,
        width: int = 128,
        encoder_depth: int = 3,
        decoder_depth: int = 4,
        pairs: bool = False,
        head: Head | None = None,
    ):
        super().__init__()
        self.dx, self.dy = check_whole("dx", dx), check_whole("dy", dy)
        depths = {
            "encoder_depth": check_whole("encoder_depth", encoder_depth, 2),
            "decoder_depth": check_whole("decoder_depth", decoder_depth, 2),
        }
        self.sizes, self.pairs = {"width": check_whole("width", width), **depths}, check_switch("pairs", pairs)
        self.head, self._head = chosen(head), head
        of_point = dx + encoded_size(self.head, dy)
        self.relation = he_normal(
            MLP(2 * of_point if pairs else of_point, [width] * (encoder_depth - 1), width, activation="gelu")
        )
        decoder = MLP(width, [width] * (decoder_depth - 1), self.head.size(dy), activation="gelu")
        self.decoder = he_normal(decoder)
        with torch.no_grad():  # so that the network's first outputs are near zero everywhere
            decoder.layers[-1].weight.mul_(0.01)  # type: ignore[operator]

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"dx": self.dx, "dy": self.dy, **self.sizes, "pairs": self.pairs, "head": self._head}

    def forward(self, tasks: Tasks) -> Tensor:
        """`meta_loss` without the checks."""
        support, query = prepared(self, tasks)
        belief = self.head(self.outputs(self.encoded(support), query.x), self.dy)
        return negative_log_likelihood(belief, query, joint=self.head.joint)

    def encoded(self, support: Examples) -> RelativeState:
        """`encode` without the checks, of points as `entering` returns them."""
        return RelativeState(support.x, support.y, support.real(), support.sizes())

    def extended(self, state: RelativeState, examples: Examples) -> RelativeState:
        """`append` without the checks, of points as `entering` returns them."""
        return self.encoded(Examples(state.x, state.y, state.real).append(examples))

    def outputs(self, state: RelativeState, x: Tensor) -> Tensor:
        """The head's parameters at `x [T, M, dx]`."""
        points, real = self._related(state)  # [T, P, features], [T, P]
        to_query = state.x.unsqueeze(1) - x.unsqueeze(2)  # [T, M, N, dx]
        if self.pairs:
            to_query = to_query.repeat_interleave(state.x.shape[1], 2)
        seen = torch.cat([to_query, points.unsqueeze(1).expand(-1, x.shape[1], -1, -1)], -1)
        codes = F.gelu(self.relation(seen)).masked_fill(~real[:, None, :, None], 0)
        mean = codes.sum(2) / real.sum(1).clamp_min(1)[:, None, None]
        return self.decoder(mean)

    def _related(self, state: RelativeState) -> tuple[Tensor, Tensor]:
        """What f sees besides the difference to the query point, for each point or pair, and which are real."""
        x, y, real = state.x, state.y, state.real
        if not self.pairs:
            return y, real
        first, second = torch.broadcast_tensors(y.unsqueeze(2), y.unsqueeze(1))
        both = torch.cat([x.unsqueeze(2) - x.unsqueeze(1), first, second], -1)
        return both.flatten(1, 2), (real.unsqueeze(2) & real.unsqueeze(1)).flatten(1)
