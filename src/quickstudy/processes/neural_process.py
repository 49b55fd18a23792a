"""Neural Process (Garnelo et al. 2018, arXiv 1807.01622)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from quickstudy import predictive
from quickstudy.chance import normal
from quickstudy.checks import check_choice, check_whole
from quickstudy.data import Examples, Tasks
from quickstudy.learner import Functions, check_generator, check_task
from quickstudy.nets import MLP
from quickstudy.predictive.outcomes import LOG_2PI, check_draws
from quickstudy.processes.blocks import State, TaskModel, dtype_of, gaussian_log_prob, mean_and_sd, run
from quickstudy.processes.checks import check_inputs
from quickstudy.processes.common import TRAINING_DEFAULTS, check_sizes
from quickstudy.processes.conditional import adapted_state, append, appended, encode, meta_loss, one_task

Paths = Literal["latent", "deterministic", "both"]
Objective = Literal["elbo", "iwae", "ml"]


class NeuralProcess(nn.Module):
    """A distribution over functions: a latent variable for each task, decoded at every query point.

    y | x, z, r ~ N(mu(r, z, x), sigma(r, z, x)^2),  z ~ q(z | support) = N(m(r), diag v(r)),  r = mean_i h(x_i, y_i).

    The latent path (z) and the deterministic path (r) share the encoder h.

    Objectives, each divided by the number of query points:
    "elbo": E_{q(z | support, query)} log p(y | z) - KL(q(z | support, query) || q(z | support)) (eq. 9);
    "iwae": log mean_k p(y | z_k) q(z_k | support) / q(z_k | support, query), z_k from the latter (Burda et al. 2015);
    "ml": log mean_k p(y | z_k), z_k ~ q(z | support) (Foong et al. 2020, section 3).

    Args:
        dx: number of features of an input.
        dy: number of features of an output.
        width: of every hidden layer, and of the representation r.
        latent: dimension of z.
        paths: what the decoder gets: "latent" (z, as in the paper), "deterministic" (r, as in a CNP) or "both".
        objective: "elbo", "iwae" or "ml".
        train_samples: latents drawn per task in training; by default 1 for "elbo", 4 for "iwae" and 16 for "ml".
        samples: latents drawn per task for a prediction.
        encoder_depth: number of linear layers before the mean over points, at least 2.
        decoder_depth: number of linear layers of the decoder, at least 2.
        sigma_floor: the smallest standard deviation that it can predict, in units of y; see `CNP`.

    >>> import quickstudy as qs
    >>> tasks = qs.tasks.GaussianProcess().sample(4, support=8, query=5)
    >>> predictor = qs.NeuralProcess().adapt(tasks.support)
    >>> predictor.functions(64)(tasks.query.x).shape
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
        paths: Paths = "both",
        objective: Objective = "elbo",
        train_samples: int | None = None,
        samples: int = 50,
        encoder_depth: int = 4,
        decoder_depth: int = 4,
        sigma_floor: float = 1e-3,
    ):
        super().__init__()
        depths = {"encoder_depth": encoder_depth, "decoder_depth": decoder_depth}
        self.sizes = check_sizes(dx, dy, width=width, **depths, sigma_floor=sigma_floor)
        self.dx, self.dy, self.sigma_floor = self.sizes.dx, self.sizes.dy, sigma_floor
        self.latent, self.samples = check_whole("latent", latent), check_whole("samples", samples)
        check_choice("paths", paths, ("latent", "deterministic", "both"))
        check_choice("objective", objective, ("elbo", "iwae", "ml"))
        self.paths, self.objective, self._train_samples = paths, objective, train_samples
        default = {"elbo": 1, "iwae": 4, "ml": 16}[objective]
        self.train_samples = check_whole("train_samples", default if train_samples is None else train_samples)
        width, latent = self.sizes.width, self.latent
        self.encoder = self.sizes.encoder()
        self.latent_head = None if paths == "deterministic" else MLP(width, [width], 2 * latent, activation="gelu")
        features = {"latent": latent, "deterministic": width, "both": latent + width}[paths]
        self.decoder = self.sizes.decoder(features, 2 * self.dy)

    @property
    def deterministic(self) -> bool:
        """Whether there is no latent variable; the loss then draws no random numbers."""
        return self.latent_head is None

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        own = {"latent": self.latent, "paths": self.paths, "objective": self.objective}
        return {**self.sizes._asdict(), **own, "train_samples": self._train_samples, "samples": self.samples}

    def meta_loss(self, tasks: Tasks) -> Tensor:
        """Scalar: the mean over tasks of the negative objective per real query point.

        Latents are drawn from torch's own generator.
        """
        return meta_loss(self, tasks)

    def forward(self, tasks: Tasks) -> Tensor:
        """`meta_loss` without the checks."""
        support, query = tasks.support.clean(), tasks.query.clean()
        state = self.encoded(support)
        if self.latent_head is None:
            return -(self._log_prob(state, None, query) / query.sizes().clamp_min(1)).mean()
        prior = self.latent_belief(state)
        if self.objective == "ml":
            z = prior.sample(self.train_samples)
            bound = _log_mean_exp(self._log_prob(state, z, query))
        else:
            posterior = self.latent_belief(self.extended(state, query))
            z = posterior.sample(self.train_samples)
            fit = self._log_prob(state, z, query)
            if self.objective == "elbo":
                bound = fit.mean(0) - posterior.divergence(prior)
            else:
                bound = _log_mean_exp(fit + prior.log_prob(z) - posterior.log_prob(z))
        return -(bound / query.sizes().clamp_min(1)).mean()

    def encode(self, support: Examples) -> State:
        """The state of a support set `x [T, N, dx]`, `y [T, N, dy]`; `N` may be 0."""
        state: State = encode(self, support)
        return state

    def append(self, state: State, examples: Examples) -> State:
        """The state of the union with `examples`; its cost does not depend on the number of points in `state`."""
        union: State = append(self, state, examples)
        return union

    def encoded(self, support: Examples) -> State:
        """`encode` without the checks, of points whose padding holds zeros."""
        return self.encoder.encode(support)

    def extended(self, state: State, examples: Examples) -> State:
        """`append` without the checks, of points whose padding holds zeros."""
        return state.plus(self.encoder.encode(examples))

    def predict(
        self, state: State, x: Tensor, *, generator: torch.Generator | None = None
    ) -> predictive.GaussianMixture | predictive.Gaussian:
        """The belief at `x [T, M, dx]`: a mixture over `samples` latents, whose noise `generator` draws."""
        check_inputs(self, x, len(state.seen))
        z = None
        if self.latent_head is not None:
            check_generator(generator, x.device)
            belief = self.latent_belief(state)
            z = belief.mean + belief.sd * self._noise(self.samples, x, generator)
        mean, sd = self.decode(state, z, x)
        return predictive.Gaussian(mean, sd.square()) if z is None else predictive.GaussianMixture(mean, sd.square())

    def latent_belief(self, state: State) -> "LatentBelief":
        """q(z | points in `state`), with standard deviations between 0.1 and 1, as is usual for neural processes."""
        if self.latent_head is None:
            raise ValueError("a NeuralProcess with paths='deterministic' has no latent")
        mean, raw = self.latent_head(state.mean(dtype_of(self.latent_head))).chunk(2, -1)
        return LatentBelief(mean, 0.1 + 0.9 * raw.sigmoid())

    def decode(self, state: State, z: Tensor | None, x: Tensor, *, graph: bool = True) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation `[S, T, M, dy]` at `x [T, M, dx]` for latents `z [S, T, latent]`.

        Without a latent path `z` is None, and there is no axis `S`.
        """
        return mean_and_sd(run(self.decoder, self.representation(state, z), x, graph=graph), self.sigma_floor)

    def representation(self, state: State, z: Tensor | None) -> Tensor:
        """The decoder's input for each task: `[S, T, features]`, or `[T, features]` without latents."""
        r = state.mean(dtype_of(self.decoder))
        if z is None:
            return r
        return z if self.paths == "latent" else torch.cat([z, r.expand(len(z), *r.shape)], -1)

    def adapt(
        self,
        support: Examples,
        *,
        steps: int | None = None,
        create_graph: bool = False,
        generator: torch.Generator | None = None,
    ) -> "NeuralProcessPredictor":
        """The predictor that encodes `support`; `steps=0` and an empty support set give the prior.

        `generator` draws the noise of the `samples` latents once; all predictions of the predictor use it.
        """
        state = adapted_state(self, support, steps, create_graph=create_graph, generator=generator)
        noise = self._noise(self.samples, support.x, generator)
        return NeuralProcessPredictor(self, state, noise, graph=create_graph, prior=steps == 0)

    def _noise(self, n: int, like: Tensor, generator: torch.Generator | None) -> Tensor:
        shape = (n, len(like), self.latent)
        return torch.randn(shape, dtype=like.dtype, device=like.device, generator=generator)

    def _log_prob(self, state: State, z: Tensor | None, query: Examples) -> Tensor:
        """Log density of all query points of a task together, `[S, T]` (`[T]` without a latent)."""
        mean, sd = self.decode(state, z, query.x)
        return gaussian_log_prob(query.y, mean, sd, query.mask).sum(-1)


class LatentBelief(NamedTuple):
    """A belief N(mean, diag sd^2) about latents; `mean` and `sd` are `[T, latent]`."""

    mean: Tensor
    sd: Tensor

    def sample(self, n: int) -> Tensor:
        """`n` draws `[n, T, latent]`, differentiable, from torch's own generator."""
        return self.mean + self.sd * normal((n, *self.mean.shape), axis=1, like=self.mean)

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density `[n, T]` of `z [n, T, latent]`."""
        white = (z - self.mean) / self.sd
        return (-0.5 * white.square() - self.sd.log() - 0.5 * LOG_2PI).sum(-1)

    def divergence(self, other: "LatentBelief") -> Tensor:
        """KL(self || other), `[T]`."""
        ratio = (self.sd / other.sd).square()
        distance = ((self.mean - other.mean) / other.sd).square()
        return 0.5 * (ratio + distance - 1 - ratio.log()).sum(-1)


@dataclass(frozen=True)
class NeuralProcessPredictor:
    """Predictions from the encoded support set and latents drawn for it; made by `NeuralProcess.adapt`."""

    process: NeuralProcess
    state: State
    noise: Tensor  # [S, T, latent]
    graph: bool = False
    prior: bool = False

    def __call__(self, x: Tensor) -> predictive.GaussianMixture | predictive.Gaussian:
        """The belief at `x [T, M, dx]`: a mixture over the predictor's latents."""
        check_inputs(self.process, x, len(self.state.seen))
        if self.process.latent_head is None:
            mean, sd = self.process.decode(self.state, None, x, graph=self.graph)
            return predictive.Gaussian(mean, sd.square())
        mean, sd = self.process.decode(self.state, self._latents(self.noise), x, graph=self.graph)
        return predictive.GaussianMixture(mean, sd.square())

    def append(self, examples: Examples) -> "NeuralProcessPredictor":
        """The predictor for the union; only `examples` are encoded. A predictor made with `steps=0` stays the prior.

        The noise of the latents stays, so that each latent changes with the belief it is drawn from.
        """
        found: NeuralProcessPredictor = appended(self, examples)
        return found

    def functions(self, n: int, generator: torch.Generator | None = None) -> Functions:
        """`n` functions: the decoder's mean for `n` latents drawn from q(z | support)."""
        if self.process.latent_head is None:
            raise NotImplementedError(
                "a NeuralProcess with paths='deterministic' has no functions to sample; use paths='latent' or 'both'"
            )
        check_draws(n, generator, self.noise.device)
        z = self._latents(self.process._noise(n, self.noise[0], generator))
        known = self.process.representation(self.state, z)
        means = self.process.decoder.means(known, self.process.dy, graph=self.graph)

        def evaluate(x: Tensor, members: list[int]) -> Tensor:
            check_inputs(self.process, x, len(self.state.seen))
            return means(x, members if len(members) < n else slice(None))

        return Functions(evaluate, n)

    def task(self, i: int) -> nn.Module:
        """Task `i`'s mean function as a plain module `[M, dx] -> [M, dy]`."""
        i = check_task(i, len(self.state.seen))
        return TaskModel(self.process, NeuralProcessPredictor, one_task(self.state, i), self.noise[:, [i]])

    def _latents(self, noise: Tensor) -> Tensor:
        with torch.set_grad_enabled(self.graph and torch.is_grad_enabled()):
            belief = self.process.latent_belief(self.state)
            return belief.mean + belief.sd * noise


def _log_mean_exp(values: Tensor) -> Tensor:
    return values.logsumexp(0) - math.log(len(values))
