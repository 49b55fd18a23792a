"""The learners of the page, and how each is trained."""

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import nn

import quickstudy as qs
from quickstudy.likelihoods import default_loss

CLIP = 10.0  # largest norm of an inner gradient: without it, MAML diverges on waves of a large amplitude


class PageLearner(NamedTuple):
    """A learner of the page.

    Args:
        make: function from the family's noise, and its rate of gradient steps, to a new learner.
        training: arguments of `quickstudy.fit`.
    """

    make: Callable[[float, float], nn.Module]
    training: dict[str, Any]


def _gradient(kind: Any, noise: float, rate: float) -> nn.Module:
    """A gradient learner whose steps descend the squared error; the noise of its predictions is meta-learned."""
    likelihood = qs.likelihoods.Gaussian(5 * noise, learn=True)  # a small one would make the first losses huge
    rule = qs.optimizers.SGD(rate, clip=CLIP)
    return kind(qs.nets.MLP(1, [64, 64], 1), rule=rule, steps=5, likelihood=likelihood, inner_loss=default_loss)


def _alpaca(noise: float, rate: float) -> nn.Module:
    del rate
    return qs.ALPaCA(qs.nets.MLP(1, [64, 64], 64, activation="tanh"), features=64, noise=noise)


def _np(noise: float, rate: float) -> nn.Module:
    del rate
    return qs.NeuralProcess(width=96, latent=32, sigma_floor=noise / 2)


def _tnp(noise: float, rate: float) -> nn.Module:
    del rate
    return qs.TNP(width=48, depth=4, hidden=96, embedding=3, head=qs.heads.GaussianHead(noise / 2))


_POINTS: dict[str, Any] = {"support": (0, 20), "query": 30, "schedule": "cosine", "clip": 1.0}
_CHEAP: dict[str, Any] = {**_POINTS, "tasks": 25, "lr": 1e-3}
_PROCESS: dict[str, Any] = {**_POINTS, "tasks": 16, "lr": 1e-3}

LEARNERS: dict[str, PageLearner] = {
    "maml": PageLearner(lambda noise, rate: _gradient(qs.MAML, noise, rate), _CHEAP),
    "pretrained": PageLearner(lambda noise, rate: _gradient(qs.Pretrained, noise, rate), _CHEAP),
    "alpaca": PageLearner(_alpaca, _CHEAP),
    "np": PageLearner(_np, _PROCESS),
    "tnp": PageLearner(_tnp, _PROCESS),
}
