"""Joint predictions of conditional processes by the chain rule (Bruinsma et al. 2023, arXiv 2303.14468)."""

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from operator import index
from typing import Any, Literal

import torch
from torch import Tensor

from quickstudy.checks import check_whole, shown
from quickstudy.data import Examples, at_least_float32
from quickstudy.learner import Interval, check_generator
from quickstudy.predictive.outcomes import Mask, check_draws, check_outcome
from quickstudy.predictive.rescaled import Rescaled, rescaled
from quickstudy.processes.checks import check_asked, check_inputs
from quickstudy.processes.heads.head import entering, takes_labels
from quickstudy.processes.parts.blocks import constant, requires_grad

Order = Literal["random", "given"] | Sequence[int]


@dataclass(frozen=True)
class Autoregressive:
    """A function from inputs to joint beliefs; made by `predictor.autoregressive`.

    p(y_1, ..., y_M) = mean over orders pi of prod_m p(y_pi(m) | support, y_pi(1), ..., y_pi(m-1)) (section 2),

    where each factor is the process's own belief about one point, given the support set and the points before it.

    Args:
        process: the process, which has `predict(state, x)` and `append(state, examples)`.
        state: its state for `T` tasks.
        order: order of the points: "random", "given" (that of `x`), or a permutation.
        samples: number of random orders; also the number of draws behind `mean` and `variance`.
        seed: seed of the orders and of these draws.
        graph: whether densities keep the graph back to the process's parameters. They keep that to `x` and `y`.
    """

    process: Any
    state: Any
    order: Order
    samples: int
    seed: int
    graph: bool

    def __call__(self, x: Tensor) -> "AutoregressiveBelief":
        """The joint belief at `x [T, M, dx]`."""
        check_inputs(self.process, x, len(self.state.seen))
        return AutoregressiveBelief(self, x, self._orders(x.shape[1]))

    def _orders(self, points: int) -> Tensor:
        """The permutations `[K, M]`."""
        if self.order == "random":
            chance = torch.Generator().manual_seed(self.seed)
            return torch.stack([torch.randperm(points, generator=chance) for _ in range(self.samples)])
        order = list(range(points)) if self.order == "given" else list(self.order)
        if sorted(order) != list(range(points)):
            raise ValueError(f"order={shown(order)} is not a permutation of the points 0 to {points - 1} of x")
        return torch.tensor([order])


@dataclass(frozen=True)
class AutoregressiveBelief:
    """A joint belief about the outputs at `M` points of `T` tasks; see `Autoregressive`.

    The chain rule gives `log_prob(y, joint=True)`, `sample`, `mean` and `variance`. `log_prob(y)`, `cdf`, `quantile`
    and `interval` are those of the process's own belief about each point by itself. A class label counts as its one-hot
    outcome in `mean` and `variance`.

    Where an output is missing (`qs.heads.WithMissing`), its factor is left out, and the points after it are predicted
    from the other outputs.

    Args:
        source: the process, its state and the options.
        x: `[T, M, dx]`.
        orders: permutations of the points, `[K, M]`.
    """

    source: Autoregressive
    x: Tensor
    orders: Tensor

    @property
    def mean(self) -> Tensor:
        """The mean `[T, M, dy]` of `samples` draws; of labels the class probabilities, `[T, M, C]`."""
        return self._moments()[0]

    @property
    def variance(self) -> Tensor:
        """The variance of an observation, from `samples` draws; shaped as `mean`."""
        return self._moments()[1]

    @property
    def cdf(self) -> Callable[[Any], Tensor]:
        """`cdf(y)` of each point and output by itself, given the support set alone."""
        below: Callable[[Any], Tensor] = self._alone().cdf
        return below

    @property
    def quantile(self) -> Callable[[Any], Tensor]:
        """`quantile(p)` of each point and output by itself, given the support set alone."""
        quantile: Callable[[Any], Tensor] = self._alone().quantile
        return quantile

    @property
    def interval(self) -> Callable[[Any], Interval]:
        """`interval(level)` of each point and output by itself, given the support set alone."""
        interval: Callable[[Any], Interval] = self._alone().interval
        return interval

    def log_prob(self, y: Tensor, mask: Mask = None, joint: bool = False) -> Tensor:
        """Log density `[T, M]` of each point by itself (0 where masked), or `[T]` of all points jointly.

        Raises:
            ValueError: with `joint`, where `y` at a real point is no outcome, such as NaN or an unknown label.
        """
        source = self.source
        wanted = source.graph or requires_grad(self.x, y, *source.state)
        constants = nullcontext() if source.graph else constant(source.process)
        with constants, torch.set_grad_enabled(wanted and torch.is_grad_enabled()):
            return self._log_prob(y, mask, joint)

    @property
    def rescale(self) -> Callable[[Any, Any], Rescaled]:
        """`rescale(shift, scale)`: the belief about `shift + scale * y`, for real outcomes."""
        _ = self._alone().rescale  # raises AttributeError for others
        return lambda shift, scale: rescaled(self, shift, scale)

    def _alone(self) -> Any:
        """The process's own belief about each point."""
        with nullcontext() if self.source.graph else constant(self.source.process):
            return self.source.process.predict(self.source.state, self.x)

    def _log_prob(self, y: Tensor, mask: Mask, joint: bool) -> Tensor:
        process = self.source.process
        if not joint:
            alone: Tensor = process.predict(self.source.state, self.x).log_prob(y, mask)
            return alone
        like = self._nothing(len(self.x))[0]
        check_outcome(y, like, mask)
        check_asked(process, Examples(self.x, y, mask))
        if not self.x.shape[1]:
            return self.x.new_zeros(len(like), dtype=at_least_float32(self.x))
        state, tasks = self._tiled(len(self.orders)), torch.arange(len(y)).repeat(len(self.orders)).unsqueeze(1)
        places = self.orders.repeat_interleave(len(y), 0)
        points = Examples(self.x[tasks, places], y[tasks, places], None if mask is None else mask[tasks, places])
        total = self._chained(state, points.clean()).unflatten(0, (len(self.orders), len(y)))
        return total.logsumexp(0) - math.log(len(self.orders))

    def _chained(self, state: Any, points: Examples) -> Tensor:
        """The joint log density `[T]` of `points` in their order: in one pass if the process can do that."""
        process = self.source.process
        if hasattr(process, "chained"):
            belief = process.head(process.chained(state, entering(process.head, points)), process.dy)
            densities: Tensor = belief.log_prob(points.y, points.mask)
            return densities.sum(1, dtype=at_least_float32(densities))
        parts = []
        for m in range(points.num_points):
            mask = None if points.mask is None else points.mask[:, [m]]
            point = Examples(points.x[:, [m]], points.y[:, [m]], mask)
            parts.append(process.predict(state, point.x).log_prob(point.y, point.mask)[:, 0])
            state = process.append(state, point)
        densities = torch.stack(parts)
        return densities.sum(0, dtype=at_least_float32(densities))

    def sample(self, n: int, generator: torch.Generator | None = None, noise: bool = True) -> Tensor:
        """`n` draws `[n, T, M, dy]`, of labels `[n, T, M]`, each in one of the orders.

        Without `noise`, each value is the mean of the belief that the draw was taken from, or its most likely label.
        """
        check_draws(n, generator, self.x.device)
        values, means, _ = self._drawn(n, generator)
        if noise:
            return values
        return means.argmax(-1) if takes_labels(self.source.process.head) else means

    def _drawn(self, n: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor, Tensor]:
        """Draws `[n, T, M, ...]`, the means of the beliefs that they are drawn from, and their variances."""
        count = len(self.x)
        rows = self.orders[torch.arange(n) % len(self.orders)]  # the first draws take the first orders
        state, tasks = self._tiled(n), torch.arange(count).repeat(n)
        every, found = torch.arange(n * count), self._nothing(n * count)
        last = None
        with torch.no_grad():
            stream = self._stream(state)
            for places in rows.repeat_interleave(count, 0).T:
                x = self.x[tasks, places, None]
                belief = stream(x, last)
                y = belief.sample(1, generator)[0]
                for kept, now in zip(found, (y, belief.mean, belief.variance), strict=True):
                    kept[every, places] = now[:, 0]
                last = Examples(x, y)
        values, means, variances = (t.unflatten(0, (n, count)) for t in found)
        return values, means, variances

    def _nothing(self, rows: int) -> tuple[Tensor, Tensor, Tensor]:
        """Zeros in the place of `rows` draws, their means and their variances."""
        process, points = self.source.process, self.x.shape[1]
        if not takes_labels(process.head):
            draws, means, variances = (self.x.new_zeros(rows, points, process.dy) for _ in range(3))
            return draws, means, variances
        classes = process.head(self.x.new_zeros(1, 1, process.head.size(process.dy)), process.dy).mean.shape[2]
        means, variances = (self.x.new_zeros(rows, points, classes) for _ in range(2))
        return self.x.new_zeros(rows, points, dtype=torch.long), means, variances

    def _stream(self, state: Any) -> Callable[[Tensor, Examples | None], Any]:
        """A function that appends a point and predicts the next one; it remembers the points."""
        process = self.source.process
        if hasattr(process, "stream"):
            found: Callable[[Tensor, Examples | None], Any] = process.stream(state, self.x.shape[1])
            return found

        def predict(x: Tensor, last: Examples | None) -> Any:
            nonlocal state
            state = state if last is None else process.append(state, last)
            return process.predict(state, x)

        return predict

    def _moments(self) -> tuple[Tensor, Tensor]:
        chance = torch.Generator(self.x.device).manual_seed(self.source.seed)
        _, means, variances = self._drawn(self.source.samples, chance)
        return means.mean(0), variances.mean(0) + means.var(0, correction=0)

    def _tiled(self, times: int) -> Any:
        """The state of all tasks, repeated `times` times along the axis of tasks."""
        return type(self.source.state)(*(t.repeat(times, *[1] * (t.dim() - 1)) for t in self.source.state))


def _checked(order: Any) -> Any:
    """`order`, a permutation as a tuple of whole numbers. Raises TypeError or ValueError for anything else."""
    expected = "expected 'random', 'given', or a permutation of the points, such as [2, 0, 1]"
    if isinstance(order, str):
        if order not in ("random", "given"):
            raise ValueError(f"order={order!r}; {expected}")
        return order
    try:
        places = list(order)
    except TypeError as error:
        raise TypeError(f"order={shown(order)}; {expected}") from error
    try:
        return tuple(index(place) for place in places)
    except TypeError as error:
        raise ValueError(f"order={shown(order)} does not hold whole numbers; {expected}") from error


def autoregressive(predictor: Any, order: Order, samples: int, generator: Any) -> Autoregressive:
    """Return the result of `predictor.autoregressive`; see `ConditionalPredictor.autoregressive`.

    Raises:
        ValueError, TypeError: for another order, number of samples or generator.
    """
    order = _checked(order)
    check_generator(generator)
    place = generator.device if generator is not None else None
    seed = int(torch.randint(2**31, (), generator=generator, device=place))
    samples = check_whole("samples", samples, 1)
    return Autoregressive(predictor.process, predictor.state, order, samples, seed, predictor.graph)
