"""What the seen rows of a group tell about one of its other rows, as a few numbers."""

import torch
from torch import Tensor

AT_ONCE = 10_000_000  # pairs of a seen row and a row to predict, to bound memory
NAMES = ("number", "mean", "spread", "first", "last", "nearest", "distance", "slope", "line")
"""The features for each output, after the inputs of the row."""


def features(x: Tensor, y: Tensor, real: Tensor, at: Tensor) -> Tensor:
    """Features `[T, M, dx + 9]` of rows with inputs `at`, given seen rows; NaN where too few rows are seen.

    After the inputs: the number of seen rows; mean and standard deviation of their outputs; the outputs of the rows
    with the smallest and the largest first input, and of the row nearest to `at`; the distance to it; the slope of the
    line through the seen rows against the first input, and its value at `at`.

    Args:
        x: inputs of the seen rows, `[T, N, dx]`.
        y: one output of the seen rows, `[T, N]`.
        real: whether each seen row counts, `[T, N]`.
        at: inputs of the rows to predict, `[T, M, dx]`.

    >>> x = torch.tensor([[[0.0], [1.0]]])
    >>> found = features(x, torch.tensor([[1.0, 3.0]]), torch.ones(1, 2, dtype=torch.bool), torch.tensor([[[4.0]]]))
    >>> dict(zip(("x", *NAMES), found[0, 0].tolist()))["line"]
    9.0
    """
    size = max(1, AT_ONCE // max(1, at.shape[1] * x.shape[1]))
    parts = zip(*(part.split(size) for part in (x, y, real, at)), strict=True)
    return torch.cat([_of_groups(*part) for part in parts])


def _of_groups(x: Tensor, y: Tensor, real: Tensor, at: Tensor) -> Tensor:
    tasks, points = at.shape[:2]
    count = real.sum(1)
    known = torch.where(real, y, 0.0)
    if not x.shape[1]:
        x, known = x.new_zeros(tasks, 1, x.shape[2]), y.new_zeros(tasks, 1)
        real = torch.zeros(tasks, 1, dtype=torch.bool, device=x.device)
    divisor = count.clamp_min(1)
    mean = known.sum(1) / divisor
    apart = torch.where(real, known - mean[:, None], 0.0)
    spread = (apart.square().sum(1) / divisor).sqrt()
    first_x = torch.where(real, x[..., 0], 0.0)
    center = first_x.sum(1) / divisor
    along = torch.where(real, first_x - center[:, None], 0.0)
    size = along.square().sum(1)
    slope = (along * apart).sum(1) / size.where(size > 0, 1.0)
    slope = torch.where((count > 1) & (size > 0), slope, torch.nan)
    ends = [
        known.gather(1, torch.where(real, sign * x[..., 0], torch.inf).argmin(1, keepdim=True))[:, 0]
        for sign in (1.0, -1.0)
    ]
    apart_in_x = torch.where(real[:, None], torch.cdist(at, x), torch.inf)
    distance, place = apart_in_x.min(2)
    of_group = torch.stack([count.to(y), mean, spread, *ends], 1)
    none = (count == 0)[:, None]
    of_group = torch.cat([of_group[:, :1], of_group[:, 1:].masked_fill(none, torch.nan)], 1)
    own = torch.stack(
        [
            known.gather(1, place).masked_fill(none, torch.nan),
            distance.masked_fill(none, torch.nan),
            slope[:, None].expand(-1, points),
            mean[:, None] + slope[:, None] * (at[..., 0] - center[:, None]),
        ],
        2,
    )
    return torch.cat([at, of_group[:, None].expand(-1, points, -1), own], 2)
