"""What all learners with an inner loop do alike: adapt to a support set, and list their constructor arguments."""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import torch
from torch import nn

from quickstudy.checks import check_examples
from quickstudy.data import Examples
from quickstudy.inner.loop import InnerLoop
from quickstudy.inner.predictor import GradientPredictor, predictor
from quickstudy.likelihoods import Likelihood, PointLoss


class InnerLearner(Protocol):
    """The attributes of a learner that the functions below read."""

    inner: InnerLoop
    steps: int

    @property
    def network(self) -> nn.Module:
        """The module that adapts."""

    @property
    def loss(self) -> PointLoss | None:
        """As given to the constructor."""

    @property
    def likelihood(self) -> Likelihood | None:
        """As given to the constructor."""

    @property
    def options(self) -> Mapping[str, Any]:
        """The constructor's further options for `quickstudy.inner_loop`."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """What meta-training learns."""


def adapt(
    learner: InnerLearner,
    support: Examples,
    steps: int | None,
    *,
    create_graph: bool,
    generator: torch.Generator | None,
    chunk: int | None = None,
) -> GradientPredictor:
    """The predictor after `steps` inner steps on `support`; arguments as for `MAML.adapt`.

    Args:
        chunk: how many tasks adapt at a time; all by default.
    """
    check_examples(support, "support", learner)
    steps = learner.steps if steps is None else steps
    options: Any = {"create_graph": create_graph, "generator": generator, "chunk": chunk}
    return predictor(learner.inner, learner.likelihood, support, steps, **options)


def config(learner: InnerLearner, **own: Any) -> dict[str, Any]:
    """Constructor arguments of `learner`; `own` are those that only its class has."""
    rate = {} if "rule" in learner.options else {"lr": learner.inner.rule.lr}
    shared = {"network": learner.network, **rate, "steps": learner.steps}
    return {**shared, **own, "loss": learner.loss, "likelihood": learner.likelihood, **learner.options}
