"""Bootstrapping Neural Process and Bootstrapping Attentive Neural Process (Lee et al. 2020, arXiv 2008.02956)."""

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, final

import torch
from torch import Tensor, nn

from quickstudy import chance, predictive
from quickstudy.checks import check_switch, check_whole
from quickstudy.data import Examples, Tasks, at_least_float32
from quickstudy.learner import check_steps
from quickstudy.likelihoods import negative_log_likelihood
from quickstudy.processes.heads import GaussianHead
from quickstudy.processes.latent import Latent, even_mixture
from quickstudy.processes.parts.attention import Attended, CrossAttention
from quickstudy.processes.parts.blocks import PointEncoder, State, dtype_of, mean_and_sd
from quickstudy.processes.parts.sizes import TRAINING_DEFAULTS, check_sizes
from quickstudy.processes.parts.transformer import check_heads


class BootstrapState(NamedTuple):
    """The support points of `T` tasks, real ones before padding, which holds zeros."""

    x: Tensor  # [T, N, dx]
    y: Tensor  # [T, N, dy]
    real: Tensor  # [T, N]
    seen: Tensor  # [T]


class Bootstraps(NamedTuple):
    """The encoded support set, expanded over the bootstraps, and the encoded bootstraps of it."""

    base: State | Attended  # of tensors [S, T, ...]
    own: State | Attended  # of tensors [S, T, ...]


@final
class BootstrappingNP(Latent):
    """A CNP whose uncertainty about the function comes from bootstraps of the support set, not from a latent variable.

    For bootstrap s: points (x_i, y_i) are resampled with replacement, and encoded; the decoder predicts mu_i and
    sigma_i at all support points, whose residuals are (y_i - mu_i) / sigma_i. Residuals e_i are resampled from these
    with replacement, and give the bootstrapped support set {(x_i, mu_i + sigma_i (e_i - mean e))} (section 3). With r
    the representation of the support set and r_s that of its bootstrap, y | x, s ~ N(mu(r + A r_s, x), sigma^2), and
    the belief is an even mixture over bootstraps. Training maximises the mean of log p(y | r) and of
    log mean_s p(y | s) at each query point (the paper has their sum); no gradient goes through the resampling.

    An empty support set has one bootstrap only, so all members agree there. `append` keeps the points; the
    bootstraps of all points are encoded again, and those of the same generator resample points at the same places.

    Args:
        dx: number of features of an input.
        dy: number of features of an output.
        attention: whether query points attend to the support points (`AttentiveCNP`) in place of taking their mean.
        width: units of every hidden layer, and features of the representation.
        train_samples: bootstraps drawn per task in training (4 in the paper).
        samples: bootstraps drawn per task for a prediction (50 in the paper).
        encoder_depth: number of linear layers of the encoder, at least 2.
        decoder_depth: number of linear layers of the decoder, at least 2.
        heads: with `attention`, number of attention heads, a divisor of `width`.
        self_attention: with `attention`, number of layers in which the support points attend to each other.
        sigma_floor: the smallest standard deviation that the process can predict, in units of y; see `CNP`.

    >>> import quickstudy as qs
    >>> tasks = qs.tasks.GaussianProcess().sample(4, support=8, query=5)
    >>> qs.BootstrappingNP(samples=8).adapt(tasks.support).functions(16)(tasks.query.x).shape
    torch.Size([16, 4, 5, 1])
    """

    training_defaults: ClassVar[Mapping[str, Any]] = TRAINING_DEFAULTS

    def __init__(
        self,
        dx: int = 1,
        dy: int = 1,
        *,
        attention: bool = False,
        width: int = 128,
        train_samples: int = 4,
        samples: int = 50,
        encoder_depth: int = 4,
        decoder_depth: int = 4,
        heads: int = 8,
        self_attention: int = 2,
        sigma_floor: float = 1e-3,
    ):
        super().__init__()
        depths = {"encoder_depth": encoder_depth, "decoder_depth": decoder_depth}
        self.sizes = check_sizes(dx, dy, width=width, **depths, sigma_floor=sigma_floor)
        self.dx, self.dy, self.head = dx, dy, GaussianHead(sigma_floor)
        self.attention, self.heads = check_switch("attention", attention), heads
        self.self_attention = check_steps(self_attention, "self_attention")
        self.train_samples = check_whole("train_samples", train_samples)
        self.samples = check_whole("samples", samples)
        self.encoder: PointEncoder | CrossAttention = self.sizes.encoder()
        if attention:
            check_heads({"width": width, "heads": heads})
            own = {"depth": encoder_depth, "heads": heads, "self_attention": self_attention}
            self.encoder = CrossAttention(dx, dy, width=width, **own)
        self.adaptation = nn.Linear(width, width, bias=False)
        self.decoder = self.sizes.decoder(width, 2 * dy)

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        drawn = {"train_samples": self.train_samples, "samples": self.samples}
        own = {"attention": self.attention, "heads": self.heads, "self_attention": self.self_attention}
        return {**self.sizes._asdict(), **drawn, **own}

    def forward(self, tasks: Tasks) -> Tensor:
        """`meta_loss` without the checks."""
        support, query = tasks.support.clean(), tasks.query.clean()
        keys = chance.keys((self.train_samples, len(support.x)), axis=1, device=support.x.device)
        bootstraps = self.members(self.encoded(support), keys)
        mean, sd = self._decoded(self._at(_first(bootstraps.base), query.x), query.x)
        mixture = even_mixture(self, self.member_outputs(None, bootstraps, query.x))
        beliefs = predictive.Gaussian(mean, sd.square()), mixture
        base, mixed = (negative_log_likelihood(belief, query, joint=False) for belief in beliefs)
        return (base + mixed) / 2

    def encoded(self, support: Examples) -> BootstrapState:
        """`encode` without the checks, of points whose padding holds zeros."""
        x, y, mask = support
        if mask is not None:
            order = mask.int().argsort(dim=1, descending=True, stable=True)
            x, y = _taken(x, order), _taken(y, order)
            mask = mask.gather(1, order)
        return BootstrapState(x, y, support.real() if mask is None else mask, support.sizes())

    def extended(self, state: BootstrapState, examples: Examples) -> BootstrapState:
        """`append` without the checks, of points whose padding holds zeros."""
        return self.encoded(Examples(*state[:3]).append(examples))

    def noise(self, n: int, like: Tensor, generator: torch.Generator | None) -> Tensor:
        """Random keys `[n, T]` of the bootstraps of `T = len(like)` tasks."""
        return chance.new_keys((n, len(like)), like.device, generator)

    def members(self, state: BootstrapState, noise: Tensor) -> Bootstraps:
        """The encoded support set and its bootstraps, for keys `[S, T]`."""
        base = self.encoder.encode(Examples(*state[:3]))
        with torch.no_grad():
            y = self.bootstrapped(state, noise)
        own = self.encoder.encode(Examples(*_expanded(state, len(noise))[:3])._replace(y=y.flatten(0, 1)))
        wide = type(base)(*(part.expand(len(noise), *part.shape) for part in base))
        return Bootstraps(wide, type(own)(*(part.unflatten(0, noise.shape) for part in own)))

    def member_outputs(self, state: Any, members: Bootstraps, x: Tensor) -> Tensor:
        """The head's parameters `[S, T, M, 2 dy]` at `x [T, M, dx]` for the bootstraps."""
        count = len(members.own[0])
        flat = type(members.own)(*(part.flatten(0, 1) for part in members.own))
        own = self._at(flat, x.repeat(count, 1, 1)).unflatten(0, (count, len(x)))
        return self.decoder.at_points(self._at(_first(members.base), x) + self.adaptation(own), x)

    def bootstrapped(self, state: BootstrapState, keys: Tensor) -> Tensor:
        """The outputs `[S, T, N, dy]` of the bootstrapped support sets, zeros in the padding, for keys `[S, T]`."""
        x, y, real, seen = state
        places = torch.arange(x.shape[1], device=x.device)
        bits = (chance.keyed(chance.keyed(keys, places.new_tensor(stream))[..., None], places) for stream in (0, 1))
        pairs, residuals = (chance.whole_numbers(own, seen[:, None]) for own in bits)  # [S, T, N]
        again = Examples(_taken(x.expand(len(keys), *x.shape), pairs), _taken(y.expand(len(keys), *y.shape), pairs))
        resampled = Examples(again.x.flatten(0, 1), again.y.flatten(0, 1), real.repeat(len(keys), 1)).clean()
        wide = x.repeat(len(keys), 1, 1)
        mean, sd = self._decoded(self._at(self.encoder.encode(resampled), wide), wide)
        mean, sd = (part.unflatten(0, keys.shape) for part in (mean, sd))
        error = torch.where(real[..., None], _taken((y - mean) / sd, residuals), 0)
        centre = error.sum(2, keepdim=True, dtype=at_least_float32(error)) / seen.clamp_min(1)[:, None, None]
        return torch.where(real[..., None], mean + sd * (error - centre.to(error)), 0)

    def _at(self, code: State | Attended, x: Tensor) -> Tensor:
        """The representation for `x [T, M, dx]`: `[T, M, width]`, or `[T, 1, width]` if it is the same everywhere."""
        if isinstance(code, State):
            return code.mean(dtype_of(self.decoder)).unsqueeze(1)
        found: Tensor = self.encoder(code, x)
        return found

    def _decoded(self, representation: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        return mean_and_sd(self.decoder.at_points(representation, x), self.head.floor)


def BootstrappingANP(dx: int = 1, dy: int = 1, **options: Any) -> BootstrappingNP:
    """A `BootstrappingNP` whose query points attend to the support points. Same as `BootstrappingNP(attention=True)`.

    Args:
        dx, dy, options: as for `BootstrappingNP`, except `attention`.

    >>> import quickstudy as qs
    >>> qs.BootstrappingANP(width=16, heads=2).attention
    True
    """
    if "attention" in options:
        raise TypeError("BootstrappingANP is BootstrappingNP with attention=True; use BootstrappingNP to choose it")
    return BootstrappingNP(dx, dy, attention=True, **options)


def _first(code: State | Attended) -> State | Attended:
    return type(code)(*(part[0] for part in code))


def _expanded(state: BootstrapState, count: int) -> BootstrapState:
    """The state of every task `count` times, `[count T, ...]`."""
    return BootstrapState(*(part.repeat(count, *[1] * (part.dim() - 1)) for part in state))


def _taken(values: Tensor, places: Tensor) -> Tensor:
    """The points of `values [*S, N, d]` at `places [*S, N]`."""
    return values.gather(-2, places[..., None].expand(*places.shape, values.shape[-1]))
