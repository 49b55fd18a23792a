"""What the generative families share: ranges, split generators, inputs, and cutting points into support and query."""

import math
from typing import Any

import torch
from torch import Tensor

from quickstudy.data import Examples, Tasks
from quickstudy.learner import Split, check_counts, check_split

Range = float | tuple[float, float]
"""A hyperparameter of a family: one number for all tasks, or `(low, high)` drawn uniformly for every task."""

_SALT = {"validation": 0x5EED5EED5EED, "test": 0x7E577E577E57}


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


def as_domain(value: Any) -> tuple[float, float]:
    """`value` as an interval `(low, high)` of inputs. Raises ValueError unless low < high."""
    domain = as_range("domain", value)
    if not isinstance(domain, tuple) or domain[0] == domain[1]:
        raise ValueError(f"domain={value!r}; expected a pair (low, high) with low < high")
    return domain


def bounds(value: Range) -> tuple[float, float]:
    """`(low, high)` of a range; a number is both."""
    if isinstance(value, tuple | list):
        low, high = value
        return low, high
    return value, value


def split_generator(
    num_tasks: int, support: int, query: int, split: Split, generator: torch.Generator | None
) -> torch.Generator | None:
    """Check the arguments of `sample` and give the generator to draw from.

    Training tasks come from `generator` itself (None is torch's own). For another split one integer is drawn from it
    and seeds a generator apart, so that equal seeds give different tasks in different splits.
    """
    check_counts(num_tasks, support, query)
    check_split(split)
    if split == "train":
        return generator
    device = torch.get_default_device() if generator is None else generator.device
    seed = int(torch.randint(2**62, (), device=device, generator=generator))
    return torch.Generator(device).manual_seed(seed ^ _SALT[split])


def uniform(*shape: int, generator: torch.Generator | None) -> Tensor:
    """Uniform draws from [0, 1) on the generator's device."""
    return torch.rand(shape, generator=generator, device=None if generator is None else generator.device)


def stretch(draws: Tensor, value: Range) -> Tensor:
    """Draws from [0, 1) moved to the range `value`."""
    low, high = bounds(value)
    return (draws * (high - low)).add_(low)


def with_grid(x: Tensor, query: int, domain: tuple[float, float]) -> Tensor:
    """`x [T, N, 1]` followed by `query` inputs evenly spaced over the domain, ends included."""
    if x.shape[2] != 1:
        raise ValueError(f"grid=True needs one input feature, and this family has dx={x.shape[2]}; use grid=False")
    grid = torch.linspace(*domain, query, dtype=x.dtype, device=x.device)
    return torch.cat([x, grid[:, None].expand(len(x), query, 1)], 1)


def cut(x: Tensor, y: Tensor, support: int, info: dict[str, Tensor]) -> Tasks:
    """The first `support` points to learn from, the rest to be judged on."""
    sizes = [support, x.shape[1] - support]
    (x_support, x_query), (y_support, y_query) = x.split(sizes, 1), y.split(sizes, 1)
    return Tasks(Examples(x_support, y_support), Examples(x_query, y_query), info)


def add_noise(y: Tensor, sd: float, generator: torch.Generator | None) -> Tensor:
    """`y` with normal noise of standard deviation `sd`; nothing is drawn when that is 0."""
    if sd == 0:
        return y
    return y + sd * torch.randn(y.shape, dtype=y.dtype, device=y.device, generator=generator)


def number(name: str, value: Any, least: float = 0.0) -> float:
    """`value` as one finite float of at least `least`. Raises ValueError otherwise."""
    if isinstance(value, tuple | list):
        raise ValueError(f"{name}={value!r}; expected one number")
    return bounds(as_range(name, value, least=least))[0]
