"""Beliefs about latent variables, and the objectives that train them."""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

from torch import Tensor

from quickstudy.chance import normal
from quickstudy.checks import check_choice, check_whole
from quickstudy.predictive.outcomes import LOG_2PI

Objective = Literal["elbo", "iwae", "ml"]
TRAIN_SAMPLES: dict[Objective, int] = {"elbo": 1, "iwae": 4, "ml": 16}


class LatentBelief(NamedTuple):
    """A belief N(mean, diag sd^2) about latents; `mean` and `sd` are `[T, *latent]`."""

    mean: Tensor
    sd: Tensor

    def of(self, noise: Tensor) -> Tensor:
        """The latents for standard normal noise `[n, T, *latent]`."""
        return self.mean + self.sd * noise

    def sample(self, n: int) -> Tensor:
        """`n` draws `[n, T, *latent]`, differentiable, from torch's own generator."""
        return self.of(normal((n, *self.mean.shape), axis=1, like=self.mean))

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density `[n, T]` of `z [n, T, *latent]`."""
        white = (z - self.mean) / self.sd
        return (-0.5 * white.square() - self.sd.log() - 0.5 * LOG_2PI).flatten(2).sum(-1)

    def divergence(self, other: "LatentBelief") -> Tensor:
        """KL(self || other), `[T]`."""
        ratio = (self.sd / other.sd).square()
        distance = ((self.mean - other.mean) / other.sd).square()
        return 0.5 * (ratio + distance - 1 - ratio.log()).flatten(1).sum(-1)


def latent_belief(output: Tensor) -> LatentBelief:
    """The belief for a network's output `[T, 2 latent, *cells]`; standard deviations lie between 0.1 and 1."""
    mean, raw = output.chunk(2, 1)
    return LatentBelief(mean, 0.1 + 0.9 * raw.sigmoid())


def check_latent(objective: Objective, train_samples: int | None, latent: int, samples: int) -> tuple[int, int, int]:
    """Return the numbers of latent features, prediction samples and training samples; ValueError if one is bad."""
    check_choice("objective", objective, tuple(TRAIN_SAMPLES))
    drawn = TRAIN_SAMPLES[objective] if train_samples is None else train_samples
    return check_whole("latent", latent), check_whole("samples", samples), check_whole("train_samples", drawn)


def bound(
    objective: Objective,
    samples: int,
    prior: LatentBelief,
    posterior: Callable[[], LatentBelief],
    log_prob: Callable[[Tensor], Tensor],
) -> Tensor:
    """The objective of each task `[T]`, not divided by the number of query points; see `NeuralProcess`.

    Args:
        objective: "elbo", "iwae" or "ml".
        samples: number of latents drawn.
        prior: q(z | support).
        posterior: computes q(z | support, query), which "ml" does not need.
        log_prob: the log density `[S, T]` of all query points of a task, for latents `[S, T, *latent]`.
    """
    if objective == "ml":
        return log_mean_exp(log_prob(prior.sample(samples)))
    informed = posterior()
    z = informed.sample(samples)
    fit = log_prob(z)
    if objective == "elbo":
        return fit.mean(0) - informed.divergence(prior)
    return log_mean_exp(fit + prior.log_prob(z) - informed.log_prob(z))


def log_mean_exp(values: Tensor) -> Tensor:
    """log of the mean of exp over the first axis."""
    return values.logsumexp(0) - math.log(len(values))
