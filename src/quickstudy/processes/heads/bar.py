"""A piecewise constant density at each point by itself."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from numbers import Real
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from quickstudy import predictive
from quickstudy.checks import check_positive, check_whole, shown, values_are_readable
from quickstudy.data import at_least_float32


@final
@dataclass(frozen=True)
class BarHead:
    """p(y) = softmax(l)_b / (width of bar b), with the logits l the outputs of the network; half-normal tails outside.

    Müller et al. 2022 (arXiv 2112.10510), the Riemann distribution with unbounded support. It has any shape,
    with one or several peaks, up to the width of its bars. Each output of a point has its own bars.

    Args:
        edges: the edges of the bars in increasing order, in units of y; `BarHead.between` and `BarHead.of_quantiles`
            make them.
        tail: standard deviation of the normal distributions whose halves lie outside the edges, in units of y; by
            default a quarter of the distance between the outer edges.

    >>> import torch
    >>> BarHead((0.0, 1.0, 3.0))(torch.zeros(1, 1, 4), 1).log_prob(torch.full((1, 1, 1), 2.0)).exp()
    tensor([[0.1250]])
    """

    edges: Sequence[float]
    tail: float | None = None
    joint: ClassVar[bool] = False
    marginal: ClassVar[bool] = True

    def __post_init__(self) -> None:
        edges = self.edges.tolist() if hasattr(self.edges, "tolist") else self.edges  # tensors and arrays
        if not isinstance(edges, Sequence) or isinstance(edges, str) or len(edges) < 2:
            raise ValueError(f"edges={shown(edges)}; expected at least two numbers, or use BarHead.between(-3, 3, 100)")
        for edge in edges:
            _check_finite("an edge", edge)
        narrow = [i for i, (low, high) in enumerate(pairwise(edges)) if not low < high]
        if narrow:
            i = narrow[0]
            raise ValueError(
                f"edges {i} and {i + 1} are {edges[i]:g} and {edges[i + 1]:g}; expected increasing numbers, as a bar "
                "has a width: remove repeated edges"
            )
        object.__setattr__(self, "edges", tuple(float(edge) for edge in edges))
        if self.tail is not None:
            check_positive("tail", self.tail)

    @staticmethod
    def between(low: float, high: float, bars: int = 100, tail: float | None = None) -> "BarHead":
        """Bars of equal width between `low` and `high`."""
        low, high = _check_finite("low", low), _check_finite("high", high)
        if not low < high:
            raise ValueError(f"low={low:g} and high={high:g}; expected low < high")
        width = (high - low) / check_whole("bars", bars)
        return BarHead([*(low + width * i for i in range(bars)), high], tail)

    @staticmethod
    def of_quantiles(y: Tensor, bars: int = 100, tail: float | None = None) -> "BarHead":
        """Bars that each hold as many of the outcomes `y`, of any shape, as the others (the paper's choice).

        Fewer bars result if an outcome occurs so often that several quantiles are equal.
        """
        shares = torch.linspace(0, 1, check_whole("bars", bars) + 1, dtype=torch.float64)
        ordered = y.detach().double().cpu().flatten().sort().values
        if not len(ordered) or not bool(ordered.isfinite().all()):
            raise ValueError("y has no outcomes, or some that are NaN or infinite; give the finite ones")
        places = shares * (len(ordered) - 1)
        low = places.floor().long()
        edges = torch.lerp(ordered[low], ordered[places.ceil().long()], places - low).unique()
        if len(edges) < 2:
            raise ValueError(
                f"all outcomes of y are {edges[0]:g}; a bar reaches from one value to another: give its edges"
            )
        return BarHead(edges.tolist(), tail)

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"edges": list(self.edges), "tail": self.tail}

    def size(self, dy: int) -> int:
        """The network has, for each outcome, a logit for each bar and for the two tails."""
        return dy * (len(self.edges) + 1)

    def __call__(self, output: Tensor, dy: int) -> predictive.Bars:
        """The belief for `output [T, M, dy (1 + number of edges)]`."""
        tail = (self.edges[-1] - self.edges[0]) / 4 if self.tail is None else self.tail
        edges = torch.tensor(self.edges, dtype=at_least_float32(output), device="cpu")
        if values_are_readable(output) and not bool((edges.diff() > 0).all()):
            raise ValueError(
                f"some of the edges from {self.edges[0]:g} to {self.edges[-1]:g} are equal in {edges.dtype}; rescale "
                "y, use wider bars, or float64"
            )
        logits = output.unflatten(-1, (dy, len(self.edges) + 1))
        return predictive.Bars(logits, edges.to(output.device), edges.new_tensor(tail).to(output.device))


def _check_finite(name: str, value: Any) -> float:
    if not isinstance(value, Real) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"{name}={shown(value)}; expected a finite number")
    return float(value)
