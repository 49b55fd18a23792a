"""What a process was trained on: the range of its inputs and the largest support set; and warnings far beyond them."""

import warnings
from typing import Any, final

import torch
from torch import Tensor, nn

from quickstudy.data import Tasks
from quickstudy.tracing import values_are_readable

ENOUGH = 1000  # points; the range of fewer says little about the family that they come from
MARGIN = 0.1  # a point may lie outside the range by this share of the range
TIMES = 2  # a support set may have this many times the points of the largest one in training


@final
class Experience(nn.Module):
    """The range of every feature of x, the largest support set and the number of points, over all training tasks.

    They are part of the `state_dict`, as its extra state `[2 dx + 2]`. A state of an earlier version lacks it; the
    process then gives no warnings.
    """

    def __init__(self) -> None:
        super().__init__()
        nothing = torch.zeros(0, device="cpu")
        self.low, self.high = nothing, nothing  # [dx], or [0] before the first task
        self.support, self.points = 0, 0
        self._warned: set[str] = set()
        self.register_load_state_dict_pre_hook(_without_experience)

    def get_extra_state(self) -> Tensor:
        """The record as one tensor."""
        parts = (self.low, self.high, torch.tensor([self.support, self.points], device="cpu"))
        return torch.cat([part.to("cpu", torch.float64) for part in parts])

    def set_extra_state(self, state: Any) -> None:
        """Take the record from a tensor. Raises ValueError if it is not one."""
        if not isinstance(state, Tensor) or state.dim() != 1 or len(state) < 2 or len(state) % 2:
            raise ValueError(f"the range of training is {state!r}; expected a tensor of 2 dx + 2 numbers")
        features = len(state) // 2 - 1
        self.low, self.high = state[:features].clone(), state[features : 2 * features].clone()
        self.support, self.points = int(state[-2]), int(state[-1])

    def observe(self, tasks: Tasks) -> None:
        """Add training tasks to the record. In evaluation mode and in compiled graphs, this does nothing."""
        if not self.training or not values_are_readable(tasks.support.x):
            return
        for examples in (tasks.support, tasks.query):
            x, real = examples.x.detach(), examples.mask
            if not x.numel():
                continue
            low, high = x, x
            if real is not None:
                low, high = (x.masked_fill(~real.unsqueeze(-1), fill) for fill in (torch.inf, -torch.inf))
            low, high = low.amin((0, 1)), high.amax((0, 1))
            if len(self.low):
                low = torch.minimum(self.low.to(low), low)
                high = torch.maximum(self.high.to(high), high)
            self.low, self.high = low, high
            self.points += x.shape[0] * x.shape[1]
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
                f"{self.support:,}; more points may then not improve its predictions: train on support sets of such "
                "sizes, fit(..., support=(0, N))",
            )

    def check_range(self, process: nn.Module, x: Tensor) -> None:
        """Warn, once, if a point of `x [T, M, dx]` is far outside the range of training.

        Points at exactly 0 do not count, as these fill padding. A process whose predictions move with the points has no
        range.
        """
        if "range" in self._warned or self.points < ENOUGH or getattr(process, "equivariant", False):
            return
        if not values_are_readable(x) or not x.numel():
            return
        low, high = self.low.to(x), self.high.to(x)
        margin = MARGIN * (high - low)
        outside = ((x < low - margin) | (x > high + margin)) & (x != 0).any(-1, keepdim=True)
        if bool(outside.any()):
            self._warn("range", _outside(type(process).__name__, x.detach(), outside, low, high))

    def _warn(self, kind: str, message: str) -> None:
        self._warned.add(kind)
        warnings.warn(message, RuntimeWarning, stacklevel=5)


def _outside(name: str, x: Tensor, outside: Tensor, low: Tensor, high: Tensor) -> str:
    """The message for points outside the range of training."""
    feature = int(outside.any(1).any(0).int().argmax())
    values = x[..., feature][outside[..., feature]]
    far = float(values[(values - (low + high)[feature] / 2).abs().argmax()])
    which = f"feature {feature} of x" if len(low) > 1 else "x"
    return (
        f"{which} is {far:.4g} at a point, and this {name} was trained on values from {float(low[feature]):.4g} to "
        f"{float(high[feature]):.4g}; far outside this range its beliefs can be wrong and confident: train on a family "
        "that covers the points, or take a process that is translation equivariant (ConvCNP, RelativeCNP, TETNP)"
    )


def _without_experience(module: nn.Module, state: dict[str, Any], prefix: str, *rest: Any) -> None:
    """Give a state of an earlier version the extra state that it lacks: no experience."""
    state.setdefault(prefix + "_extra_state", torch.zeros(2, device="cpu", dtype=torch.float64))
