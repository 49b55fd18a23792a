"""Tasks in other units: inputs and outputs shifted and divided by a constant."""

import math
from dataclasses import dataclass
from typing import Any, final

import torch

from quickstudy.data import Examples, Tasks
from quickstudy.learner import Split, TaskFamily
from quickstudy.tasks.sampling import number


@final
@dataclass(frozen=True)
class Rescaled:
    """The tasks of `family` with (x - x_center) / x_scale in place of x, and (y - y_center) / y_scale in place of y.

    Networks learn best from numbers near 1. Log densities of all dy outputs of a point are larger in the new units, by
    dy log(y_scale); `oracle_log_prob` and `oracle_joint_log_prob` in `info` are converted.

    Args:
        family: a family whose x and y are vectors of real numbers.
        x_center, x_scale: in units of x.
        y_center, y_scale: in units of y.

    Raises:
        ValueError: for a number that is not finite, or a scale that is not positive.
        TypeError: from `sample`, if x or y of the family are no floats, such as class labels.

    >>> from quickstudy.tasks.pendulum import Pendulum
    >>> family = Rescaled(Pendulum(domain=(0.0, 5.0)), x_center=2.5, x_scale=2.5)
    >>> x = family.sample(2, support=0, query=3, grid=True, generator=torch.Generator().manual_seed(0)).query.x
    >>> x[0, :, 0].tolist()
    [-1.0, 0.0, 1.0]
    """

    family: TaskFamily
    x_center: float = 0.0
    x_scale: float = 1.0
    y_center: float = 0.0
    y_scale: float = 1.0

    def __post_init__(self) -> None:
        for name in ("x_center", "x_scale", "y_center", "y_scale"):
            value = number(name, getattr(self, name), least=-math.inf)
            if name.endswith("scale") and value <= 0:
                raise ValueError(f"{name}={value}; expected a number above 0")
            object.__setattr__(self, name, value)

    @property
    def dx(self) -> int:
        """The number of features of an input."""
        return int(self._own().dx)

    @property
    def dy(self) -> int:
        """The number of outputs."""
        return int(self._own().dy)

    def _own(self) -> Any:
        """The family, which has `dx` and `dy`."""
        return self.family

    def sample(
        self,
        num_tasks: int,
        *,
        support: int,
        query: int,
        split: Split = "train",
        generator: torch.Generator | None = None,
        **options: Any,
    ) -> Tasks:
        """Draw tasks of the family and convert them; `options` (such as `grid`) go to the family."""
        tasks = self.family.sample(num_tasks, support=support, query=query, split=split, generator=generator, **options)
        return Tasks(self._converted(tasks.support), self._converted(tasks.query), self._info(tasks))

    def _converted(self, points: Examples) -> Examples:
        for name, values in (("x", points.x), ("y", points.y)):
            if not values.is_floating_point():
                raise TypeError(
                    f"Rescaled: {type(self.family).__name__} drew {name} of type {values.dtype}, which has no unit to "
                    "convert; use the family itself"
                )
        x, y = (points.x - self.x_center) / self.x_scale, (points.y - self.y_center) / self.y_scale
        return Examples(x, y, points.mask)

    def _info(self, tasks: Tasks) -> dict[str, Any]:
        """`info` with the log densities of an oracle in the new units."""
        info, more = dict(tasks.info), math.log(self.y_scale) * tasks.query.y.shape[2:].numel()
        if "oracle_log_prob" in info:
            info["oracle_log_prob"] = info["oracle_log_prob"] + more * tasks.query.real()
        if "oracle_joint_log_prob" in info:
            info["oracle_joint_log_prob"] = info["oracle_joint_log_prob"] + more * tasks.query.sizes()
        return info
