"""Attentive Neural Process (Kim et al. 2019, arXiv 1901.05761)."""

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, final

import torch
from torch import Tensor

from quickstudy.checks import check_number, check_whole
from quickstudy.data import Examples, Tasks
from quickstudy.learner import check_steps
from quickstudy.nets import MLP
from quickstudy.processes.conditional import prepared
from quickstudy.processes.heads.head import Head, chosen, encoded_size
from quickstudy.processes.latent import Latent, bound, noise
from quickstudy.processes.parts.attention import Attended, CrossAttention
from quickstudy.processes.parts.blocks import Decoder, PointEncoder, State, dtype_of
from quickstudy.processes.parts.latents import LatentBelief, Objective, check_latent, latent_belief
from quickstudy.processes.parts.sizes import TRAINING_DEFAULTS
from quickstudy.processes.parts.transformer import check_heads


class AttentiveNPState(NamedTuple):
    """The support points of `T` tasks, their keys and values, and the sum of their codes for the latent."""

    keys: Tensor  # [T, 1 + N, width]
    values: Tensor  # [T, 1 + N, width]
    real: Tensor  # [T, 1 + N]
    x: Tensor  # [T, N, dx]
    y: Tensor  # [T, N, dy]
    total: Tensor  # [T, width]
    seen: Tensor  # [T]


@final
class AttentiveNP(Latent):
    """A Neural Process whose deterministic path attends to the support points; the latent belongs to the whole task.

    y | x, z ~ N(mu(r(x), z, x), sigma(r(x), z, x)^2),  z ~ q(z | support),  r(x) as in `AttentiveCNP`. The objectives
    are those of `NeuralProcess`. With `self_attention`, `append` encodes all points again.

    Args:
        dx: number of features of an input.
        dy: number of features of an output.
        width: units of every hidden layer, and features of a key and of a value.
        latent: dimension of z.
        objective: "elbo", "iwae" or "ml".
        train_samples: latents drawn per task in training; by default 1 for "elbo", 4 for "iwae" and 16 for "ml".
        samples: latents drawn per task for a prediction.
        encoder_depth: number of linear layers before a value, and before the mean for the latent, at least 2.
        decoder_depth: number of linear layers of the decoder, at least 2.
        heads: number of attention heads, a divisor of `width` (8 in the paper).
        self_attention: number of layers in which the support points attend to each other; see `AttentiveCNP`.
        sigma_floor: the smallest standard deviation that the process can predict, in units of y; see `CNP`.
        head: the kind of belief of a member at a point, such as `qs.heads.BernoulliHead()`; by default
            `qs.heads.GaussianHead(sigma_floor)`.

    >>> import quickstudy as qs
    >>> tasks = qs.tasks.GaussianProcess().sample(4, support=8, query=5)
    >>> qs.AttentiveNP(samples=8).adapt(tasks.support).functions(64)(tasks.query.x).shape
    torch.Size([64, 4, 5, 1])
    """

    training_defaults: ClassVar[Mapping[str, Any]] = TRAINING_DEFAULTS

    def __init__(
        self,
        dx: int = 1,
        dy: int = 1,
        *,
        width: int = 128,
        latent: int = 128,
        objective: Objective = "elbo",
        train_samples: int | None = None,
        samples: int = 50,
        encoder_depth: int = 4,
        decoder_depth: int = 4,
        heads: int = 8,
        self_attention: int = 2,
        sigma_floor: float = 1e-3,
        head: Head | None = None,
    ):
        super().__init__()
        self.dx, self.dy, self.sigma_floor = check_whole("dx", dx), check_whole("dy", dy), sigma_floor
        check_heads({"width": width, "heads": heads})
        check_whole("encoder_depth", encoder_depth, 2), check_whole("decoder_depth", decoder_depth, 2)
        self.head, self._head = chosen(head, check_number("sigma_floor", sigma_floor)), head
        outcome = encoded_size(self.head, self.dy)
        self.sizes = {"width": width, "encoder_depth": encoder_depth, "decoder_depth": decoder_depth, "heads": heads}
        self.self_attention = check_steps(self_attention, "self_attention")
        self.objective, self._train_samples = objective, train_samples
        self.latent, self.samples, self.train_samples = check_latent(objective, train_samples, latent, samples)
        self.attention = CrossAttention(
            dx, outcome, width=width, depth=encoder_depth, heads=heads, self_attention=self_attention
        )
        self.encoder = PointEncoder(dx + outcome, width, encoder_depth, width)
        self.latent_head = MLP(width, [width], 2 * latent, activation="gelu")
        self.decoder = Decoder(width + latent, dx, width, decoder_depth, self.head.size(self.dy))

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        drawn = {"latent": self.latent, "train_samples": self._train_samples, "samples": self.samples}
        own = {"objective": self.objective, "self_attention": self.self_attention, "sigma_floor": self.sigma_floor}
        return {"dx": self.dx, "dy": self.dy, **self.sizes, **drawn, **own, "head": self._head}

    def forward(self, tasks: Tasks) -> Tensor:
        """`meta_loss` without the checks."""
        support, query = prepared(self, tasks)
        return -(bound(self, self.encoded(support), query) / query.sizes().clamp_min(1)).mean()

    def encoded(self, support: Examples) -> AttentiveNPState:
        """`encode` without the checks, of points as `entering` returns them."""
        codes = self.encoder.encode(support)
        return AttentiveNPState(*self.attention.encode(support), support.x, support.y, codes.total, codes.seen)

    def extended(self, state: AttentiveNPState, examples: Examples) -> AttentiveNPState:
        """`append` without the checks, of points as `entering` returns them."""
        union = Examples(state.x, state.y, state.real[:, 1:]).append(examples)
        attended = self.attention.extend(Attended(*state[:3]), union, examples.num_points)
        codes = State(state.total, state.seen).plus(self.encoder.encode(examples))
        return AttentiveNPState(*attended, union.x, union.y, codes.total, codes.seen)

    def latent_belief(self, state: AttentiveNPState) -> LatentBelief:
        """q(z | points in `state`), with standard deviations between 0.1 and 1."""
        codes = State(state.total, state.seen)
        return latent_belief(self.latent_head(codes.mean(dtype_of(self.latent_head))))

    def noise(self, n: int, like: Tensor, generator: torch.Generator | None) -> Tensor:
        """Standard normal noise `[n, T, latent]` of the latents of `T = len(like)` tasks."""
        return noise(n, self.latent, like, generator)

    def members(self, state: AttentiveNPState, noise: Tensor) -> Tensor:
        """Latents `[S, T, latent]` for their noise."""
        return self.latent_belief(state).of(noise)

    def member_outputs(self, state: AttentiveNPState, z: Tensor, x: Tensor) -> Tensor:
        """The head's parameters `[S, T, M, size]` at `x [T, M, dx]` for latents `z [S, T, latent]`."""
        attended = self.attention(Attended(*state[:3]), x)
        points = z.unsqueeze(2).expand(-1, -1, x.shape[1], -1)
        both = torch.cat([points, attended.expand(len(z), *attended.shape)], -1)
        return self.decoder.at_points(both, x)
