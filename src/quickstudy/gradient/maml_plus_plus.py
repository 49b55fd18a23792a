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

LEAST = 0.03  # of an even share: what a loss that fades keeps until it is left out (the authors' code)


@final
class MAMLPlusPlus(nn.Module):
    """MAML with the repairs of Antoniou et al. 2019 (section 4), each a switch of its own; with all off, `MAML`.

    - the query loss counts after every inner step, all alike at first, and more and more the last alone (eq. 3);
    - rates of their own for every layer and step are meta-learned;
    - the second derivative is left out at first.

    Two more are not the learner's: batch normalisation by step is a layer, `StepNorm`, and the cosine schedule of the
    outer rate is `fit(..., schedule="cosine")`. `fit` tells the learner how far training is (`anneal`); in a loop of
    your own call it before each step. Until it is called, training counts as over.

    Args:
        network: as for `MAML`.
        lr: inner rate of every layer and step at the start. `rule=` takes any rule of `quickstudy.optimizers` instead.
        learn_rates: meta-learn them.
        steps: inner steps in training.
        multi_step: over which share of training early losses fade (0.1 in the authors' code); 0 has the last alone.
        first_order_until: share of training without second derivatives.
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
        """The engine in use, as of `MAML`."""
        return self.inner.known_engine()

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        own = {"multi_step": self.multi_step, "first_order_until": self.first_order_until}
        return config(self, **own, learn_rates=self.learn_rates) | {"lr": self.lr}

    def extra_repr(self) -> str:
        """What it was told, in a line."""
        return inner_settings(
            self.options,
            steps=self.steps,
            multi_step=self.multi_step,
            first_order_until=self.first_order_until or None,
        )

    def anneal(self, progress: float) -> None:
        """Say how far training is, from 0 to 1; `fit` does before every step."""
        self.progress = _share("progress", progress)

    def step_weights(self) -> list[float]:
        """What the query losses after 1, 2, ... steps count now, in training mode."""
        if not self.training or self.progress >= self.multi_step or not self.steps:
            return [0.0] * (self.steps - 1) + [1.0]
        early = max(1 - self.progress / self.multi_step, LEAST) / self.steps
        return [early] * (self.steps - 1) + [1 - early * (self.steps - 1)]

    def meta_loss(self, tasks: Tasks) -> Tensor:
        """Scalar: the mean over tasks of the mean loss over each task's real query points.

        In eval mode after all steps; in training mode as `step_weights` has it.
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
