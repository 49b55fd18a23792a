"""Draws and densities of a flow: the solution of dy/dt = v(y, t) from noise at t = 0 to outcomes at t = 1.

Both use the midpoint rule on the times t_k = 1 - (1 - k / K)^2, which are dense near the outcomes, where a flow to
narrow distributions changes fastest. For y ~ N(m, 0.02^2) and the exact field, the log density after 32 such steps is
0.002 too large, and after 100 equal steps 0.014.
"""

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from itertools import pairwise

import torch
from torch import Tensor

from quickstudy.inner.transforms import exact_kernels

Field = Callable[[Tensor, float], Tensor]  # maps y and t to the velocity of y
Directions = Callable[[], Iterable[Tensor]]


def pushed(field: Field, noise: Tensor, steps: int) -> Tensor:
    """The outcomes at t = 1 of a flow that begins with `noise` at t = 0, both of one shape."""
    y = noise
    for start, end in pairwise(times(steps)):
        middle = y + (end - start) / 2 * field(y, start)
        y = y + (end - start) * field(middle, (start + end) / 2)
    return y


def pulled(field: Field, y: Tensor, steps: int, directions: Directions) -> tuple[Tensor, Tensor]:
    """The noise that becomes `y`, and the parts of log |det dy / dnoise|, both shaped as `y`.

    log p(y) = log N(noise; 0, I) - int_0^1 div v dt (Chen et al. 2018, arXiv 1806.07366, the instantaneous change of
    variables), with div v = sum_i e_i^T J e_i for directions e_i and the Jacobian J of v.

    Args:
        field: the velocity v.
        y: outcomes.
        steps: number K of steps.
        directions: called at every step; unit vectors give the exact divergence, random ones an estimate.
    """
    volume = torch.zeros_like(y)
    for start, end in pairwise(reversed(times(steps))):
        middle = y + (end - start) / 2 * field(y, start)
        velocity, divergence = with_divergence(field, middle, (start + end) / 2, directions())
        y = y + (end - start) * velocity
        volume = volume + (start - end) * divergence
    return y, volume


def with_divergence(field: Field, y: Tensor, t: float, directions: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """The velocity at `y`, and the sum over `directions` e of e * (J^T e), shaped as `y`: the parts of the divergence.

    They have a graph only if gradients are enabled.
    """
    graph = torch.is_grad_enabled()
    with torch.enable_grad(), exact_kernels() if graph else nullcontext():
        at = y if y.requires_grad else y.detach().requires_grad_()
        velocity = field(at, t)
        parts = torch.zeros_like(y)
        for direction in directions:
            (along,) = torch.autograd.grad(velocity, at, direction, retain_graph=True, create_graph=graph)
            parts = parts + direction * along
    return velocity if graph else velocity.detach(), parts


def times(steps: int) -> list[float]:
    """The times of the midpoint rule, from 0 to 1.

    >>> times(2)
    [0.0, 0.75, 1.0]
    """
    return [1 - (1 - k / steps) ** 2 for k in range(steps + 1)]


def unit_outputs(y: Tensor) -> list[Tensor]:
    """Directions along each output of all points `y [..., M, dy]`: the exact divergence of points that do not interact.

    >>> unit_outputs(torch.zeros(1, 2, 2))[0]
    tensor([[[1., 0.],
             [1., 0.]]])
    """
    return [torch.zeros_like(y).index_fill_(-1, torch.tensor(d, device=y.device), 1.0) for d in range(y.shape[-1])]


def unit_entries(y: Tensor) -> list[Tensor]:
    """Directions along each output of each point of `y [..., M, dy]`: the exact divergence."""
    eye = torch.eye(y.shape[-2] * y.shape[-1], dtype=y.dtype, device=y.device)
    return [row.unflatten(0, y.shape[-2:]).expand_as(y) for row in eye]


def random_signs(y: Tensor, probes: int, generator: torch.Generator) -> list[Tensor]:
    """`probes` random directions: an unbiased estimate of the divergence (Hutchinson 1990)."""
    signs = torch.randint(0, 2, (probes, *y.shape), generator=generator, device=y.device).to(y) * 2 - 1
    return list(signs / probes**0.5)
