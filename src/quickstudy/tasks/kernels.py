"""Covariance functions of Gaussian processes, batched over tasks."""

import math
from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

Kernel = Literal["rbf", "matern52", "periodic", "weakly_periodic"]
KERNELS: tuple[Kernel, ...] = ("rbf", "matern52", "periodic", "weakly_periodic")
PERIODIC: tuple[Kernel, ...] = ("periodic", "weakly_periodic")


def covariance(
    kernel: Kernel, x1: Float[Tensor, "T A dx"], x2: Float[Tensor, "T B dx"], info: Mapping[str, Tensor]
) -> Float[Tensor, "T A B"]:
    """k(x1, x2), without observation noise.

    With r the distance, l `lengthscale`, s `scale` and p `period` (Rasmussen and Williams 2006, chapter 4):

    - rbf: s^2 exp(-r^2 / 2 l^2)
    - matern52: s^2 (1 + q + q^2 / 3) exp(-q), where q = sqrt(5) r / l
    - periodic: s^2 exp(-2 sum_d sin^2(pi r_d / p) / l^2)
    - weakly_periodic: s^2 exp(-r^2 / 2 l^2 - 2 sum_d sin^2(pi r_d / p)), for shapes that repeat with slow changes

    Args:
        kernel: one of `KERNELS`.
        x1: inputs.
        x2: inputs.
        info: `lengthscale`, `scale` and, for the periodic kernels, `period`, each `[T]`.
    """
    length, variance = (info[k].to(x1.dtype).view(-1, 1, 1) for k in ("lengthscale", "scale"))
    variance = variance.square()
    if kernel == "matern52":
        # The clamp keeps the gradient with respect to x finite at equal inputs.
        q = (_squared(x1 / length, x2 / length) * 5).clamp_min(1e-30).sqrt()
        return torch.addcmul(q + 1, q, q, value=1 / 3) * torch.exp(-q) * variance
    if kernel == "rbf":
        return torch.exp(-0.5 * _squared(x1 / length, x2 / length)) * variance
    turn = math.pi / info["period"].to(x1.dtype).view(-1, 1, 1)
    waves = 2 * _squared_sines(x1 * turn, x2 * turn)
    if kernel == "periodic":
        return torch.exp(-waves / length.square()) * variance
    return torch.exp(-0.5 * _squared(x1 / length, x2 / length) - waves) * variance


def _squared(x1: Tensor, x2: Tensor) -> Tensor:
    """Squared distances `[T, A, B]`."""
    if x1.shape[2] == 1:
        return (x1 - x2.mT).square()
    return (x1.unsqueeze(2) - x2.unsqueeze(1)).square().sum(3)


def _squared_sines(x1: Tensor, x2: Tensor) -> Tensor:
    """sum_d sin^2(x1_d - x2_d), `[T, A, B]`, by the addition theorem, which needs A + B sines instead of A B."""
    sines = [
        torch.addcmul(a.sin() * b.cos(), a.cos(), b.sin(), value=-1).square()
        for a, b in zip(x1.split(1, 2), x2.mT.split(1, 1), strict=True)
    ]
    return sines[0] if len(sines) == 1 else torch.stack(sines).sum(0)
