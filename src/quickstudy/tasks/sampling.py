"""Shared parts of the task families: checks of their options, random numbers of a batch, support and query sets."""

import math
from collections.abc import Callable
from functools import cached_property
from typing import Any, final

import torch
from torch import Tensor

from quickstudy.data import Examples, Tasks
from quickstudy.learner import Split, check_counts, check_generator, check_split

Range = float | tuple[float, float]
"""An option of a family: one number for all tasks, or `(low, high)`, drawn uniformly for every task."""

_SALT = {"validation": 0x5EED5EED5EED, "test": 0x7E577E577E57}


def check_fields(family: Any, check: Callable[[str, Any], Any], *names: str) -> None:
    """Replace each named field of a frozen dataclass by `check(name, value)`, which raises for a bad value."""
    for name in names:
        object.__setattr__(family, name, check(name, getattr(family, name)))


def as_range(name: str, value: Any, least: float = -math.inf, above: float = -math.inf) -> Range:
    """`value` as floats: a number stays a number, a pair a pair.

    Args:
        name: the argument's name, for the message.
        value: a number, or `(low, high)`.
        least: the smallest value allowed.
        above: every value must lie strictly above this.

    Raises:
        ValueError: for anything else, an empty range, or a value outside the limits.
    """
    try:
        low, high = bounds(value)
        low, high = float(low), float(high)
    except (TypeError, ValueError):
        raise ValueError(f"{name}={value!r}; expected a number or a pair (low, high)") from None
    if not (math.isfinite(low) and math.isfinite(high)) or low > high:
        raise ValueError(f"{name}={value!r}; expected finite numbers with low <= high")
    if low < least or low <= above:
        limit = f"at least {least:g}" if low < least else f"above {above:g}"
        raise ValueError(f"{name}={value!r}; every value must be {limit}")
    return (low, high) if isinstance(value, tuple | list) else low


def positive(name: str, value: Any) -> Range:
    """`value` as a range of numbers above 0. Raises ValueError otherwise."""
    return as_range(name, value, above=0)


def as_domain(name: str, value: Any) -> tuple[float, float]:
    """`value` as an interval `(low, high)` of inputs. Raises ValueError unless low < high."""
    domain = as_range(name, value)
    if not isinstance(domain, tuple) or domain[0] == domain[1]:
        raise ValueError(f"{name}={value!r}; expected a pair (low, high) with low < high")
    return domain


def number(name: str, value: Any, least: float = 0.0) -> float:
    """`value` as one finite float of at least `least`. Raises ValueError otherwise."""
    if isinstance(value, tuple | list):
        raise ValueError(f"{name}={value!r}; expected one number")
    return bounds(as_range(name, value, least=least))[0]


def bounds(value: Range) -> tuple[float, float]:
    """`(low, high)` of a range; a number is both."""
    if isinstance(value, tuple | list):
        low, high = value
        return low, high
    return value, value


def split_generator(
    num_tasks: int, support: int, query: int, split: Split, generator: torch.Generator | None
) -> torch.Generator | None:
    """Check the arguments of `sample` and return the generator to draw from.

    Training tasks are drawn from `generator` itself (None is torch's own). For another split one integer is drawn from
    it, which seeds a separate generator, so that equal seeds give different tasks in different splits.
    """
    check_counts(num_tasks, support, query)
    check_split(split)
    check_generator(generator)
    if split == "train":
        return generator
    device = torch.get_default_device() if generator is None else generator.device
    seed = int(torch.randint(2**62, (), device=device, generator=generator))
    return torch.Generator(device).manual_seed(seed ^ _SALT[split])


@final
class Batch:
    """One call of a family's `sample`: its sizes, its random numbers, and the tasks it returns.

    A training batch draws all its numbers one after another from the caller's generator, in as few calls as possible,
    because it is drawn inside a training step. A held-out batch has separate streams of random numbers for the
    parameters of its tasks, and for the inputs and the noise of support and query points. Equal seeds then give equal
    tasks whatever the number of points, and a smaller support (or query) set is the first points of a larger one.

    Args:
        num_tasks: T.
        support: N, support points of a task.
        query: M, query points of a task.
        split: see `split_generator`.
        generator: see `split_generator`.
        grid: whether query inputs are evenly spaced instead of drawn.

    Raises:
        ValueError: for counts that are too small, and for an unknown split.

    >>> batch = Batch(2, 3, 4, "test", torch.Generator().manual_seed(0))
    >>> batch.uniform(1).shape  # one parameter and 3 + 4 inputs of each of 2 tasks
    torch.Size([2, 8])
    """

    def __init__(
        self,
        num_tasks: int,
        support: int,
        query: int,
        split: Split,
        generator: torch.Generator | None,
        grid: bool = False,
    ):
        self.generator = split_generator(num_tasks, support, query, split, generator)
        self.held_out = split != "train"
        self.num_tasks, self.support, self.query, self.grid = num_tasks, support, query, grid
        self._streams = 0  # how many a held-out batch has used

    @property
    def drawn(self) -> int:
        """The number of points whose inputs are drawn: query points on a grid are not."""
        return self.support + (0 if self.grid else self.query)

    def uniform(self, parameters: int, features: int = 1) -> Tensor:
        """Draws from [0, 1), `[T, parameters + points * features]`: the parameters, then the inputs point by point."""
        return self._draw(torch.rand, parameters, features)

    def normal(self, parameters: int, features: int = 1) -> Tensor:
        """Standard normal draws in the order of `uniform`."""
        return self._draw(torch.randn, parameters, features)

    def noise(self, features: int, dtype: torch.dtype | None = None) -> Tensor:
        """Standard normal draws `[T, N + M, features]`, for the outputs of all points."""
        counts = [self.support, self.query] if self.held_out else [self.support + self.query]
        return torch.cat([self.draw(torch.randn, (self.num_tasks, n, features), dtype=dtype) for n in counts], 1)

    def draw(
        self, kind: Callable[..., Tensor], size: tuple[int, ...], *, axis: int = 1, dtype: torch.dtype | None = None
    ) -> Tensor:
        """Random numbers of one kind.

        A training batch draws them in one call. A held-out batch draws them from a new stream, by a call for each index
        of `axis`, so that a shorter axis has the first numbers of a longer one. The order and number of calls of `draw`
        must not depend on the number of points.

        Args:
            kind: torch.rand or torch.randn.
            size: the size of the result.
            axis: the axis of points, or of steps in time.
            dtype: None is torch's default.
        """
        generator = self.stream()
        if not self.held_out:
            return kind(size, generator=generator, device=self._device, dtype=dtype)
        count, rest = size[axis], (*size[:axis], *size[axis + 1 :])
        found = [kind(rest, generator=generator, device=self._device, dtype=dtype) for _ in range(count)]
        return torch.stack(found, axis) if found else torch.empty(size, device=self._device, dtype=dtype)

    def stream(self) -> torch.Generator | None:
        """In training the caller's generator; of a held-out batch a new generator for every call."""
        if not self.held_out or self.generator is None:
            return self.generator
        self._streams += 1
        return torch.Generator(self.generator.device).manual_seed(self.generator.initial_seed() + self._streams)

    def inputs(self, draws: Tensor, domain: tuple[float, float], features: int = 1) -> Tensor:
        """`x [T, N + M, features]` in the domain, from draws in [0, 1) `[T, points * features]`."""
        return self.with_grid(stretch(draws, domain).reshape(self.num_tasks, self.drawn, features), domain)

    def with_grid(self, x: Tensor, domain: tuple[float, float]) -> Tensor:
        """`x [T, N, 1]` followed by the query's grid over the domain, ends included; without a grid `x` as it is."""
        if not self.grid:
            return x
        if x.shape[2] != 1:
            raise ValueError(f"grid=True needs one input feature, and this family has dx={x.shape[2]}; use grid=False")
        grid = torch.linspace(*domain, self.query, dtype=x.dtype, device=x.device)
        return torch.cat([x, grid[:, None].expand(len(x), self.query, 1)], 1)

    def tasks(self, x: Tensor, y: Tensor, info: dict[str, Tensor], noise: float | Tensor = 0.0) -> Tasks:
        """The first N points `x [T, N + M, dx]`, `y [T, N + M, dy]` as support, the other M as query.

        Args:
            x: inputs.
            y: outputs without noise.
            info: what the family knows of the tasks.
            noise: standard deviation of the normal noise added to the outputs, one for all tasks or `[T]`; nothing is
                drawn for the number 0.
        """
        if isinstance(noise, Tensor):
            y = y + noise.view(-1, 1, 1) * self.noise(y.shape[2], y.dtype)
        elif noise:
            y = y + noise * self.noise(y.shape[2], y.dtype)
        sizes = [self.support, self.query]
        (x_support, x_query), (y_support, y_query) = x.split(sizes, 1), y.split(sizes, 1)
        return Tasks(Examples(x_support, y_support), Examples(x_query, y_query), info)

    def _draw(self, kind: Callable[..., Tensor], parameters: int, features: int) -> Tensor:
        here = {"device": self._device, "generator": self.generator}
        if not self.held_out:
            return kind((self.num_tasks, parameters + self.drawn * features), **here)
        found = [kind((self.num_tasks, parameters), **here)]
        for count in (self.support, self.drawn - self.support):
            found.append(self.draw(kind, (self.num_tasks, count, features)).flatten(1))
        return torch.cat(found, 1)

    @cached_property
    def _device(self) -> torch.device | None:
        return None if self.generator is None else self.generator.device


def uniform(*shape: int, generator: torch.Generator | None) -> Tensor:
    """Uniform draws from [0, 1) on the generator's device."""
    return torch.rand(shape, generator=generator, device=None if generator is None else generator.device)


def stretch(draws: Tensor, value: Range) -> Tensor:
    """Draws from [0, 1) moved to the range `value`."""
    low, high = bounds(value)
    return (draws * (high - low)).add_(low)


def exprel(z: Tensor) -> Tensor:
    """(exp(z) - 1) / z, and its limit 1 at z = 0: for solutions of linear differential equations at equal rates.

    >>> exprel(torch.tensor([0.0, 1e-6, 1.0]))
    tensor([1.0000, 1.0000, 1.7183])
    """
    return torch.where(z == 0, 1.0, torch.expm1(z) / z)
