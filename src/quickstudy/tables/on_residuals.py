"""A process that learns how groups differ from a curve for all of them."""

from dataclasses import dataclass, replace
from typing import Any, NoReturn, Self, final

import torch
from torch import Tensor, nn

from quickstudy.data import Examples, Tasks
from quickstudy.learner import Functions, Predictor


@final
class OnResiduals(nn.Module):
    """A process on the residuals of a curve for all groups: y = m(x) + f_i(x), where the process learns f.

    With few groups, a process alone spends what it can learn on the shape that all groups share; so the curve is
    fitted first and stays as it is.

    Args:
        process: a process whose beliefs can be shifted point by point (normal, or mixtures over latents).
        curve: a fitted learner; m is the mean of its prior.
    """

    def __init__(self, process: nn.Module, curve: nn.Module):
        super().__init__()
        self.process: Any = process
        self.curve: Any = curve.requires_grad_(False)

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"process": self.process, "curve": self.curve}

    @property
    def training_defaults(self) -> Any:
        """Those of the process."""
        return self.process.training_defaults

    def meta_loss(self, tasks: Tasks) -> Tensor:
        """The meta-loss of the process, on residuals."""
        loss: Tensor = self.process.meta_loss(Tasks(self.residuals(tasks.support), self.residuals(tasks.query)))
        return loss

    def adapt(self, support: Examples, **options: Any) -> "ShiftedPredictor":
        """The predictor for `support`; `options` are those of the process's `adapt`."""
        return ShiftedPredictor(self, self.process.adapt(self.residuals(support), **options))

    def mean(self, x: Tensor) -> Tensor:
        """The curve m at `x [T, M, dx]`, `[T, M, dy]`."""
        if not x.shape[1]:
            return x.new_zeros(len(x), 0, self.process.dy)
        nothing = Examples(x[:, :0], x.new_zeros(len(x), 0, self.process.dy))
        with torch.no_grad():
            mean: Tensor = self.curve.adapt(nothing)(x).mean
        return mean

    def residuals(self, points: Examples) -> Examples:
        """The points with y - m(x) in place of y."""
        points = points.clean()
        return points._replace(y=points.y - self.mean(points.x)).clean()


@dataclass(frozen=True)
class ShiftedPredictor:
    """Predictions of residuals plus the curve; made by `OnResiduals.adapt`."""

    owner: OnResiduals
    predictor: Predictor

    def __call__(self, x: Tensor) -> Any:
        """The belief at `x [T, M, dx]`."""
        belief: Any = self.predictor(x)
        return belief.rescale(self.owner.mean(x), 1.0)

    def append(self, examples: Examples) -> Self:
        """The predictor for the union of the support set and `examples`."""
        return replace(self, predictor=self.predictor.append(self.owner.residuals(examples)))

    def functions(self, n: int, generator: torch.Generator | None = None) -> Functions:
        """`n` functions of the process, plus the curve."""
        inside = self.predictor.functions(n, generator)

        def evaluate(x: Tensor, members: list[int]) -> Tensor:
            values = inside(x) if len(members) == n else torch.stack([inside[i](x) for i in members])
            return values + self.owner.mean(x)

        return Functions(evaluate, n)

    def task(self, i: int) -> NoReturn:
        """There is none.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("a group has no module of a process and a curve; use the predictor")
