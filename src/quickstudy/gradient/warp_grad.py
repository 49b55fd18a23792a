"""WarpGrad (Flennerhag et al. 2020, arXiv 1909.00025): shared layers that precondition the inner gradients."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, Unpack, final

import torch
from torch import Tensor, nn

from quickstudy.checks import check_network, check_tasks
from quickstudy.data import Examples, Tasks
from quickstudy.gradient.common import adapt, config
from quickstudy.inner.adapted import Adapted
from quickstudy.inner.loop import inner_loop
from quickstudy.inner.options import InnerOptions, check_options
from quickstudy.inner.predictor import GradientPredictor, meta_losses
from quickstudy.inner.problem import matching
from quickstudy.inner.rates import Rated
from quickstudy.learner import check_steps
from quickstudy.likelihoods import Likelihood, choose_loss
from quickstudy.substitute import substituted
from quickstudy.words import inner_settings


@final
class WarpGrad(nn.Module):
    """Meta-learns warp layers, shared by all tasks, between the layers that adapt to each task.

    Inner steps change only the task layers theta. Their gradient passes through the warp layers phi, which thereby
    precondition it. phi is learned from single steps that start at every point theta_k of the adaptation (eq. 8):

        min_phi  mean_t mean_k L(theta_k - lr grad L(theta_k; support_t; phi); query_t; phi),

    where each theta_k is a constant: no derivative passes through more than one step. The initial theta is learned as
    in MAML, with phi constant. The value of the meta-loss is that of MAML; its gradient is the sum of both gradients.

    Args:
        network: a network with warp layers, such as `nets.WarpedMLP`.
        warp: patterns for the names of the warp layers' parameters.
        lr: inner learning rate; `rule=`, one of `quickstudy.optimizers`, replaces it.
        steps: inner steps in training.
        first_order: learn the initial theta without second derivatives.
        loss, likelihood: as for `MAML`.
        inner: as for `MAML`, except `adapt`, `inputs` and the options `checkpoint`, `truncate` and `implicit`.

    >>> import quickstudy as qs
    >>> learner = qs.WarpGrad(qs.nets.WarpedMLP(1, [40, 40], 1), lr=0.01, steps=5)
    >>> tasks = qs.tasks.Sinusoid().sample(4, support=10, query=10)
    >>> learner.meta_loss(tasks).backward()
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        warp: str | Sequence[str] = "*warp*",
        lr: Rated | None = None,
        steps: int = 5,
        first_order: bool = False,
        loss: Callable[[Tensor, Tensor], Tensor] | None = None,
        likelihood: Likelihood | None = None,
        **inner: Unpack[InnerOptions],
    ):
        super().__init__()
        check_options(self, inner)
        check_network(network)
        for option in ("adapt", "inputs", "checkpoint", "truncate", "implicit"):
            if inner.get(option) is not None:
                raise TypeError(f"WarpGrad has no {option}=: all but the warp layers adapts, and every step is used")
        names = [k for k, _ in network.named_parameters()]
        try:
            self.warped = matching(names, warp)
        except ValueError as error:
            raise ValueError(f"{error}; warp= names the parameters of warp layers, as nets.WarpedMLP has") from None
        if len(self.warped) == len(names):
            raise ValueError(f"warp={warp!r} names every parameter; nothing is left to adapt")
        self.network, self.likelihood, self.loss, self.warp = network, likelihood, loss, warp
        self.steps, self.options = check_steps(steps), dict(inner)
        shared: Any = {"loss": choose_loss(loss, likelihood), "steps": steps, **inner}
        shared["adapt"] = [k for k in names if k not in self.warped]
        self.inner_loss = inner.get("inner_loss")  # a module's parameters are meta-learned
        self.inner = inner_loop(network, lr=lr, first_order=first_order, **shared)
        self.rule = self.inner.rule
        self._ahead = inner_loop(network, **{**shared, "rule": self.rule})

    @property
    def engine(self) -> str:
        """The inner-loop engine in use; see `MAML.engine`."""
        return self.inner.known_engine()

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return config(self, warp=self.warp, first_order=self.inner.first_order)

    def extra_repr(self) -> str:
        """The settings, in one line."""
        return inner_settings(self.options, steps=self.steps, first_order=self.inner.first_order, warp=self.warp)

    def meta_loss(self, tasks: Tasks) -> Tensor:
        """Scalar: the mean over tasks of the mean loss over each task's real query points, after `steps` steps."""
        check_tasks(tasks, self)
        return self(tasks)

    def forward(self, tasks: Tasks) -> Tensor:
        """`meta_loss` without the checks."""
        own = dict(self.network.named_parameters())
        with substituted(self.network, {k: own[k].detach() for k in self.warped}):
            loss = meta_losses(self.inner, tasks, self.steps).mean()
        ahead = self._one_step_ahead(tasks, {k: v.detach() for k, v in own.items() if k not in self.warped})
        return loss + (ahead - ahead.detach())

    def _one_step_ahead(self, tasks: Tasks, start: dict[str, Tensor]) -> Tensor:
        """The mean query loss after one step from each point of the adaptation, as a function of phi alone."""
        path: list[Adapted] = []

        def cut(after: Adapted) -> Adapted:
            path.append(after)
            return after.detach()

        with ExitStack() as fixed:  # everything but phi is constant
            fixed.enter_context(substituted(self.network, start))
            for other in (self.rule, self.likelihood):
                if isinstance(other, nn.Module):
                    fixed.enter_context(substituted(other, {k: p.detach() for k, p in other.named_parameters()}))
            adapted = self._ahead(tasks.support, each=cut)
            losses = [a.losses(tasks.query).mean() for a in path or [adapted]]
        return torch.stack(losses).mean()

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
