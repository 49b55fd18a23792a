"""The baseline without meta-learning: train one network on all tasks, then fine-tune it on the support set."""

from collections.abc import Callable
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from quickstudy.checks import check_losses, check_tasks
from quickstudy.data import Examples, Tasks
from quickstudy.gradient.common import adapt, config
from quickstudy.inner.loop import inner_loop
from quickstudy.inner.options import InnerOptions, as_parameters, check_options
from quickstudy.inner.points import without_trivial_mask
from quickstudy.inner.predictor import GradientPredictor
from quickstudy.inner.rates import Rated
from quickstudy.likelihoods import Likelihood, choose_loss
from quickstudy.words import inner_settings


class Pretrained(nn.Module):
    """Joint training over all tasks, then gradient steps at test time (the baseline of Finn et al. 2017, section 5.1).

    min_theta  mean_t L(theta; query_t). Training does not use the support sets.

    In training mode BatchNorm normalises over the points of all tasks together, as in supervised training.

    Args:
        network: any module `[N, *dx] -> [N, dy]` (or logits).
        lr: learning rate of the gradient steps at test time; as for `MAML`.
        steps: number of gradient steps at test time; `adapt` can take another number.
        loss: as for `MAML`.
        likelihood: as for `MAML`.
        inner: as for `MAML`.

    >>> import quickstudy as qs
    >>> rival = qs.Pretrained(qs.nets.MLP(1, [40, 40], 1), lr=0.01, steps=10)
    >>> tasks = qs.tasks.Sinusoid().sample(25, support=10, query=10)
    >>> rival.meta_loss(tasks).backward()
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        lr: Rated | None = None,
        steps: int = 10,
        loss: Callable[[Tensor, Tensor], Tensor] | None = None,
        likelihood: Likelihood | None = None,
        **inner: Unpack[InnerOptions],
    ):
        super().__init__()
        check_options(self, inner)
        self.network, self.likelihood, self.loss, self.options = network, likelihood, loss, dict(inner)
        point_loss = choose_loss(loss, likelihood)
        self.inputs = inner["inputs"] = as_parameters(inner.get("inputs"))
        self.inner_loss = inner.get("inner_loss")  # a module's parameters are meta-learned
        self.inner = inner_loop(network, loss=point_loss, lr=lr, steps=steps, first_order=True, **inner)
        self.rule, self.steps = self.inner.rule, self.inner.steps

    @property
    def engine(self) -> str:
        """The inner-loop engine in use; see `MAML.engine`."""
        return self.inner.known_engine()

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return config(self)

    def extra_repr(self) -> str:
        """The settings, in one line."""
        return inner_settings(self.options, steps=self.steps)

    def meta_loss(self, tasks: Tasks) -> Tensor:
        """Scalar: the mean over tasks of the mean loss over each task's real query points, without adapting."""
        check_tasks(tasks, self)
        return self(tasks)

    def forward(self, tasks: Tasks) -> Tensor:
        """`meta_loss` without the checks, in one pass over the real query points of all tasks."""
        x, y, mask = without_trivial_mask(tasks.query)
        if mask is None:
            losses = self.inner.loss(self.network(x.flatten(0, 1), **self.inner.inputs), y.flatten(0, 1))
            check_losses(losses, x.shape[0] * x.shape[1], masked=False)
            return losses.mean()
        losses = self.inner.loss(self.network(x[mask], **self.inner.inputs), y[mask])
        check_losses(losses, int(mask.sum()), masked=True)
        sizes = mask.sum(1, keepdim=True).expand_as(mask)[mask]  # of each point's task
        return (losses / sizes).sum() / len(mask)

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
