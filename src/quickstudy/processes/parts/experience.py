"""What a process was trained on: the ranges of x and y, the largest support set; and warnings far beyond them."""

import warnings
from typing import Any, NamedTuple, final

import torch
from torch import Tensor, nn

from quickstudy.data import Examples, Tasks
from quickstudy.tracing import values_are_readable

ENOUGH = 1000  # points; the range of fewer says little about the family that they come from
MARGIN = {"x": 0.1, "y": 1.0}  # a value may lie outside the range by this share of the range
TIMES = 2  # a support set may have this many times the points of the largest one in training


class Range(NamedTuple):
    """The least and the greatest value of each feature, both `[d]`; `[0]` before the first task, and for labels."""

    low: Tensor
    high: Tensor

    def union(self, values: Tensor, real: Tensor | None) -> "Range":
        """The range of these and of `values [T, N, d]`; those in the padding and those not finite do not count."""
        low, high = torch.aminmax(values.flatten(0, 1).T.contiguous(), dim=1)
        if real is not None or not values.is_cpu or not bool((low + high).isfinite().all()):
            counted = values.isfinite() if real is None else values.isfinite() & real.unsqueeze(-1)
            low = values.where(counted, torch.inf).amin((0, 1))
            high = values.where(counted, -torch.inf).amax((0, 1))
        if not len(self.low):
            return Range(low, high)
        return Range(torch.minimum(self.low.to(low), low), torch.maximum(self.high.to(high), high))

    def widened(self, margin: float) -> "Range":
        """The range with `margin` times its length more at both ends."""
        more = margin * (self.high - self.low)
        return Range(self.low - more, self.high + more)

    def farthest(self, values: Tensor, margin: float, counted: Tensor | None) -> tuple[int, float] | None:
        """A feature and the value of it that is farthest outside, in `values [T, N, d]`; None if all are inside."""
        low, high = self.low.to(values), self.high.to(values)
        beyond = torch.maximum(low - values, values - high) / (high - low).clamp_min(1e-30) - margin
        beyond = torch.where(beyond > 0, beyond, 0.0)  # also where a value is not a number
        if counted is not None:
            beyond = torch.where(counted.unsqueeze(-1), beyond, 0.0)
        if not bool((beyond > 0).any()):
            return None
        place = int(beyond.argmax())
        return place % values.shape[-1], float(values.flatten()[place])


@final
class Experience(nn.Module):
    """The range of every feature of x and y, the largest support set and the number of points, over training tasks.

    They are part of the `state_dict`, as its extra state `[4 + 2 dx + 2 dy]`. A state of an earlier version lacks it;
    the process then gives no warnings.
    """

    def __init__(self) -> None:
        super().__init__()
        nothing = torch.zeros(0, device="cpu")
        self.ranges = {"x": Range(nothing, nothing), "y": Range(nothing, nothing)}
        self.support, self.points = 0, 0
        self._allowed: dict[str, Range] = {}  # made of the ranges when values are checked, as that is a hot path
        self._warned: set[str] = set()
        self.register_load_state_dict_pre_hook(_without_experience)

    def get_extra_state(self) -> Tensor:
        """The record as one tensor."""
        x, y = self.ranges["x"], self.ranges["y"]
        sizes = torch.tensor([len(x.low), len(y.low), self.support, self.points], device="cpu")
        return torch.cat([part.to("cpu", torch.float64) for part in (sizes, *x, *y)])

    def set_extra_state(self, state: Any) -> None:
        """Take the record from a tensor. Raises ValueError if it is not one."""
        if not isinstance(state, Tensor) or state.dim() != 1 or len(state) < 4:
            raise ValueError(f"the range of training is {state!r}; expected a tensor of 4 + 2 dx + 2 dy numbers")
        dx, dy, self.support, self.points = (int(number) for number in state[:4])
        if min(dx, dy) < 0 or len(state) != 4 + 2 * dx + 2 * dy:
            raise ValueError(f"the range of training has {len(state)} numbers; expected 4 + 2 dx + 2 dy")
        low, high, low_y, high_y = state[4:].clone().split([dx, dx, dy, dy])
        self.ranges = {"x": Range(low, high), "y": Range(low_y, high_y)}
        self._allowed.clear()

    def observe(self, tasks: Tasks) -> None:
        """Add training tasks to the record. In evaluation mode and in compiled graphs, this does nothing."""
        if not self.training or not values_are_readable(tasks.support.x):
            return
        self._allowed.clear()
        for examples in (tasks.support, tasks.query):
            if not examples.x.numel():
                continue
            for axis, values in (("x", examples.x.detach()), ("y", examples.y.detach())):
                if values.is_floating_point() and values.dim() == 3:
                    self.ranges[axis] = self.ranges[axis].union(values, examples.mask)
            self.points += examples.x.shape[0] * examples.x.shape[1]
        self.support = max(self.support, tasks.support.num_points)

    def check_size(self, process: nn.Module, seen: Tensor) -> None:
        """Warn, once, if a task has far more support points than any in training; `seen [T]` counts them."""
        if "size" in self._warned or self.points < ENOUGH or not values_are_readable(seen) or not len(seen):
            return
        most = int(seen.max())
        if most > TIMES * max(self.support, 1):
            self._warn(
                "size",
                f"a task has {most:,} support points, and this {type(process).__name__} was trained on at most "
                f"{self.support:,} (in `functions` and `autoregressive`, the points before a point count as support "
                "points); more points may then not improve its predictions: train on support sets of such "
                "sizes, fit(..., support=(0, N))",
            )

    def check_range(self, process: nn.Module, x: Tensor) -> None:
        """Warn, once, if a query point of `x [T, M, dx]` is far outside the range of training.

        Points at exactly 0 do not count, as these fill padding. A process whose predictions move with the points has no
        range of x.
        """
        self._check(process, "x", x, None, zeros=False)

    def check_support(self, process: nn.Module, support: Examples) -> None:
        """Warn, once, if an input or an outcome of the support set is far outside the range of training."""
        self._check(process, "x", support.x, support.mask)
        self._check(process, "y", support.y, support.mask)

    def _check(self, process: nn.Module, axis: str, values: Tensor, counted: Tensor | None, zeros: bool = True) -> None:
        """Warn if `values [T, N, d]` are far outside; `zeros` says whether points at exactly 0 count."""
        if axis in self._warned or self.points < ENOUGH or not len(self.ranges[axis].low):
            return
        if axis == "x" and getattr(process, "equivariant", False):
            return
        if not values_are_readable(values) or not values.numel() or not values.is_floating_point():
            return
        if axis not in self._allowed:
            self._allowed[axis] = self.ranges[axis].widened(MARGIN[axis])
        low, high = (end.to(values) for end in self._allowed[axis])
        if not bool(((values < low) | (values > high)).any()):
            return
        if not zeros:
            counted = (values != 0).any(-1)
        found = self.ranges[axis].farthest(values.detach(), MARGIN[axis], counted)
        if found is not None:
            self._warn(axis, self._message(type(process).__name__, axis, *found))

    def _message(self, name: str, axis: str, feature: int, value: float) -> str:
        low, high = (float(end[feature]) for end in self.ranges[axis])
        which = f"feature {feature} of {axis}" if len(self.ranges[axis].low) > 1 else axis
        cure = (
            "or take a process that is translation equivariant (ConvCNP, RelativeCNP, TETNP)"
            if axis == "x"
            else "or scale your outcomes as those of training were"
        )
        return (
            f"{which} is {value:.4g} at a point, and this {name} was trained on values from {low:.4g} to {high:.4g}; "
            "far outside this range its beliefs can be wrong and confident: train on a family that covers the points, "
            f"{cure}"
        )

    def _warn(self, kind: str, message: str) -> None:
        self._warned.add(kind)
        warnings.warn(message, RuntimeWarning, stacklevel=5)


def _without_experience(module: nn.Module, state: dict[str, Any], prefix: str, *rest: Any) -> None:
    """Give a state of an earlier version the extra state that it lacks: no experience."""
    state.setdefault(prefix + "_extra_state", torch.zeros(4, device="cpu", dtype=torch.float64))
