"""The relative exponential, for solutions of linear differential equations without cancellation at equal rates."""

import torch
from torch import Tensor


def exprel(z: Tensor) -> Tensor:
    """(exp(z) - 1) / z, and its limit 1 at z = 0.

    >>> exprel(torch.tensor([0.0, 1e-6, 1.0]))
    tensor([1.0000, 1.0000, 1.7183])
    """
    return torch.where(z == 0, 1.0, torch.expm1(z) / z)
