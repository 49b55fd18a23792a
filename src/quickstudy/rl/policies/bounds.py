"""The bounds of a Box, as policies take them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

Bounds = Sequence[float] | Any
"""One bound for each component of an action, `[da]`: a list, an array or a tensor."""


def check_bounds(low: Bounds | None, high: Bounds | None, components: int | None = None) -> tuple[Tensor, Tensor]:
    """`low` and `high` as tensors `[da]` of torch's default type.

    Raises:
        ValueError: unless both are finite vectors of one length (that of `components`, if given), with low < high in
            each component.
    """
    if low is None or high is None:
        raise ValueError(f"low={low}, high={high}; give both bounds")
    # numpy has values even where tensors have none, as while a saved policy's shapes are compared
    below, above = (np.array(b.detach().cpu() if isinstance(b, Tensor) else b, dtype=float) for b in (low, high))
    size = max(1, below.size) if components is None else components
    if not below.shape == above.shape == (size,):
        raise ValueError(
            f"low has shape {list(below.shape)} and high {list(above.shape)}; expected one number for each component "
            f"of an action, {'[da]' if components is None else [size]}: the environment's action_space.low and "
            "action_space.high"
        )
    wrong = ~(np.isfinite(below) & np.isfinite(above) & (below < above))
    if wrong.any():
        i = int(wrong.argmax())
        raise ValueError(
            f"component {i} of an action has low={below[i]:g} and high={above[i]:g}; expected finite bounds, low < high"
        )
    kind = torch.get_default_dtype()
    return torch.as_tensor(below, dtype=kind), torch.as_tensor(above, dtype=kind)
