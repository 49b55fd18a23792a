"""Directions in the plane, as tasks."""

import math
from typing import Literal

import torch
from torch import Tensor

from quickstudy.tasks.sampling import uniform

Directions = Literal["two", "all"]


def draw_directions(which: Directions, num_tasks: int, generator: torch.Generator | None) -> Tensor:
    """Unit vectors `[T, 2]`: (1, 0) or (-1, 0) with equal probability ("two"), or uniform on the circle ("all")."""
    draws = uniform(num_tasks, generator=generator)
    if which == "all":
        angle = 2 * math.pi * draws
        return torch.stack([angle.cos(), angle.sin()], -1)
    forward = torch.where(draws < 0.5, -1.0, 1.0).to(draws)
    return torch.stack([forward, torch.zeros_like(forward)], -1)
