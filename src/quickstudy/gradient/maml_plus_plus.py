"""MAML++ (Antoniou, Edwards and Storkey 2019, arXiv 1810.09502)."""

from collections.abc import Callable
from typing import Any, Unpack, final

import torch
from torch import Tensor, nn

from quickstudy.checks import check_network, check_number, check_switch, check_tasks
from quickstudy.data import Examples, Tasks
from quickstudy.gradient.common import adapt, config
from quickstudy.inner.loop import inner_loop
from quickstudy.inner.optimizers import SGD
from quickstudy.inner.options import InnerOptions, as_parameters, check_options
from quickstudy.inner.predictor import GradientPredictor, meta_losses
from quickstudy.inner.rates import Rates
from quickstudy.learner import check_steps
from quickstudy.likelihoods import Likelihood, choose_loss
from quickstudy.words import inner_settings

LEAST = 0.03  # an early loss keeps at least this share of 1/steps, until only the last counts (the authors' code)


@final
class MAMLPlusPlus(nn.Module):
    """MAML with the improvements of Antoniou et al. 2019 (section 4); with all of them switched off it is `MAML`.

    - The loss is a weighted sum of the query losses after each inner step. The weights are equal at first; during
      training those of earlier steps fade until only the last step counts (eq. 3).
    - An inner learning rate for every layer and step is meta-learned.
    - The first part of training can do without second derivatives.

    Two further improvements are not part of the learner: batch normalisation with statistics for each step is the layer
    `StepNorm`, and the cosine schedule of the outer learning rate is `fit(..., schedule="cosine")`. `fit` calls
    `anneal` before every step; a training loop of your own must do the same. Before the first call, the learner behaves
    as at the end of training.

    Args:
        network: as for `MAML`.
        lr: initial value of all inner learning rates; `rule=`, one of `quickstudy.optimizers`, replaces them.
        learn_rates: whether to meta-learn the inner learning rates.
        steps: inner steps in training.
        multi_step: the share of training during which earlier losses count (0.1 in the authors' code); with 0, only
            the last step counts from the start.
        first_order_until: the share of training without second derivatives.
        loss, likelihood: as for `MAML`.
        inner: as for `MAML`.

    >>> import quickstudy as qs
    >>> learner = qs.MAMLPlusPlus(qs.nets.MLP(1, [40, 40], 1), lr=0.01, steps=5)
    >>> learner.anneal(0.0)
    >>> [round(w, 2) for w in learner.step_weights()]
    [0.2, 0.2, 0.2, 0.2, 0.2]
    >>> learner.anneal(0.05)
    >>> [round(w, 2) for w in learner.step_weights()]
    [0.1, 0.1, 0.1, 0.1, 0.6]
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        lr: float = 0.01,
        learn_rates: bool = True,
        steps: int = 5,
        multi_step: float = 0.1,
        first_order_until: float = 0.0,
        loss: Callable[[Tensor, Tensor], Tensor] | None = None,
        likelihood: Likelihood | None = None,
        **inner: Unpack[InnerOptions],
    ):
        super().__init__()
        check_options(self, inner)
        check_network(network)
        self.network, self.likelihood, self.loss, self.lr = network, likelihood, loss, lr
        self.learn_rates = check_switch("learn_rates", learn_rates)
        self.steps, self.options = check_steps(steps), dict(inner)
        self.multi_step = _share("multi_step", multi_step)
        self.first_order_until = _share("first_order_until", first_order_until)
        self.inputs = inner["inputs"] = as_parameters(inner.get("inputs"))
        if inner.get("rule") is None:
            if learn_rates:
                check_number("lr", lr)
            inner["rule"] = SGD(Rates(network, lr, per="layer", steps=max(steps, 1)) if learn_rates else lr)
        judge = choose_loss(loss, likelihood)
        self.inner_loss = inner.get("inner_loss")  # a module's parameters are meta-learned
        self.inner = inner_loop(network, loss=judge, steps=steps, **inner)
        self.rule, self.progress = self.inner.rule, 1.0
        self._early = (
            inner_loop(network, loss=judge, steps=steps, first_order=True, **inner) if first_order_until else None
        )

    @property
    def engine(self) -> str:
        """The inner-loop engine in use; see `MAML.engine`."""
        return self.inner.known_engine()

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        own = {"multi_step": self.multi_step, "first_order_until": self.first_order_until}
        return config(self, **own, learn_rates=self.learn_rates) | {"lr": self.lr}

    def extra_repr(self) -> str:
        """The settings, in one line."""
        return inner_settings(
            self.options,
            steps=self.steps,
            multi_step=self.multi_step,
            first_order_until=self.first_order_until or None,
        )

    def anneal(self, progress: float) -> None:
        """Set the progress of training, from 0 to 1; `fit` calls this before every step."""
        self.progress = _share("progress", progress)

    def step_weights(self) -> list[float]:
        """The present weights of the query losses after 1, 2, ... steps."""
        if not self.training or self.progress >= self.multi_step or not self.steps:
            return [0.0] * (self.steps - 1) + [1.0]
        early = max(1 - self.progress / self.multi_step, LEAST) / self.steps
        return [early] * (self.steps - 1) + [1 - early * (self.steps - 1)]

    def meta_loss(self, tasks: Tasks) -> Tensor:
        """Scalar: the mean over tasks of the mean loss over each task's real query points.

        In eval mode it is the loss after the last step; in training mode it is weighted by `step_weights`.
        """
        check_tasks(tasks, self)
        return self(tasks)

    def forward(self, tasks: Tasks) -> Tensor:
        """`meta_loss` without the checks."""
        early = self._early if self.training and self.progress < self.first_order_until else None
        inner = early or self.inner
        return meta_losses(inner, tasks, self.steps, self.step_weights()).mean()

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


def _share(name: str, value: Any) -> float:
    if check_number(name, value) > 1:
        raise ValueError(f"{name}={value!r}; expected a share of training, from 0 to 1")
    return value
