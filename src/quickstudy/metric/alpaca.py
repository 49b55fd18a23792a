"""ALPaCA: Bayesian linear regression on learned features (Harrison, Sharma and Pavone 2018, arXiv 1807.08912)."""

import copy
import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from quickstudy import predictive
from quickstudy.checks import (
    check_examples,
    check_fits,
    check_inputs,
    check_more,
    check_network,
    check_positive,
    check_switch,
    check_tasks,
    check_whole,
    shown,
)
from quickstudy.data import Examples, Tasks
from quickstudy.learner import Functions, check_generator, check_steps, check_task
from quickstudy.likelihoods import negative_log_likelihood
from quickstudy.metric.last_layer import Weights
from quickstudy.nets import MLP
from quickstudy.predictive.outcomes import check_draws
from quickstudy.substitute import substituted


class ALPaCA(nn.Module):
    """A Bayesian last layer on a network, with meta-learned features and prior (algorithm 1 offline, 2 online).

    y = K^T phi(x) + eps,  eps ~ N(0, Sigma),  K ~ MN(K0, Lambda0^-1, Sigma);  given a support set Phi, Y
    K ~ MN(Lambda^-1 (Phi^T Y + Lambda0 K0), Lambda^-1, Sigma),  Lambda = Lambda0 + Phi^T Phi, in closed form, so
    y | x ~ N(K^T phi(x), (1 + phi(x)^T Lambda^-1 phi(x)) Sigma). The meta-loss is its negative log density.

    phi, K0, Lambda0^-1 = C C^T (C triangular with a positive diagonal) and the diagonal Sigma are meta-learned.

    The features of a point must not depend on other points. The network gets the points of all tasks in one batch: in
    training mode, BatchNorm normalises over all of them, as in supervised training.

    Args:
        network: phi, any module `[N, *dx] -> [N, features]`; by default two tanh layers of 128 units, as in the
            paper's code.
        dx: number of input features of the default network; 1 by default.
        dy: number of outputs.
        features: number of outputs of `network`; 32 for the default network, as in the paper's code.
        noise: initial standard deviation of eps, in units of y. The initial prior is K ~ N(0, 1) for any noise.
        learn_noise: whether to meta-learn the noise, one number for each output.

    Raises:
        ValueError, TypeError: for an argument of the wrong kind, or a network whose number of outputs is not known.

    >>> import quickstudy as qs
    >>> tasks = qs.tasks.Sinusoid(noise=0.3).sample(4, support=10, query=5)
    >>> predictor = qs.ALPaCA(noise=0.3).adapt(tasks.support)
    >>> predictor(tasks.query.x).log_prob(tasks.query.y, joint=True).shape
    torch.Size([4])
    """

    def __init__(
        self,
        network: nn.Module | None = None,
        *,
        dx: int | None = None,
        dy: int = 1,
        features: int | None = None,
        noise: float = 0.1,
        learn_noise: bool = True,
    ):
        super().__init__()
        self.dy = check_whole("dy", dy)
        self.network, self.features = _network(network, dx, features)
        self.noise = noise = check_positive("noise", noise)
        self.learn_noise = check_switch("learn_noise", learn_noise)
        self.log_noise = nn.Parameter(torch.full((dy,), math.log(noise))) if learn_noise else None
        self.prior_mean = nn.Parameter(torch.zeros(self.features, dy))
        self.prior_scale = nn.Parameter(torch.full((self.features,), -math.log(noise)))  # log of C's diagonal
        self.prior_coupling = nn.Parameter(torch.zeros(self.features, self.features))  # below the diagonal, C

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            "network": self.network,
            "dy": self.dy,
            "features": self.features,
            "noise": self.noise,
            "learn_noise": self.learn_noise,
        }

    def meta_loss(self, tasks: Tasks) -> Tensor:
        """Scalar: the mean over tasks of the mean negative log predictive density of each task's real query points."""
        check_tasks(tasks)
        _check_outputs(self, tasks.support)
        return self(tasks)

    def forward(self, tasks: Tasks) -> Tensor:
        """`meta_loss` without the checks, for transforms and compilers."""
        support, query = tasks.support.clean(), tasks.query.clean()
        weights = self.prior().given(self.encode(support.x, support.mask), support.y)
        belief = weights.at(self.encode(query.x, query.mask), self.variance())
        return negative_log_likelihood(belief, query, joint=False)

    def encode(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """phi of every real point of `x [T, N, *dx]`, and zeros in the padding: `[T, N, features]`."""
        tasks, points = x.shape[:2]
        x = x.flatten(0, 1) if mask is None else x[mask]
        if not len(x):
            return self.prior_mean.new_zeros(tasks, points, self.features)
        found = self.network(x)
        if found.shape != (len(x), self.features):
            raise ValueError(
                f"the network's output has shape {list(found.shape)}; expected [N, features] = "
                f"[{len(x)}, {self.features}]: give its width as features="
            )
        if mask is None:
            return found.unflatten(0, (tasks, points))
        return found.new_zeros(tasks, points, self.features).index_put((mask,), found)

    def prior(self) -> Weights:
        """The belief about the last layer before any point is seen."""
        scale = self.prior_scale.double().exp().diag_embed()
        return Weights(self.prior_mean.double(), self.prior_coupling.double().tril(-1) + scale)

    def variance(self) -> Tensor:
        """The diagonal of Sigma, `[dy]`."""
        if self.log_noise is not None:
            return (2 * self.log_noise).exp()
        return self.prior_mean.new_full((self.dy,), self.noise**2)

    def adapt(
        self,
        support: Examples,
        *,
        steps: int | None = None,
        create_graph: bool = False,
        generator: torch.Generator | None = None,
    ) -> "ALPaCAPredictor":
        """The predictor conditioned on `support`; `steps=0` and an empty support set give the prior.

        Conditioning draws no random numbers, so `generator` is not used.
        """
        check_examples(support, "support")
        _check_outputs(self, support)
        check_generator(generator)
        if steps is not None:
            check_steps(steps)
        clean = support.first(0) if steps == 0 else support.clean()
        with torch.set_grad_enabled(create_graph and torch.is_grad_enabled()):
            weights = self.prior().given(_encode(self, clean.x, clean.mask, graph=create_graph), clean.y)
        return ALPaCAPredictor(self, weights, support.first(0), graph=create_graph, prior=steps == 0)


@dataclass(frozen=True)
class ALPaCAPredictor:
    """A belief about each task's last layer, whose size does not depend on the support set; made by `adapt`."""

    learner: ALPaCA
    weights: Weights
    like: Examples  # the support set without its points, for its shapes and types
    graph: bool = False
    prior: bool = False

    def __call__(self, x: Tensor) -> predictive.LowRankGaussian:
        """The belief at `x [T, M, *dx]`; in joint densities and samples, all points share one last layer."""
        check_inputs(x, self.like)
        return self.weights.at(_encode(self.learner, x, graph=self.graph), self._variance())

    def append(self, examples: Examples) -> "ALPaCAPredictor":
        """The predictor for the union, updated by `examples` alone. Made with `steps=0`, it stays the prior."""
        check_more(examples, self.like)
        _check_outputs(self.learner, examples, "examples")
        if self.prior:
            return self
        x, y, mask = examples.clean()
        with torch.set_grad_enabled(self.graph and torch.is_grad_enabled()):
            return replace(self, weights=self.weights.given(_encode(self.learner, x, mask, graph=self.graph), y))

    def functions(self, n: int, generator: torch.Generator | None = None) -> Functions:
        """`n` functions, each with a last layer drawn from the posterior."""
        check_draws(n, generator, self.like.x.device)
        drawn = self.weights.sample(n, self._variance(), generator).to(self.learner.prior_mean.dtype)

        def evaluate(x: Tensor, members: list[int]) -> Tensor:
            check_inputs(x, self.like)
            layers = drawn[members].permute(1, 2, 0, 3)  # [T, features, n, dy]: one product for all functions
            values = _encode(self.learner, x, graph=self.graph) @ layers.flatten(2)
            return values.unflatten(2, layers.shape[2:]).permute(2, 0, 1, 3)

        return Functions(evaluate, n)

    def task(self, i: int) -> nn.Module:
        """Task `i`'s mean function as a plain module `[M, *dx] -> [M, dy]`: a copied network and a linear layer."""
        mean = self.weights.mean[check_task(i, self.like.num_tasks)].detach()
        features, dy = mean.shape
        head = nn.Linear(features, dy, bias=False).to(self.learner.prior_mean)
        with torch.no_grad():
            head.weight.copy_(mean.T)
        return nn.Sequential(copy.deepcopy(self.learner.network), head)

    def _variance(self) -> Tensor:
        variance = self.learner.variance()
        return variance if self.graph else variance.detach()


def _encode(learner: ALPaCA, x: Tensor, mask: Tensor | None = None, *, graph: bool) -> Tensor:
    """phi without changing running statistics; without `graph`, the network's parameters are constants."""
    tensors = {k: b.clone() for k, b in learner.network.named_buffers()}
    if not graph:
        tensors |= {k: p.detach() for k, p in learner.network.named_parameters()}
    with substituted(learner.network, tensors):
        return learner.encode(x, mask)


def _network(network: nn.Module | None, dx: int | None, features: int | None) -> tuple[nn.Module, int]:
    """The network, by default a new one, and the number of its outputs."""
    if network is None:
        features = check_whole("features", 32 if features is None else features)
        return MLP(check_whole("dx", 1 if dx is None else dx), [128, 128], features, activation="tanh"), features
    check_network(network)
    if dx is not None:
        raise ValueError(f"dx={shown(dx)} is for the default network, and network= is given; leave one out")
    if features is None and isinstance(network, MLP):
        features = network.outputs
    if features is None:
        raise ValueError(
            f"features= is missing; give the number of outputs that the {type(network).__name__} has for a point"
        )
    return network, check_whole("features", features)


def _check_outputs(learner: ALPaCA, examples: Examples, name: str = "support") -> None:
    """Raise an error unless inputs and outputs have the shapes, types and device of the learner."""
    x, y, _ = examples
    if isinstance(learner.network, MLP) and x.shape[2:] != (learner.network.inputs,):
        raise ValueError(
            f"{name}.x has shape {list(x.shape)}; this ALPaCA was built with dx={learner.network.inputs} and expects "
            f"[T, N, {learner.network.inputs}]"
        )
    if not y.is_floating_point() or y.dim() != 3 or y.shape[2] != learner.dy:
        raise ValueError(
            f"{name}.y is {y.dtype} of shape {list(y.shape)}; this ALPaCA was built with dy={learner.dy} and expects "
            f"floats [T, N, {learner.dy}]"
        )
    check_fits(learner, examples, name)
