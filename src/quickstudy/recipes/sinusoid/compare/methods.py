"""The methods compared: how each learner is built, and which of its settings are tuned."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import nn

import quickstudy as qs
from quickstudy.gradient.anil import last_layer

Choice = Mapping[str, Any]
"""A value for every name in a method's search space."""
Space = Mapping[str, tuple[float, float] | tuple[Any, ...] | list[Any]]
"""A search space: `(low, high)` on a logarithmic scale, or a list of values, for each name."""

RATE: Space = {"lr": (3e-4, 1e-2)}  # initial learning rate of Adam, which falls along a cosine
INNER: Space = {**RATE, "inner_lr": (1e-3, 0.3)}
STEPS: Space = {**INNER, "steps": [1, 2, 5]}


class Method(NamedTuple):
    """One method of the comparison.

    Args:
        make: function `(width, choice) -> learner`.
        space: search space of the choice.
        kind: "gradient" if the learner adapts by gradient steps; "once" if in closed form or by an encoder.
        cost: approximate time of a meta-step, relative to MAML's; the longest trainings are started first.
    """

    make: Callable[[int, Choice], nn.Module]
    space: Space
    kind: str = "gradient"
    cost: int = 1


def net(width: int, inputs: int = 1, outputs: int = 1) -> qs.nets.MLP:
    """The network of the MAML paper, with two hidden layers and ReLU activations."""
    return qs.nets.MLP(inputs, [width, width], outputs)


def inner(c: Choice) -> dict[str, Any]:
    """The learning rate and the number of the inner steps."""
    return {"lr": c["inner_lr"], "steps": c["steps"]}


def anil_with_rates(network: nn.Module, *, lr: float, steps: int) -> nn.Module:
    """ANIL with a learned rate for every entry of the head and every step."""
    head = last_layer(network)
    shapes = {name: list(p.shape) for name, p in network.named_parameters() if name in head}
    rates = qs.optimizers.Rates(shapes, lr, per="parameter", steps=steps)
    return qs.ANIL(network, head=head, rule=qs.optimizers.SGD(rates), steps=steps)


def plus_plus(network: nn.Module, *, lr: float, steps: int) -> nn.Module:
    """MAML++ with clipped inner gradients: one step of Adam can change a small learned rate by its whole size."""
    rates = qs.optimizers.Rates(network, lr, per="layer", steps=steps)
    return qs.MAMLPlusPlus(network, rule=qs.optimizers.SGD(rates, clip=10.0), steps=steps)


def implicit(network: nn.Module, *, lr: float, lam: float) -> nn.Module:
    """iMAML with Adam inside, since its meta-gradient cannot correct inner problems that become too steep."""
    return qs.iMAML(network, lam=lam, rule=qs.optimizers.Adam(lr), steps=16)


def bayesian(network: nn.Module, *, lr: float, steps: int) -> nn.Module:
    """Bayesian MAML with learned rates; the size of its steps does not depend on the learned noise."""
    rates = qs.optimizers.Rates(network, lr, per="parameter", steps=steps)
    likelihood: dict[str, Any] = {
        "inner_likelihood": qs.likelihoods.Gaussian(1.0),
        "temperature": nn.Parameter(torch.ones(())),
    }
    return qs.BayesianMAML(network, particles=5, lr=rates, steps=steps, **likelihood)


METHODS: dict[str, Method] = {  # `report.tables.PARTS` has their titles
    "maml": Method(lambda w, c: qs.MAML(net(w), **inner(c)), STEPS),
    "fomaml": Method(lambda w, c: qs.FOMAML(net(w), **inner(c)), STEPS),
    "reptile": Method(lambda w, c: qs.Reptile(net(w), **inner(c)), {**INNER, "steps": [5, 10]}, cost=4),
    "anil": Method(lambda w, c: qs.ANIL(net(w), **inner(c)), STEPS),
    "anil_rates": Method(
        lambda w, c: anil_with_rates(net(w), **inner(c)), {**INNER, "inner_lr": (1e-3, 0.1), "steps": [5, 10]}, cost=2
    ),
    "boil": Method(lambda w, c: qs.BOIL(net(w), **inner(c)), STEPS),
    "meta_sgd": Method(lambda w, c: qs.MetaSGD(net(w), **inner(c)), STEPS),
    "meta_curvature": Method(lambda w, c: qs.MetaCurvature(net(w), **inner(c)), STEPS),
    "maml_plus_plus": Method(
        lambda w, c: plus_plus(net(w), **inner(c)), {**INNER, "inner_lr": (1e-3, 0.1), "steps": [5]}, cost=2
    ),
    "warp_grad": Method(
        lambda w, c: qs.WarpGrad(qs.nets.WarpedMLP(1, [w, w], 1), **inner(c)),
        {**INNER, "inner_lr": (2e-4, 2e-3), "steps": [5]},  # larger rates diverge
        cost=6,
    ),
    "imaml": Method(
        lambda w, c: implicit(net(w), lr=c["inner_lr"], lam=c["lam"]),
        {
            "lr": (3e-4, 5e-3),
            "inner_lr": (5e-3, 0.05),
            "lam": (1.0, 5.0),
        },  # with 0.01 it cannot solve some inner problems
        cost=8,
    ),
    "cavia": Method(
        lambda w, c: qs.CAVIA(net(w, 1 + c["context"]), context=c["context"], **inner(c)),
        {**STEPS, "inner_lr": (0.05, 2.0), "context": [2, 4, 8, 16]},
    ),
    "bayesian_maml": Method(
        lambda w, c: bayesian(net(w), **inner(c)), {**INNER, "inner_lr": (5e-3, 0.05), "steps": [2, 3]}, cost=12
    ),
    "alpaca": Method(
        lambda w, c: qs.ALPaCA(net(w, 1, c["features"]), features=c["features"]),
        {**RATE, "features": [32, 64]},
        "once",
    ),
    "pretrained": Method(lambda w, c: qs.Pretrained(net(w), rule=qs.optimizers.Adam(0.01), steps=10), RATE),
    "cnp": Method(lambda w, c: qs.CNP(width=c["width"]), {**RATE, "width": [64, 128]}, "once"),
    "np": Method(lambda w, c: qs.NeuralProcess(width=c["width"]), {**RATE, "width": [64, 128]}, "once"),
}
