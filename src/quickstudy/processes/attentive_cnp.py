"""Attentive Conditional Neural Process: the deterministic path of Kim et al. 2019 (arXiv 1901.05761)."""

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, final

from torch import Tensor

from quickstudy.checks import check_whole
from quickstudy.data import Examples, Tasks
from quickstudy.learner import check_steps
from quickstudy.likelihoods import negative_log_likelihood
from quickstudy.processes.conditional import Conditional, prepared
from quickstudy.processes.heads.head import Head, chosen, encoded_size
from quickstudy.processes.parts.attention import Attended, CrossAttention
from quickstudy.processes.parts.blocks import Decoder
from quickstudy.processes.parts.sizes import TRAINING_DEFAULTS
from quickstudy.processes.parts.transformer import check_heads


class AttentiveState(NamedTuple):
    """The support points of `T` tasks, and the keys and values of these points."""

    keys: Tensor  # [T, 1 + N, width]
    values: Tensor  # [T, 1 + N, width]
    real: Tensor  # [T, 1 + N]
    x: Tensor  # [T, N, dx]
    y: Tensor  # [T, N, features of y]
    seen: Tensor  # [T]


@final
class AttentiveCNP(Conditional):
    """A conditional process in which each query point attends to the support points, by the distance of learned keys.

    y | x ~ N(mu(r(x), x), sigma(r(x), x)^2),  r(x) = sum_i softmax_i(k(x) . k(x_i)) v_i. A `CNP` takes one mean
    over the support points; here each query point has its own weighted mean.

    Args:
        dx: number of features of an input.
        dy: number of features of an output.
        width: units of every hidden layer, and features of a key and of a value.
        encoder_depth: number of linear layers before a value, at least 2.
        decoder_depth: number of linear layers of the decoder, at least 2.
        heads: number of attention heads, a divisor of `width` (8 in the paper).
        self_attention: number of layers in which the support points attend to each other. With 0, `append` encodes the
            new points only; otherwise it encodes all points again.
        head: the kind of belief at a point; by default `qs.heads.GaussianHead(1e-3)`.

    >>> import quickstudy as qs
    >>> tasks = qs.tasks.GaussianProcess().sample(4, support=8, query=5)
    >>> qs.AttentiveCNP().adapt(tasks.support)(tasks.query.x).log_prob(tasks.query.y).shape
    torch.Size([4, 5])
    """

    training_defaults: ClassVar[Mapping[str, Any]] = TRAINING_DEFAULTS

    def __init__(
        self,
        dx: int = 1,
        dy: int = 1,
        *,
        width: int = 128,
        encoder_depth: int = 4,
        decoder_depth: int = 4,
        heads: int = 8,
        self_attention: int = 2,
        head: Head | None = None,
    ):
        super().__init__()
        self.dx, self.dy = check_whole("dx", dx), check_whole("dy", dy)
        check_heads({"width": width, "heads": heads})
        check_whole("encoder_depth", encoder_depth, 2), check_whole("decoder_depth", decoder_depth, 2)
        self.sizes = {"width": width, "encoder_depth": encoder_depth, "decoder_depth": decoder_depth, "heads": heads}
        self.self_attention = check_steps(self_attention, "self_attention")
        self.head, self._head = chosen(head), head
        self.attention = CrossAttention(
            dx,
            encoded_size(self.head, dy),
            width=width,
            depth=encoder_depth,
            heads=heads,
            self_attention=self_attention,
        )
        self.decoder = Decoder(width, dx, width, decoder_depth, self.head.size(dy))

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        own = {"self_attention": self.self_attention, "head": self._head}
        return {"dx": self.dx, "dy": self.dy, **self.sizes, **own}

    def forward(self, tasks: Tasks) -> Tensor:
        """`meta_loss` without the checks."""
        support, query = prepared(self, tasks)
        belief = self.head(self.outputs(self.encoded(support), query.x), self.dy)
        return negative_log_likelihood(belief, query, joint=self.head.joint)

    def encoded(self, support: Examples) -> AttentiveState:
        """`encode` without the checks, of points as `entering` returns them."""
        return AttentiveState(*self.attention.encode(support), support.x, support.y, support.sizes())

    def extended(self, state: AttentiveState, examples: Examples) -> AttentiveState:
        """`append` without the checks, of points as `entering` returns them."""
        union = Examples(state.x, state.y, state.real[:, 1:]).append(examples)
        attended = self.attention.extend(Attended(*state[:3]), union, examples.num_points)
        return AttentiveState(*attended, union.x, union.y, state.seen + examples.sizes())

    def outputs(self, state: AttentiveState, x: Tensor) -> Tensor:
        """The head's parameters at `x [T, M, dx]`."""
        return self.decoder.at_points(self.attention(Attended(*state[:3]), x), x)
