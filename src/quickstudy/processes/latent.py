"""Latent variables of neural processes: beliefs about them, training objectives, and the predictor that draws them."""

import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from quickstudy import predictive
from quickstudy.chance import normal
from quickstudy.checks import check_choice, check_whole
from quickstudy.data import Examples
from quickstudy.learner import Functions, check_generator, check_task
from quickstudy.predictive.outcomes import LOG_2PI, check_draws
from quickstudy.processes.checks import check_inputs
from quickstudy.processes.conditional import adapted_state, appended, one_task
from quickstudy.processes.parts.blocks import TaskModel, constant, gaussian_log_prob

Objective = Literal["elbo", "iwae", "ml"]
TRAIN_SAMPLES: dict[Objective, int] = {"elbo": 1, "iwae": 4, "ml": 16}


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


def latent_belief(output: Tensor) -> LatentBelief:
    """The belief for a network's output `[T, 2 latent]`, with standard deviations between 0.1 and 1, as is usual."""
    mean, raw = output.chunk(2, -1)
    return LatentBelief(mean, 0.1 + 0.9 * raw.sigmoid())


class Latent(Protocol):
    """A process with latent variables; its state is like that of a `Conditional` process."""

    dx: int
    dy: int
    latent: int
    samples: int

    def latent_belief(self, state: Any) -> LatentBelief:
        """q(z | points in `state`)."""

    def moments(self, state: Any, z: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation `[S, T, M, dy]` at `x [T, M, dx]` for latents `z [S, T, latent]`."""


def check_latent(objective: Objective, train_samples: int | None, latent: int, samples: int) -> tuple[int, int, int]:
    """Return the numbers of latent features, prediction samples and training samples; ValueError if one is bad."""
    check_choice("objective", objective, tuple(TRAIN_SAMPLES))
    drawn = TRAIN_SAMPLES[objective] if train_samples is None else train_samples
    return check_whole("latent", latent), check_whole("samples", samples), check_whole("train_samples", drawn)


def bound(process: Any, state: Any, query: Examples) -> Tensor:
    """The objective of each task `[T]`, not divided by the number of query points; see `NeuralProcess`.

    Args:
        process: the process, with its `objective`, `train_samples` and `moments`.
        state: its state after the support set.
        query: the query points, whose padding holds zeros.
    """

    def log_prob(z: Tensor) -> Tensor:
        """The log density `[S, T]` of all query points of a task, for latents `[S, T, latent]`."""
        mean, sd = process.moments(state, z, query.x)
        return gaussian_log_prob(query.y, mean, sd, query.mask).sum(-1)

    prior: LatentBelief = process.latent_belief(state)
    if process.objective == "ml":
        return log_mean_exp(log_prob(prior.sample(process.train_samples)))
    posterior: LatentBelief = process.latent_belief(process.extended(state, query))
    z = posterior.sample(process.train_samples)
    fit = log_prob(z)
    if process.objective == "elbo":
        return fit.mean(0) - posterior.divergence(prior)
    return log_mean_exp(fit + prior.log_prob(z) - posterior.log_prob(z))


def log_mean_exp(values: Tensor) -> Tensor:
    """log of the mean of exp over the first axis."""
    return values.logsumexp(0) - math.log(len(values))


def noise(process: Any, n: int, like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard normal noise `[n, T, latent]` of the latents of `T = len(like)` tasks."""
    shape = (n, len(like), process.latent)
    return torch.randn(shape, dtype=like.dtype, device=like.device, generator=generator)


def predict(process: Any, state: Any, x: Tensor, generator: torch.Generator | None) -> predictive.GaussianMixture:
    """The belief of a latent process in a state; see `NeuralProcess.predict`."""
    check_inputs(process, x, len(state.seen))
    check_generator(generator, x.device)
    process.experience.check_size(process, state.seen)
    process.experience.check_range(process, x)
    belief = process.latent_belief(state)
    mean, sd = process.moments(state, belief.mean + belief.sd * noise(process, process.samples, x, generator), x)
    return predictive.GaussianMixture(mean, sd.square())


def adapt(
    process: Any,
    support: Examples,
    steps: int | None,
    *,
    create_graph: bool,
    generator: torch.Generator | None,
) -> "LatentPredictor":
    """The predictor that encodes `support`, with the noise of its latents drawn from `generator`."""
    state = adapted_state(process, support, steps, create_graph=create_graph, generator=generator)
    drawn = noise(process, process.samples, support.x, generator)
    return LatentPredictor(process, state, drawn, graph=create_graph, prior=steps == 0)


@dataclass(frozen=True)
class LatentPredictor:
    """Predictions from the encoded support set and latents drawn for it; made by the `adapt` of a latent process.

    Args:
        process: the process.
        state: its state after the support set.
        noise: noise of the latents, `[S, T, latent]`.
        graph: whether predictions keep the graph back to the parameters of the process.
        prior: whether the support set was not encoded (`steps=0`).
    """

    process: Any
    state: Any
    noise: Tensor
    graph: bool = False
    prior: bool = False

    def __call__(self, x: Tensor) -> predictive.GaussianMixture:
        """The belief at `x [T, M, dx]`: a mixture over the predictor's latents."""
        check_inputs(self.process, x, len(self.state.seen))
        self.process.experience.check_size(self.process, self.state.seen)
        self.process.experience.check_range(self.process, x)
        mean, sd = self._moments(self._latents(self.noise), x)
        return predictive.GaussianMixture(mean, sd.square())

    def append(self, examples: Examples) -> "LatentPredictor":
        """The predictor for the union; a predictor made with `steps=0` stays the prior.

        The noise of the latents stays, so that each latent changes with the belief it is drawn from.
        """
        found: LatentPredictor = appended(self, examples)
        return found

    def functions(self, n: int, generator: torch.Generator | None = None) -> Functions:
        """`n` functions: the decoder's mean for `n` latents drawn from q(z | support)."""
        check_draws(n, generator, self.noise.device)
        self.process.experience.check_size(self.process, self.state.seen)
        z = self._latents(noise(self.process, n, self.noise[0], generator))
        fast = getattr(self.process, "mean_functions", None)
        means = None if fast is None else fast(self.state, z, graph=self.graph)

        def evaluate(x: Tensor, members: list[int]) -> Tensor:
            check_inputs(self.process, x, len(self.state.seen))
            chosen = members if len(members) < n else slice(None)
            return self._moments(z[chosen], x)[0] if means is None else means(x, chosen)

        return Functions(evaluate, n)

    def task(self, i: int) -> nn.Module:
        """Task `i`'s mean function as a plain module `[M, dx] -> [M, dy]`."""
        i = check_task(i, len(self.state.seen))
        return TaskModel(self.process, LatentPredictor, one_task(self.state, i), self.noise[:, [i]])

    def _moments(self, z: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.graph:
            return self.process.moments(self.state, z, x)
        with constant(self.process):
            return self.process.moments(self.state, z, x)

    def _latents(self, drawn: Tensor) -> Tensor:
        with torch.set_grad_enabled(self.graph and torch.is_grad_enabled()):
            belief = self.process.latent_belief(self.state)
            return belief.mean + belief.sd * drawn
