"""A process that starts from the class probabilities of all groups."""

from dataclasses import dataclass, replace
from typing import Any, NoReturn, Self, final

import torch
from torch import Tensor, nn

from quickstudy.data import Examples, Tasks
from quickstudy.estimators.classes.class_curve import ClassCurve
from quickstudy.estimators.classes.from_seen_rows import loss_of_labels
from quickstudy.predictive import Categorical


@final
class OnClassCurve(nn.Module):
    """p(k | x, seen) = softmax(c(x) + g(x, c(x), seen))_k, with the logits c of a `ClassCurve` and g of a process.

    The class probabilities of the curve are further inputs of the process, at the seen rows as well; so it can tell
    what was not expected of them. The curve is fitted before and stays as it is.

    Args:
        process: a process with dx + classes inputs and `heads.CategoricalHead(classes)`.
        curve: the curve.
    """

    def __init__(self, process: nn.Module, curve: ClassCurve):
        super().__init__()
        self.process: Any = process
        self.curve = curve.requires_grad_(False)

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"process": self.process, "curve": self.curve}

    @property
    def dx(self) -> int:
        """The number of inputs."""
        return self.curve.dx

    def widened(self, x: Tensor) -> Tensor:
        """The inputs `[T, N, dx]` with the class probabilities of the curve, `[T, N, dx + classes]`."""
        return torch.cat([x, self.base(x).softmax(2)], 2)

    def base(self, x: Tensor) -> Tensor:
        """The logits of the curve."""
        nothing = Examples(x[:, :0], torch.zeros(len(x), 0, dtype=torch.long, device=x.device))
        return self.curve.logits(nothing, x).to(x)

    def meta_loss(self, tasks: Tasks) -> Tensor:
        """The mean negative log probability of the query rows."""
        return loss_of_labels(self, tasks)

    def adapt(self, support: Examples, **options: Any) -> "RaisedPredictor":
        """The predictor for the seen rows; `options` are those of the process's `adapt`."""
        return RaisedPredictor(self, self.process.adapt(self._wide(support), **options))

    def _wide(self, points: Examples) -> Examples:
        points = points.clean()
        return points._replace(x=self.widened(points.x)).clean()


@dataclass(frozen=True)
class RaisedPredictor:
    """Predictions of a process, raised by the curve's logits; made by `OnClassCurve.adapt`."""

    owner: OnClassCurve
    predictor: Any

    def __call__(self, x: Tensor) -> Categorical:
        """The belief at `x [T, M, dx]`."""
        return Categorical(self.owner.base(x) + self.predictor(self.owner.widened(x)).logits)

    def append(self, examples: Examples) -> Self:
        """The predictor for the union of the support set and `examples`."""
        return replace(self, predictor=self.predictor.append(self.owner._wide(examples)))

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
        raise NotImplementedError("a group has no module of a process and a curve; use the predictor")
