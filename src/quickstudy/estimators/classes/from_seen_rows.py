"""What learners of labels share whose logits are a function of the seen rows and of the inputs."""

from dataclasses import dataclass, replace
from typing import Any, NoReturn, Protocol

import torch
from torch import Tensor

from quickstudy.checks import check_examples, check_inputs, check_more, check_tasks
from quickstudy.data import Examples, Tasks
from quickstudy.learner import check_generator, check_steps
from quickstudy.likelihoods import negative_log_likelihood
from quickstudy.predictive import Categorical


class WithLogits(Protocol):
    """A learner of labels: `logits(support, x [T, M, dx]) -> [T, M, classes]`."""

    def logits(self, support: Examples, x: Tensor) -> Tensor:
        """Unnormalised log probabilities at `x`, given the seen rows."""


@dataclass(frozen=True)
class LabelPredictor:
    """Class probabilities from the seen rows of each group."""

    owner: WithLogits
    support: Examples
    prior: bool = False

    def __call__(self, x: Tensor) -> Categorical:
        """The belief at `x [T, M, dx]`."""
        check_inputs(x, self.support)
        return Categorical(self.owner.logits(self.support, x))

    def append(self, examples: Examples) -> "LabelPredictor":
        """The predictor for the union; one made with `steps=0` stays the prior."""
        check_more(examples, self.support)
        return self if self.prior else replace(self, support=self.support.append(examples.clean()))

    def functions(self, n: int, generator: torch.Generator | None = None) -> NoReturn:
        """There are none.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("this learner predicts each row by itself, so there are no functions to draw")

    def task(self, i: int) -> NoReturn:
        """There is none.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("this learner has no module of a group's own; use the predictor")


def adapted(owner: WithLogits, support: Examples, steps: Any, generator: Any) -> LabelPredictor:
    """The predictor for labelled rows; `steps=0` gives the prior."""
    check_examples(support, "support")
    check_generator(generator)
    if support.y.is_floating_point():
        raise TypeError(f"support.y is {support.y.dtype}; expected labels as integers [T, N]")
    prior = steps is not None and check_steps(steps) == 0
    return LabelPredictor(owner, support.first(0) if prior else support.clean(), prior)


def loss_of_labels(owner: Any, tasks: Tasks) -> Tensor:
    """Scalar: the mean over tasks of the mean negative log probability of each task's real query points."""
    check_tasks(tasks)
    query = tasks.query.clean()
    return negative_log_likelihood(owner.adapt(tasks.support, create_graph=True)(query.x), query, joint=False)


def counts_of(support: Examples, classes: int) -> Tensor:
    """The number of seen rows of each class, `[T, classes]`, in float64."""
    real = support.real()
    places = torch.where(real, support.y, 0)
    found = torch.zeros(len(real), classes, dtype=torch.float64, device=real.device)
    return found.scatter_add(1, places, real.double())
