"""Reptile (Nichol, Achiam and Schulman 2018, arXiv 1803.02999)."""

from collections.abc import Callable
from typing import Any, Literal, Unpack

import torch
from torch import Tensor, nn

from quickstudy.checks import check_choice, check_tasks
from quickstudy.data import Examples, Tasks
from quickstudy.gradient.common import adapt, config
from quickstudy.inner.loop import inner_loop
from quickstudy.inner.options import InnerOptions, as_parameters, check_options
from quickstudy.inner.predictor import GradientPredictor, query_losses
from quickstudy.inner.rates import Rated
from quickstudy.likelihoods import Likelihood, choose_loss
from quickstudy.words import inner_settings


class Reptile(nn.Module):
    """Moves the initial parameters towards the parameters that training on each task reaches (algorithm 2).

    theta <- theta + eps * mean_t (theta'_t - theta),      theta'_t after `steps` steps of the rule on task t's points.

    The value of `meta_loss` is the query loss after adapting to the support set, as for the other learners. Its
    *gradient* is not the derivative of that value: it is theta - mean_t theta'_t, so that gradient descent at rate eps
    is the update above, and any other optimiser can be used. No second derivatives are computed.

    Parameters that do not adapt get no gradient, except those of a likelihood, which get the derivative of the loss.

    Args:
        network: as for `MAML`.
        lr: inner learning rate.
        steps: inner steps; 5 in the paper's command for 5-shot Omniglot.
        data: the points used for theta'_t: "all" points of a task, as in the paper, or its "support" set only. The
            latter takes half of the time and leaves the query points to the loss.
        loss: as for `MAML`.
        likelihood: as for `MAML`.
        inner: as for `MAML`, except the options for differentiating steps. The paper's code uses `minibatch=` (the
            update favours parameters at which gradients of different minibatches agree) and
            `rule=optimizers.Adam(betas=(0.0, 0.999))`.

    Raises:
        ValueError: if the rule has learned rates; Reptile has no gradient for them.

    >>> import quickstudy as qs
    >>> learner = qs.Reptile(qs.nets.MLP(1, [40, 40], 1), lr=0.02, steps=5, minibatch=10)
    >>> tasks = qs.tasks.Sinusoid().sample(25, support=10, query=10)
    >>> learner.meta_loss(tasks).backward()
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        lr: Rated | None = None,
        steps: int = 5,
        data: Literal["all", "support"] = "all",
        loss: Callable[[Tensor, Tensor], Tensor] | None = None,
        likelihood: Likelihood | None = None,
        **inner: Unpack[InnerOptions],
    ):
        super().__init__()
        check_options(self, inner)
        check_choice("data", data, ("all", "support"))
        self.network, self.likelihood, self.loss, self.data = network, likelihood, loss, data
        self.options = dict(inner)
        self.inputs = inner["inputs"] = as_parameters(inner.get("inputs"))
        point_loss = choose_loss(loss, likelihood)
        self.inner_loss = inner.get("inner_loss")  # a module's parameters are meta-learned
        self.inner = inner_loop(network, loss=point_loss, lr=lr, steps=steps, first_order=True, **inner)
        self.rule, self.steps = self.inner.rule, self.inner.steps
        if any(p.requires_grad for p in self.rule.parameters()):
            raise ValueError("Reptile has no gradient for learned rates; give fixed ones, or use MAML or MetaSGD")

    @property
    def passes(self) -> int:
        """Forward passes in one meta-loss."""
        return self.steps * (2 if self.data == "all" else 1) + 1

    @property
    def engine(self) -> str:
        """The inner-loop engine in use; see `MAML.engine`."""
        return self.inner.known_engine()

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return config(self, data=self.data)

    def extra_repr(self) -> str:
        """The settings, in one line."""
        return inner_settings(self.options, steps=self.steps, data=self.data)

    def meta_loss(self, tasks: Tasks) -> Tensor:
        """Scalar: the mean over tasks of the mean loss over each task's real query points, after `steps` steps."""
        check_tasks(tasks, self)
        return self(tasks)

    def forward(self, tasks: Tasks) -> Tensor:
        """`meta_loss` without the checks."""
        adapted = self.inner(tasks.support, create_graph=False)
        loss = query_losses(adapted, tasks.query).mean()
        if self.data == "all":
            adapted = self.inner(tasks.support.append(tasks.query), create_graph=False)
        return self._with_gradient(loss, adapted.params)

    def _with_gradient(self, loss: Tensor, adapted: dict[str, Tensor]) -> Tensor:
        """`loss` with another gradient: each initial parameter's difference from the mean of the adapted ones."""
        start = {**dict(self.network.named_parameters()), **self.inner.inputs}
        for name in self.inner.adapted_names():
            away = (start[name] - adapted[name].mean(0)).detach()
            loss = loss + (away * (start[name] - start[name].detach())).sum()
        return loss

    def adapt(
        self,
        support: Examples,
        *,
        steps: int | None = None,
        create_graph: bool = False,
        generator: torch.Generator | None = None,
    ) -> GradientPredictor:
        """The predictor after `steps` gradient steps on `support`; see `MAML.adapt`."""
        return adapt(self, support, steps, create_graph=create_graph, generator=generator)
