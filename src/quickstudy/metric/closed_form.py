"""Shared code of learners whose belief about a group follows from its rows by a formula."""

from abc import ABC, abstractmethod
from typing import Any, Generic, TypeVar, final

import torch
from torch import Tensor, nn

from quickstudy.checks import check_examples, check_fits, check_tasks
from quickstudy.data import Examples, Tasks
from quickstudy.learner import Predictor, check_generator, check_steps
from quickstudy.likelihoods import negative_log_likelihood

Made = TypeVar("Made", bound=Predictor)
"""The kind of predictor that a model makes."""


class ClosedForm(nn.Module, ABC, Generic[Made]):
    """A learner of real outcomes that is fitted to training groups, and then takes no steps to adapt to a group.

    Each subclass is one model; it defines the abstract methods and overrides no other method.
    """

    dx: int
    dy: int

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """Constructor arguments."""

    @abstractmethod
    def posterior(self, support: Examples, *, graph: bool, prior: bool) -> Made:
        """The predictor for `support`, without the checks of `adapt`; with `prior`, that of an unknown group."""

    @final
    def meta_loss(self, tasks: Tasks) -> Tensor:
        """Scalar: the mean over tasks of the mean negative log predictive density of each task's real query points."""
        check_tasks(tasks)
        self._check_shapes(tasks.support)
        loss: Tensor = self(tasks)
        return loss

    def forward(self, tasks: Tasks) -> Tensor:
        """`meta_loss` without the checks, for transforms and compilers."""
        query = tasks.query.clean()
        belief = self.posterior(tasks.support.clean(), graph=True, prior=False)(query.x)
        return negative_log_likelihood(belief, query, joint=False)

    @final
    def adapt(
        self,
        support: Examples,
        *,
        steps: int | None = None,
        create_graph: bool = False,
        generator: torch.Generator | None = None,
    ) -> Made:
        """The belief about each group given `support`; `steps=0` and an empty support set give the prior.

        It draws no random numbers, so `generator` is not used.

        Raises:
            ValueError: for points of other shapes, and for outcomes that the model gives no probability.
        """
        check_examples(support, "support")
        self._check_shapes(support)
        check_generator(generator)
        if steps is not None:
            check_steps(steps)
        with torch.set_grad_enabled(create_graph and torch.is_grad_enabled()):
            return self.posterior(support, graph=create_graph, prior=steps == 0)

    def _check_shapes(self, support: Examples) -> None:
        """Raise an error unless inputs and outputs have the shapes, types and device of the learner."""
        x, y, _ = support
        if x.shape[2:] != (self.dx,) or not y.is_floating_point() or y.shape[2:] != (self.dy,):
            raise ValueError(
                f"support.x has shape {list(x.shape)} and support.y is {y.dtype} of shape {list(y.shape)}; this "
                f"{type(self).__name__} was built with dx={self.dx}, dy={self.dy} and expects [T, N, {self.dx}] and "
                f"floats [T, N, {self.dy}]"
            )
        check_fits(self, support)
