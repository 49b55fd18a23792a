"""Values that depend on how many rows of a group are seen."""

from collections.abc import Sequence

import torch
from torch import Tensor


def at_number(values: Tensor, seen: Sequence[int], number: Tensor) -> Tensor:
    """The values `[T, ...]` for groups of which `number [T]` rows are seen.

    Between two numbers in `seen` they are interpolated, linearly in log(1 + number); beyond the ends they are constant.

    Args:
        values: `[K, ...]`, one for each of the numbers in `seen`.
        seen: increasing numbers of rows.
        number: of each group.

    >>> at_number(torch.tensor([0.0, 1.0]), (0, 3), torch.tensor([0, 1, 3, 100]))
    tensor([0.0000, 0.5000, 1.0000, 1.0000])
    """
    known = torch.tensor(seen, dtype=torch.float64, device=values.device).log1p()
    wanted = number.to(values.device, torch.float64).log1p().clamp(known[0], known[-1])
    above = torch.searchsorted(known, wanted).clamp(min(1, len(known) - 1))
    below = (above - 1).clamp_min(0)
    width = (known[above] - known[below]).clamp_min(1e-12)
    share = ((wanted - known[below]) / width).view(-1, *[1] * (values.dim() - 1)).to(values)
    return (1 - share) * values[below] + share * values[above]
