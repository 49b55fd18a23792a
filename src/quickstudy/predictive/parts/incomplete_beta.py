"""The regularised incomplete beta function, which torch lacks: the distribution function of counts."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from quickstudy.tracing import values_are_readable

LARGEST = 10_000  # steps of the continued fraction; parameters up to 1e6 need a thousand
UNSEEN = 1000  # steps where values cannot be read, as inside torch.func.vmap
LEAST = 1e-300  # takes the place of 0 in a denominator


class Shares(NamedTuple):
    """I_x(a, b) and 1 - I_x(a, b); the smaller of both is exact to many digits."""

    lower: Tensor
    upper: Tensor


def incomplete_beta(a: Tensor, b: Tensor, x: Tensor, rest: Tensor) -> Shares:
    """I_x(a, b) = 1 / B(a, b) int_0^x t^(a-1) (1-t)^(b-1) dt, by its continued fraction (DLMF 8.17.22).

    The fraction converges fast for x < (a + 1) / (a + b + 2); elsewhere it is that of 1 - I_(1-x)(b, a).

    Args:
        a, b: positive, in float64.
        x: from 0 to 1.
        rest: 1 - x, given by itself because it may be tiny.

    >>> one, two = torch.tensor(1.0).double(), torch.tensor(2.0).double()
    >>> round(incomplete_beta(two, one, one / 4, 3 * one / 4).lower.item(), 12)
    0.0625
    """
    a, b, x, rest = torch.broadcast_tensors(a, b, x, rest)
    other = x * (a + b + 2) > a + 1
    first, second = torch.where(other, b, a), torch.where(other, a, b)
    small, large = torch.where(other, rest, x), torch.where(other, x, rest)
    share = (_log_front(first, second, small, large).exp() * _fraction(first, second, small)).clamp(0, 1)
    return Shares(torch.where(other, 1 - share, share), torch.where(other, share, 1 - share))


def _log_front(a: Tensor, b: Tensor, x: Tensor, rest: Tensor) -> Tensor:
    """log(x^a (1-x)^b / (a B(a, b))), without differences of large numbers (Loader 2000).

    With n = a + b and e = n x - a: a log(n x / a) + b log(n (1-x) / b) = a log1p(e / a) + b log1p(-e / b).
    """
    excess = b * x - a * rest
    ratio = a * _log1p(excess / a, b * x / a + x) + b * _log1p(-excess / b, a * rest / b + rest)
    corrections = _stirling(a + b) - _stirling(a) - _stirling(b)
    return ratio + corrections + 0.5 * (b.log() - a.log() - (a + b).log() - math.log(2 * math.pi))


def _log1p(part: Tensor, whole: Tensor) -> Tensor:
    """log(1 + part), of `whole` = 1 + part, which is the exact one where it is near 0."""
    far = part < -0.5
    return torch.where(far, whole.clamp_min(LEAST).log(), torch.where(far, 0.0, part).log1p())


def _stirling(z: Tensor) -> Tensor:
    """log Gamma(z) minus Stirling's formula, (z - 1/2) log z - z + log(2 pi) / 2."""
    near, far = z.clamp_max(12.0), z.clamp_min(12.0)
    direct = near.lgamma() - (near - 0.5) * near.log() + near - 0.5 * math.log(2 * math.pi)
    inverse = far.square().reciprocal()
    series = 1 / 12 - inverse * (1 / 360 - inverse * (1 / 1260 - inverse * (1 / 1680 - inverse / 1188)))
    return torch.where(z < 12, direct, series / far)


def _fraction(a: Tensor, b: Tensor, x: Tensor) -> Tensor:
    """The continued fraction 1 / (1 + d_1 / (1 + d_2 / (1 + ...))), by the method of Lentz."""
    c = torch.ones_like(x)
    d = found = _inverse(1 - (a + b) * x / (a + 1))
    for m in range(1, LARGEST if values_are_readable(x) else UNSEEN):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        before = found
        for part in (even, odd):
            d, c = _inverse(1 + part * d), _nonzero(1 + part / c)
            found = found * d * c
        if values_are_readable(found) and not bool(((found - before).abs() > 1e-12 * found.abs()).any()):
            break
    return found


def _inverse(number: Tensor) -> Tensor:
    return _nonzero(number).reciprocal()


def _nonzero(number: Tensor) -> Tensor:
    return torch.where(number.abs() < LEAST, LEAST, number)
