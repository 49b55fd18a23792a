"""Bayesian MAML (Yoon et al. 2018, arXiv 1806.03836): an ensemble whose members adapt jointly."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Unpack, cast, final

import torch
from torch import Tensor, nn

from quickstudy import predictive
from quickstudy.checks import check_examples, check_inputs, check_losses, check_network, check_tasks
from quickstudy.data import Examples, Tasks, aligned
from quickstudy.gradient.svgd import SVGD
from quickstudy.inner.loop import inner_loop
from quickstudy.inner.options import InnerOptions, check_options
from quickstudy.inner.points import mean_loss
from quickstudy.inner.predictor import GradientPredictor, predictor
from quickstudy.inner.rates import Rated
from quickstudy.learner import Functions, Predictive, check_generator, check_steps
from quickstudy.likelihoods import Gaussian, Likelihood
from quickstudy.nets.particles import Particles
from quickstudy.words import inner_settings


@final
class BayesianMAML(nn.Module):
    """Learns P initial particles from which a few SVGD steps reach a sample of each task's posterior (alg. 2).

        min  mean_t mean_m -log 1/P sum_i p(y_m | x_m, theta_i),     theta = SVGD(theta_0; support_t).

    The initial particles and the noise of the likelihood are meta-learned by differentiating through all steps,
    including the interaction of particles. The paper uses the joint likelihood of the query points or a chaser loss;
    here every point counts by itself, as in the other learners. A prediction is the mixture of the particles'
    predictions with equal weights; `functions` are particles.

    Args:
        network: as for `MAML`, but without buffers such as BatchNorm has; see `Particles`.
        particles: P (5 and 10 in the paper's experiments).
        lr: learning rate of the SVGD steps, for the mean negative log-likelihood of the support points; as for `MAML`.
            `optimizers.Rates(network, ...)` learns rates, which all particles share.
        steps: SVGD steps in training.
        likelihood: by default normal, with a learned standard deviation that starts at 1. The gradient with respect to
            the mean is proportional to 1/sd^2, so that a smaller sd needs a smaller `lr`.
        inner_likelihood: the likelihood of the SVGD steps; by default `likelihood`. With `Gaussian(1.0)` the step size
            does not depend on the learned noise; `temperature` then takes the place of the noise variance.
        temperature: of the posterior that the particles approximate, see `SVGD`; an `nn.Parameter` is learned.
        inner: as for `MAML`, except `rule`, `inner_loss`, `adapt`, `inputs`, `implicit` and `minibatch`.

    >>> import quickstudy as qs
    >>> learner = qs.BayesianMAML(qs.nets.MLP(1, [40, 40], 1), particles=5, lr=0.01, steps=2)
    >>> tasks = qs.tasks.Sinusoid(noise=0.3).sample(4, support=10, query=10)
    >>> learner.meta_loss(tasks).backward()
    >>> learner.adapt(tasks.support).functions(3)(tasks.query.x).shape
    torch.Size([3, 4, 10, 1])
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        particles: int = 5,
        lr: Rated = 0.01,
        steps: int = 1,
        likelihood: Likelihood | None = None,
        inner_likelihood: Likelihood | None = None,
        temperature: float | nn.Parameter = 1.0,
        **inner: Unpack[InnerOptions],
    ):
        super().__init__()
        check_options(self, inner)
        check_network(network)
        for option in ("rule", "inner_loss", "adapt", "inputs", "implicit", "minibatch"):
            if inner.get(option) is not None:
                raise TypeError(f"BayesianMAML has no {option}=: all weights of its particles adapt by SVGD")
        self.template = (network,)  # a tuple hides it from torch: its parameters only initialise the first particle
        self.network, self.steps, self.options = Particles(network, particles), check_steps(steps), dict(inner)
        self.likelihood: Any = Gaussian(1.0, learn=True) if likelihood is None else likelihood
        self.inner_likelihood = inner_likelihood
        self.rule = SVGD(lr, temperature=temperature)
        settings: Any = {**inner, "rule": self.rule}
        self.inner = inner_loop(
            self.network, loss=TotalLoss(inner_likelihood or self.likelihood), steps=steps, **settings
        )

    @property
    def engine(self) -> str:
        """The inner-loop engine in use; see `MAML.engine`."""
        return self.inner.known_engine()

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        own = {"particles": self.network.count, "lr": self.rule.lr, "steps": self.steps}
        beliefs = {"likelihood": self.likelihood, "inner_likelihood": self.inner_likelihood}
        return {"network": self.template[0], **own, **beliefs, "temperature": self.rule.temperature, **self.options}

    def extra_repr(self) -> str:
        """The settings, in one line."""
        return inner_settings(self.options, particles=self.network.count, steps=self.steps)

    def meta_loss(self, tasks: Tasks) -> Tensor:
        """Scalar: the mean over tasks of the mean over real query points of the mixture's negative log density."""
        check_tasks(tasks, self)
        return self(tasks)

    def forward(self, tasks: Tasks) -> Tensor:
        """`meta_loss` without the checks."""
        adapted = self.inner(tasks.support)
        return adapted.run(self._mixture_loss, tasks.query)[0].mean()

    def _mixture_loss(self, model: Any, examples: Examples, outer: Any) -> Tensor:
        """One task's mean over its real points of the mixture's negative log density."""
        del outer
        each = losses(self.likelihood, model(examples.x), examples.y)  # [M, P]
        mixed = math.log(each.shape[1]) - torch.logsumexp(-each, 1)
        return mean_loss(mixed, len(mixed), examples.mask)

    def adapt(
        self,
        support: Examples,
        *,
        steps: int | None = None,
        create_graph: bool = False,
        generator: torch.Generator | None = None,
    ) -> "ParticlePredictor":
        """The predictor after `steps` SVGD steps on `support`; see `MAML.adapt`."""
        check_examples(support, "support", self)
        steps = self.steps if steps is None else steps
        reader = cast(Likelihood, Mixture(self.likelihood))
        return ParticlePredictor(
            predictor(self.inner, reader, support, steps, create_graph=create_graph, generator=generator),
            self.likelihood,
        )


def losses(likelihood: Likelihood, output: Tensor, y: Tensor) -> Tensor:
    """Negative log-likelihoods `[N, P]` of outcomes `y [N, ...]` under every particle's `output [N, P, *do]`."""
    points, particles = output.shape[:2]
    each = likelihood.loss(output.flatten(0, 1), y.repeat_interleave(particles, 0))
    check_losses(each, points * particles, masked=True)
    return each.view(points, particles)


class TotalLoss(nn.Module):
    """Each point's loss summed over particles, so that each particle's gradient is that of its own loss."""

    def __init__(self, likelihood: Likelihood):
        super().__init__()
        self.likelihood = likelihood

    def forward(self, output: Tensor, y: Tensor) -> Tensor:
        """`[N]`, of `output [N, P, do]`."""
        return losses(self.likelihood, output, y).sum(1)


@dataclass(frozen=True)
class Mixture:
    """Turns the particles' outputs `[T, M, P, do]` into one belief.

    Args:
        likelihood: turns the outputs of one particle into a belief.
    """

    likelihood: Likelihood

    def predictive(self, output: Tensor) -> Predictive:
        """The mixture of the particles' beliefs with equal weights."""
        tasks, _, particles = output.shape[:3]
        belief: Any = self.likelihood.predictive(
            output.movedim(2, 0).flatten(0, 1)
        )  # one particle's tasks after another's
        if isinstance(belief, predictive.Categorical):
            each = belief.logits.log_softmax(2).unflatten(0, (particles, tasks))
            return predictive.Categorical(each.logsumexp(0) - math.log(particles))
        means, variances = (t.unflatten(0, (particles, tasks)) for t in (belief.mean, belief.variance))
        return predictive.GaussianMixture(means, variances)


@dataclass(frozen=True)
class ParticlePredictor:
    """Particles adapted to `T` tasks; made by `BayesianMAML.adapt`."""

    base: GradientPredictor
    likelihood: Likelihood

    def __call__(self, x: Tensor) -> Predictive:
        """The belief at `x [T, M, *dx]`: the mixture of the particles' beliefs."""
        return self.base(x)

    def append(self, examples: Examples) -> "ParticlePredictor":
        """The predictor for the union of support set and `examples`, adapted again from the meta-parameters."""
        return replace(self, base=self.base.append(examples))

    def functions(self, n: int, generator: torch.Generator | None = None) -> Functions:
        """`n` functions: the means of random particles of each task, each drawn once before any is drawn again."""
        check_generator(generator, self.base.support.x.device)
        support, particles = self.base.support, cast(Particles, self.base.adapted.problem.network)
        rounds = -(-n // particles.count) if isinstance(n, int) else 1
        shape = len(support.x), rounds, particles.count
        order = torch.rand(shape, generator=generator, device=support.x.device).argsort(-1).flatten(1)  # [T, >= n]

        def evaluate(x: Tensor, members: list[int]) -> Tensor:
            check_inputs(x, support)
            means = self._means(x)  # [P, T, M, dy]
            pick = order[:, members].T  # [n, T]
            return means.gather(0, aligned(pick, means).expand(-1, -1, *means.shape[2:]))

        return Functions(evaluate, n)

    def task(self, i: int) -> nn.Module:
        """Task `i`'s particles as one plain module `[M, *dx] -> [M, dy]`: the mean of their predictions."""
        return MeanBelief(self.base.task(i), self.base.readout)

    def _means(self, x: Tensor) -> Tensor:
        output = self.base.adapted(x)
        belief = self.likelihood.predictive(output.movedim(2, 0).flatten(0, 1))
        return belief.mean.unflatten(0, (output.shape[2], len(output)))


class MeanBelief(nn.Module):
    """The mean of the adapted particles' predictions.

    Args:
        particles: the network `[M, *dx] -> [M, P, do]`.
        readout: turns outputs `[1, M, P, do]` into a belief.
    """

    def __init__(self, particles: nn.Module, readout: Callable[[Tensor], Predictive]):
        super().__init__()
        self.particles, self.readout = particles, readout

    def forward(self, x: Tensor) -> Tensor:
        """`[M, dy]` at `x [M, *dx]`."""
        return self.readout(self.particles(x).unsqueeze(0)).mean[0]
