"""Student's t distribution with 5 degrees of freedom, whose distribution function has a closed form."""

import math

import torch
from torch import Tensor

DEGREES = 5
INFLATION = DEGREES / (DEGREES - 2)  # its variance, for a scale of 1
_CONSTANT = math.lgamma((DEGREES + 1) / 2) - math.lgamma(DEGREES / 2) - 0.5 * math.log(DEGREES * math.pi)
_SMALL = 0.02  # below it the sum is a difference of nearly equal numbers, and its series is exact to 9 digits


def log_density(z: Tensor) -> Tensor:
    """Log density.

    >>> log_density(torch.tensor(0.0)).exp()
    tensor(0.3796)
    """
    return _CONSTANT - 0.5 * (DEGREES + 1) * torch.log1p(z.square() / DEGREES)


def cdf(z: Tensor) -> Tensor:
    """The probability of a number below `z`; of tiny probabilities the logarithm is right, too.

    With u = sqrt(5) / |z|, the probability beyond |z| is
    (arctan u - u / (1 + u^2) - 2/3 u^3 / (1 + u^2)^2) / pi.

    >>> cdf(torch.tensor([-2.015, 0.0, 2.015]))
    tensor([0.0500, 0.5000, 0.9500])
    """
    size = torch.where(z < 0, -z, z) + torch.finfo(z.dtype).tiny ** 0.2  # abs would have no derivative at 0
    u = math.sqrt(DEGREES) / size
    small = u < _SMALL
    near = torch.where(small, 1.0, u)  # a number whose derivative is finite
    share = near / (1 + near.square())
    exact = torch.atan(near) - share - 2 / 3 * near * share.square()
    far = torch.where(small, u, _SMALL)
    series = 8 / 15 * far**5 * (1 - 15 / 7 * far.square() + 10 / 3 * far**4)
    tail = torch.where(small, series, exact) / math.pi
    return torch.where(z < 0, tail, 1 - tail)


def sample(shape: tuple[int, ...], like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Independent draws."""
    normal = torch.randn((*shape, DEGREES + 1), dtype=like.dtype, device=like.device, generator=generator)
    return normal[..., 0] / (normal[..., 1:].square().mean(-1)).sqrt()
