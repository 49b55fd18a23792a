"""Neural Process (Garnelo et al. 2018, arXiv 1807.01622)."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from quickstudy.checks import check_choice
from quickstudy.data import Examples, Tasks
from quickstudy.learner import Predictive
from quickstudy.likelihoods import negative_log_likelihood
from quickstudy.nets import MLP
from quickstudy.processes import conditional, latent
from quickstudy.processes.conditional import ConditionalPredictor
from quickstudy.processes.heads import GaussianHead
from quickstudy.processes.heads.head import Head, chosen, encoded_size
from quickstudy.processes.latent import LatentPredictor
from quickstudy.processes.parts.blocks import State, dtype_of
from quickstudy.processes.parts.experience import Experience
from quickstudy.processes.parts.latents import LatentBelief, Objective, check_latent, latent_belief
from quickstudy.processes.parts.sizes import TRAINING_DEFAULTS, check_sizes

Paths = Literal["latent", "deterministic", "both"]


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
        width: units of every hidden layer, and features of the representation r.
        latent: dimension of z.
        paths: inputs of the decoder: "latent" (z, as in the paper), "deterministic" (r, as in a CNP) or "both".
        objective: "elbo", "iwae" or "ml".
        train_samples: latents drawn per task in training; by default 1 for "elbo", 4 for "iwae" and 16 for "ml".
        samples: latents drawn per task for a prediction.
        encoder_depth: number of linear layers before the mean over points, at least 2.
        decoder_depth: number of linear layers of the decoder, at least 2.
        sigma_floor: the smallest standard deviation that the process can predict, in units of y; see `CNP`.
        head: the kind of belief of a member at a point, such as `qs.heads.BernoulliHead()`; by default
            `qs.heads.GaussianHead(sigma_floor)`.

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
        head: Head | None = None,
    ):
        super().__init__()
        self.experience = Experience()
        depths = {"encoder_depth": encoder_depth, "decoder_depth": decoder_depth}
        self.sizes = check_sizes(dx, dy, width=width, **depths, sigma_floor=sigma_floor)
        self.dx, self.dy, self.sigma_floor = self.sizes.dx, self.sizes.dy, sigma_floor
        check_choice("paths", paths, ("latent", "deterministic", "both"))
        self.paths, self.objective, self._train_samples = paths, objective, train_samples
        self.latent, self.samples, self.train_samples = check_latent(objective, train_samples, latent, samples)
        self.head, self._head = chosen(head, self.sizes.sigma_floor), head
        width = self.sizes.width
        self.encoder = self.sizes.encoder(encoded_size(self.head, self.dy))
        self.latent_head = None if paths == "deterministic" else MLP(width, [width], 2 * latent, activation="gelu")
        features = {"latent": latent, "deterministic": width, "both": latent + width}[paths]
        self.decoder = self.sizes.decoder(features, self.head.size(self.dy))

    @property
    def deterministic(self) -> bool:
        """Whether there is no latent variable; the loss then draws no random numbers."""
        return self.latent_head is None

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        own = {"latent": self.latent, "paths": self.paths, "objective": self.objective}
        drawn = {"train_samples": self._train_samples, "samples": self.samples}
        return {**self.sizes._asdict(), **own, **drawn, "head": self._head}

    def meta_loss(self, tasks: Tasks) -> Tensor:
        """Scalar: the mean over tasks of the negative objective per real query point.

        Latents are drawn from torch's own generator.
        """
        return conditional.meta_loss(self, tasks)

    def observe(self, tasks: Tasks) -> None:
        """Record the range and the sizes of training tasks, beyond which predictions warn."""
        self.experience.observe(tasks)

    def forward(self, tasks: Tasks) -> Tensor:
        """`meta_loss` without the checks."""
        support, query = conditional.prepared(self, tasks)
        state = self.encoded(support)
        if self.latent_head is None:
            belief = self.head(self.outputs(state, query.x), self.dy)
            return negative_log_likelihood(belief, query, joint=self.head.joint)
        return -(latent.bound(self, state, query) / query.sizes().clamp_min(1)).mean()

    def encode(self, support: Examples) -> State:
        """The state of a support set `x [T, N, dx]`, `y [T, N, dy]`; `N` may be 0."""
        state: State = conditional.encode(self, support)
        return state

    def append(self, state: State, examples: Examples) -> State:
        """The state of the union with `examples`; its cost does not depend on the number of points in `state`."""
        union: State = conditional.append(self, state, examples)
        return union

    def predict(self, state: State, x: Tensor, *, generator: torch.Generator | None = None) -> Predictive:
        """The belief at `x [T, M, dx]`: a mixture over `samples` latents, whose noise `generator` draws."""
        if self.latent_head is None:
            return conditional.predict(self, state, x)
        return latent.predict(self, state, x, generator)

    def adapt(
        self,
        support: Examples,
        *,
        steps: int | None = None,
        create_graph: bool = False,
        generator: torch.Generator | None = None,
    ) -> LatentPredictor | ConditionalPredictor:
        """The predictor that encodes `support`; `steps=0` and an empty support set give the prior.

        `generator` draws the noise of the `samples` latents once; all predictions of the predictor use it.
        """
        make = conditional.adapt if self.latent_head is None else latent.adapt
        return make(self, support, steps, create_graph=create_graph, generator=generator)

    def encoded(self, support: Examples) -> State:
        """`encode` without the checks, of points as `entering` returns them."""
        return self.encoder.encode(support)

    def extended(self, state: State, examples: Examples) -> State:
        """`append` without the checks, of points as `entering` returns them."""
        return state.plus(self.encoder.encode(examples))

    def outputs(self, state: State, x: Tensor) -> Tensor:
        """The head's parameters at `x [T, M, dx]`, without latents."""
        return self.decoder(state.mean(dtype_of(self.decoder)), x)

    def latent_belief(self, state: State) -> LatentBelief:
        """q(z | points in `state`), with standard deviations between 0.1 and 1, as is usual for neural processes."""
        if self.latent_head is None:
            raise ValueError("a NeuralProcess with paths='deterministic' has no latent")
        return latent_belief(self.latent_head(state.mean(dtype_of(self.latent_head))))

    def noise(self, n: int, like: Tensor, generator: torch.Generator | None) -> Tensor:
        """Standard normal noise `[n, T, latent]` of the latents of `T = len(like)` tasks."""
        return latent.noise(n, self.latent, like, generator)

    def members(self, state: State, noise: Tensor) -> Tensor:
        """Latents `[S, T, latent]` for their noise."""
        return self.latent_belief(state).of(noise)

    def member_outputs(self, state: State, z: Tensor, x: Tensor) -> Tensor:
        """The head's parameters `[S, T, M, size]` at `x [T, M, dx]` for latents `z [S, T, latent]`."""
        return self.decoder(self._representation(state, z), x)

    def mean_functions(self, state: State, z: Tensor, *, graph: bool) -> Callable[[Tensor, Any], Tensor] | None:
        """The means for latents `z [S, T, latent]` as a function of `x` and indices along `S`, for a Gaussian head."""
        if not isinstance(self.head, GaussianHead):
            return None
        return self.decoder.means(self._representation(state, z), self.dy, graph=graph)

    def _representation(self, state: State, z: Tensor) -> Tensor:
        """The decoder's input for each task, `[S, T, features]`."""
        r = state.mean(dtype_of(self.decoder))
        return z if self.paths == "latent" else torch.cat([z, r.expand(len(z), *r.shape)], -1)
