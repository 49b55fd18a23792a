"""A learner of scaled numbers as one in the units of a table."""

from dataclasses import dataclass, replace
from typing import Any, NoReturn, Self, final

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from quickstudy.checks import check_switch
from quickstudy.data import Examples, Tasks
from quickstudy.learner import Functions, Predictor
from quickstudy.predictive.log_transformed import LogTransformed
from quickstudy.tasks.datasets.scaling import Scaling


@final
class InUnits(nn.Module):
    """A learner whose inputs, outcomes and beliefs are in the units of a table; the one inside has standard units.

    Give rows in float64: units such as days since 1970, or a northing, need its digits.

    Args:
        learner: a learner of the contract, for standard units.
        scaling: the change of units, as `Scaling.to_json` writes it.
        log: whether the learner predicts the logarithms of the outcomes, which then must be positive; its beliefs must
            be normal.
    """

    def __init__(self, learner: nn.Module, scaling: dict[str, Any], *, log: bool = False):
        super().__init__()
        self.learner: Any = learner
        self.scaling, self.log = Scaling.from_json(scaling), check_switch("log", log)

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"learner": self.learner, "scaling": self.scaling.to_json(), "log": self.log}

    @property
    def dx(self) -> int:
        """The number of inputs."""
        return self.scaling.dx

    @property
    def dy(self) -> int:
        """The number of outputs."""
        return self.scaling.dy

    def meta_loss(self, tasks: Tasks) -> Tensor:
        """The meta-loss of the learner inside, in standard units."""
        loss: Tensor = self.learner.meta_loss(Tasks(self.scaled(tasks.support), self.scaled(tasks.query)))
        return loss

    def adapt(self, support: Examples, **options: Any) -> "PredictorInUnits":
        """The predictor for `support`, in the units of the table; `options` are those of the learner's `adapt`."""
        return PredictorInUnits(self, self.learner.adapt(self.scaled(support), **options))

    def scaled(self, points: Examples) -> Examples:
        """Rows in standard units.

        Raises:
            ValueError: with `log`, for an outcome that is not positive.
        """
        points = points.clean()
        y = points.y
        if self.log:
            y = torch.where(points.real().unsqueeze(-1), y, 1.0)
            if bool((y <= 0).any()):
                raise ValueError(
                    f"an outcome is {float(y.min()):g}, and this learner predicts logarithms; it takes outcomes above 0"
                )
            y = y.log()
        return Examples(self.scaled_x(points.x), self.scaling.scale_y(y), points.mask).clean().to(dtype=self.kind)

    def of_counts(self, belief: Any) -> Any:
        """A belief about whole numbers, which have no units, in float64.

        Raises:
            ValueError: if the outcomes of the table are scaled.
        """
        center, spread = (part[self.dx :] for part in (self.scaling.center, self.scaling.spread))
        if self.log or bool(((center != 0) | (spread != 1)).any()):
            raise ValueError(
                "the learner predicts whole numbers, and the outcomes of this table are scaled; give it the outcomes "
                "as they are, with center 0 and spread 1"
            )
        return tree_map(lambda part: part.double() if isinstance(part, Tensor) else part, belief)

    def scaled_x(self, x: Tensor) -> Tensor:
        """Inputs in standard units, in the type of the learner inside."""
        return self.scaling.scale_x(x).to(self.kind)

    @property
    def kind(self) -> torch.dtype:
        """The type of the parameters of the learner inside; torch's default type if it has none."""
        weight = next((p for p in self.learner.parameters() if p.is_floating_point()), None)
        return torch.get_default_dtype() if weight is None else weight.dtype


@dataclass(frozen=True)
class PredictorInUnits:
    """Predictions in the units of a table; made by `InUnits.adapt`."""

    owner: InUnits
    predictor: Predictor

    def __call__(self, x: Tensor) -> Any:
        """The belief at `x [T, M, dx]`, in float64."""
        standard = self.predictor(self.owner.scaled_x(x))
        if getattr(standard, "discrete", False):
            return self.owner.of_counts(standard)
        belief: Any = self.owner.scaling.in_units(standard)
        return LogTransformed(belief) if self.owner.log else belief

    def append(self, examples: Examples) -> Self:
        """The predictor for the union of the support set and `examples`."""
        return replace(self, predictor=self.predictor.append(self.owner.scaled(examples)))

    def functions(self, n: int, generator: torch.Generator | None = None) -> Functions:
        """`n` functions of the learner inside, in the units of the table."""
        scaling, inside = self.owner.scaling, self.predictor.functions(n, generator)

        def evaluate(x: Tensor, members: list[int]) -> Tensor:
            scaled = self.owner.scaled_x(x)
            values = inside(scaled) if len(members) == n else torch.stack([inside[i](scaled) for i in members])
            found = scaling.unscale_y(values)
            return found.exp() if self.owner.log else found

        return Functions(evaluate, n)

    def task(self, i: int) -> NoReturn:
        """There is none.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("a group has no module in the units of a table; use the predictor")
