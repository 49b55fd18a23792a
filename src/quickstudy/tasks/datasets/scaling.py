"""Center and spread of the columns of a table, and the change of units in both directions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, TypeVar, final

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.utils._pytree import tree_map

Belief = TypeVar("Belief")
_LARGEST = 1e150  # beyond it, and below its inverse, squares leave the range of float64
_LOST = 0.01  # largest rounding error of given values, in standard units


@final
@dataclass(frozen=True, eq=False)
class Scaling:
    """Standard units for the columns of a table: every column minus its `center`, divided by its `spread`.

    All conversions are computed in float64, and values in the units of the table are float64, so that a northing of
    4,500,000 that varies by 0.2 keeps its digits. Values in standard units have torch's default dtype.

    Args:
        x, y: names of the columns.
        center: `[dx+dy]` in float64.
        spread: `[dx+dy]` in float64, positive.

    >>> scaling = Scaling.of(torch.tensor([[0, 4_000_000], [2, 4_000_002]]), x=("day",), y=("north",))
    >>> scaling.scale_y(torch.tensor([4_000_002])), scaling.unscale_x(torch.tensor([1.0]))
    (tensor([1.]), tensor([2.], dtype=torch.float64))
    """

    x: tuple[str, ...]
    y: tuple[str, ...]
    center: Float[Tensor, " columns"]
    spread: Float[Tensor, " columns"]

    @classmethod
    def of(cls, rows: Tensor, *, x: tuple[str, ...], y: tuple[str, ...] = ()) -> Self:
        """The mean and the standard deviation of the columns of `rows [n, dx+dy]`; NaN is left out.

        A column that is constant is only shifted.

        Raises:
            ValueError: for a column whose values, or whose differences, leave the range from 1e-150 to 1e150.
        """
        rows = rows.to("cpu", torch.float64)
        center, spread = [], []
        for name, column in zip((*x, *y), rows.unbind(1), strict=True):
            known = column[~column.isnan()]
            if not len(known) or float(known.min()) == float(known.max()):
                center.append(float(known[0]) if len(known) else 0.0)
                spread.append(1.0)
                continue
            center.append(float(known.mean()))
            spread.append(float(known.std(correction=0)))
            if float(known.abs().max()) > _LARGEST or not spread[-1] > 1 / _LARGEST:
                raise ValueError(
                    f"column {name!r} has values from {float(known.min()):g} to {float(known.max()):g}, too large or "
                    "too close together for arithmetic; write it in other units, or as logarithms"
                )
        return cls(x, y, *(torch.tensor(values, dtype=torch.float64) for values in (center, spread)))

    @property
    def dx(self) -> int:
        """The number of input columns."""
        return len(self.x)

    @property
    def dy(self) -> int:
        """The number of output columns."""
        return len(self.y)

    def scale_x(self, x: Shaped[Tensor, "*points dx"]) -> Float[Tensor, "*points dx"]:
        """Inputs in the table's units, converted to standard units.

        Raises:
            ValueError: for another number of columns, and for values whose dtype has too few digits: days counted in
                seconds since 1970 need float64.
        """
        return self._scaled("x", x)

    def scale_y(self, y: Shaped[Tensor, "*points dy"]) -> Float[Tensor, "*points dy"]:
        """Outputs in the table's units, converted to standard units; errors as of `scale_x`."""
        return self._scaled("y", y)

    def unscale_x(self, x: Float[Tensor, "*points dx"]) -> Float[Tensor, "*points dx"]:
        """Inputs in standard units, converted to the table's units, in float64."""
        return self._unscaled("x", x)

    def unscale_y(self, y: Float[Tensor, "*points dy"]) -> Float[Tensor, "*points dy"]:
        """Outputs in standard units, converted to the table's units, in float64."""
        return self._unscaled("y", y)

    def in_units(self, belief: Belief) -> Belief:
        """A predictive distribution of outputs in standard units, converted to the table's units, in float64.

        Raises:
            ValueError: for another number of outputs than the table's.
        """
        self._check_width("belief.mean", belief.mean, "y")  # type: ignore[attr-defined]
        wide: Any = tree_map(_double, belief)
        if self.dy == 1:
            return wide.rescale(float(self.center[-1]), float(self.spread[-1]))
        return wide.rescale(*(part.to(wide.mean) for part in self._part("y")))

    def to_json(self) -> dict[str, Any]:
        """The names, centers and spreads as JSON, without loss of digits."""
        return {
            "x": list(self.x),
            "y": list(self.y),
            "center": self.center.tolist(),
            "spread": self.spread.tolist(),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The scaling that `to_json` wrote. Raises ValueError if it is damaged."""
        try:
            x, y = (tuple(map(str, values[name])) for name in ("x", "y"))
            center, spread = (
                torch.tensor(values[name], dtype=torch.float64, device="cpu") for name in ("center", "spread")
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"the scaling of the table is damaged ({error!r}); restore the file from a copy") from None
        good = center.shape == spread.shape == (len(x) + len(y),) and bool((spread > 0).all())
        if not (good and bool(center.isfinite().all())):
            raise ValueError("the scaling of the table is damaged; restore the file from a copy")
        return cls(x, y, center, spread)

    def _part(self, kind: str) -> tuple[Tensor, Tensor]:
        columns = slice(None, self.dx) if kind == "x" else slice(self.dx, None)
        return self.center[columns], self.spread[columns]

    def _scaled(self, kind: str, values: Tensor) -> Tensor:
        self._check_width(kind, values, kind)
        center, spread = (part.to(values.device) for part in self._part(kind))
        if values.is_floating_point():
            lost = torch.finfo(values.dtype).eps * center.abs() / spread
            if bool((lost > _LOST).any()):
                name = getattr(self, kind)[int(lost.argmax())]
                raise ValueError(
                    f"{kind} is {values.dtype}, which is too coarse for the values of column {name!r} (near "
                    f"{float(center[lost.argmax()]):g}, varying by {float(spread[lost.argmax()]):.3g}); give float64"
                )
        return ((values.double() - center) / spread).to(torch.get_default_dtype())

    def _unscaled(self, kind: str, values: Tensor) -> Tensor:
        self._check_width(kind, values, kind)
        center, spread = (part.to(values.device) for part in self._part(kind))
        return values.double() * spread + center

    def _check_width(self, name: str, values: Any, kind: str) -> None:
        """Raise ValueError unless the last axis of a tensor is that of the columns; it would be broadcast otherwise."""
        columns: tuple[str, ...] = getattr(self, kind)
        if not isinstance(values, Tensor):
            raise TypeError(f"{name} must be a torch.Tensor [..., {len(columns)}], not {type(values).__name__}")
        if not values.dim() or values.shape[-1] != len(columns):
            order = (
                f", in the order {', '.join(columns)}" if len(columns) > 1 else f" {columns[0]!r}" if columns else ""
            )
            alone = f": write {name}.unsqueeze(-1)" if len(columns) == 1 and name == kind else ""
            raise ValueError(
                f"{name} has shape {list(values.shape)}; expected [..., {len(columns)}], the last axis for the {kind} "
                f"column{'s' * (len(columns) > 1)} of the table{order}{alone}"
            )


def _double(value: Any) -> Any:
    return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value
