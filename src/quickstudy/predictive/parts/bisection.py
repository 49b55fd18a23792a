"""The smallest number at which a condition holds, by bisection: of all of a floating-point type, or of whole ones."""

from collections.abc import Callable

import torch
from torch import Tensor

from quickstudy.tracing import values_are_readable

INTEGERS = {torch.float32: torch.int32, torch.float64: torch.int64}


def smallest(reached: Callable[[Tensor], Tensor], low: Tensor, high: Tensor) -> Tensor:
    """The smallest numbers from `low` to `high` at which `reached` holds, all found together.

    The numbers of a floating-point type are counted in their order, and the count is halved. So the result is exact to
    the last digit after as many evaluations as the type has bits, whatever the scale and the width of the bracket.

    Args:
        reached: maps numbers, shaped as `low`, to bool; it never changes from True to False as a number grows.
        low: no smaller number is of interest; float32 or float64. NaN gives NaN.
        high: `reached` holds here, up to rounding; shaped as `low` and of its type. Where both are equal, they are
            the result.

    >>> smallest(lambda y: y * y >= 2, torch.tensor([0.0]), torch.tensor([2.0]))
    tensor([1.4142])
    """
    kind, bits = low.dtype, torch.finfo(low.dtype).bits
    first, last = (_count(torch.full((), end, dtype=kind, device=low.device)) for end in (-torch.inf, torch.inf))
    below, above = (_count(low) - 1).clamp_min(first), (_count(high) + 1).clamp_max(last)
    for _ in range(bits):
        middle = (below & above) + ((below ^ above) >> 1)  # their mean, rounded down, without overflow
        if values_are_readable(middle) and bool((middle == below).all()):
            break
        holds = reached(_number(middle, kind))
        below, above = torch.where(holds, below, middle), torch.where(holds, middle, above)
    found = torch.where(low == high, low, _number(above, kind) + 0.0)  # and -0 is 0
    return torch.where(low.isnan() | high.isnan(), torch.nan, found)


def smallest_whole(reached: Callable[[Tensor], Tensor], low: Tensor, high: Tensor) -> Tensor:
    """`smallest` of whole numbers, in a floating-point type."""
    below, above = low - 1, high
    for _ in range(torch.finfo(low.dtype).bits):
        middle = ((below + above) / 2).floor()
        if values_are_readable(middle) and not bool(((middle > below) & (middle < above)).any()):
            break
        holds = reached(middle)
        below, above = torch.where(holds, below, middle), torch.where(holds, middle, above)
    return torch.where(low == high, low, above)


def _count(numbers: Tensor) -> Tensor:
    """Integers in the order of the numbers; neighbours differ by 1."""
    return _flipped(numbers.view(INTEGERS[numbers.dtype]).long(), numbers.dtype)


def _number(counts: Tensor, kind: torch.dtype) -> Tensor:
    """The numbers that have these counts."""
    return _flipped(counts, kind).to(INTEGERS[kind]).view(kind)


def _flipped(bits: Tensor, kind: torch.dtype) -> Tensor:
    """The same bits, but for the sign those of negative numbers inverted, as a larger size makes these smaller."""
    return torch.where(bits < 0, bits ^ torch.iinfo(INTEGERS[kind]).max, bits)
