"""A learner of scaled inputs as one in the units of a table."""

from dataclasses import dataclass, replace
from typing import Any, NoReturn, Self, final

import torch
from torch import Tensor, nn

from quickstudy.data import Examples, Tasks
from quickstudy.learner import Functions
from quickstudy.tasks.datasets.scaling import Scaling


@final
class ScaledInputs(nn.Module):
    """A learner whose inputs are in the units of a table; the one inside has standard units. Outcomes stay as they are.

    Args:
        learner: a learner of the contract, for standard units.
        scaling: the change of units of the inputs, as `Scaling.to_json` writes it.
    """

    def __init__(self, learner: nn.Module, scaling: dict[str, Any]):
        super().__init__()
        self.learner: Any = learner
        self.scaling = Scaling.from_json(scaling)

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"learner": self.learner, "scaling": self.scaling.to_json()}

    def meta_loss(self, tasks: Tasks) -> Tensor:
        """The meta-loss of the learner inside, in standard units."""
        loss: Tensor = self.learner.meta_loss(Tasks(self.scaled(tasks.support), self.scaled(tasks.query)))
        return loss

    def adapt(self, support: Examples, **options: Any) -> "ScaledPredictor":
        """The predictor for `support`; `options` are those of the learner's `adapt`."""
        return ScaledPredictor(self, self.learner.adapt(self.scaled(support), **options))

    def scaled(self, points: Examples) -> Examples:
        """Rows with inputs in standard units."""
        points = points.clean()
        return points._replace(x=self.scaled_x(points.x)).clean()

    def scaled_x(self, x: Tensor) -> Tensor:
        """Inputs in standard units, in the type of the learner inside."""
        weight = next((p for p in self.learner.parameters() if p.is_floating_point()), None)
        return self.scaling.scale_x(x).to(torch.get_default_dtype() if weight is None else weight.dtype)


@dataclass(frozen=True)
class ScaledPredictor:
    """Predictions at inputs in the units of a table; made by `ScaledInputs.adapt`."""

    owner: ScaledInputs
    predictor: Any

    def __call__(self, x: Tensor) -> Any:
        """The belief at `x [T, M, dx]`."""
        return self.predictor(self.owner.scaled_x(x))

    def append(self, examples: Examples) -> Self:
        """The predictor for the union of the support set and `examples`."""
        return replace(self, predictor=self.predictor.append(self.owner.scaled(examples)))

    def functions(self, n: int, generator: torch.Generator | None = None) -> Functions:
        """`n` functions of the learner inside."""
        inside: Any = self.predictor.functions(n, generator)

        def evaluate(x: Tensor, members: list[int]) -> Tensor:
            scaled = self.owner.scaled_x(x)
            return inside(scaled) if len(members) == n else torch.stack([inside[i](scaled) for i in members])

        return Functions(evaluate, n)

    def task(self, i: int) -> NoReturn:
        """There is none.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("a group has no module in the units of a table; use the predictor")
